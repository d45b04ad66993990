package sockjs

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	cacheSeconds = "31536000" // a year
	cacheable    = "public, max-age=" + cacheSeconds
	neverCached  = "no-store, no-cache, no-transform, must-revalidate, max-age=0"

	textPlain  = "text/plain; charset=UTF-8"
	textHTML   = "text/html; charset=UTF-8"
	javaScript = "application/javascript; charset=UTF-8"

	cookieName = "JSESSIONID"
)

// allowOrigin lets the requesting page read the response. With a page's origin its cookies are allowed too, which "*"
// would not.
func allowOrigin(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	} else {
		h.Set("Access-Control-Allow-Origin", "*")
	}
	if headers := r.Header.Get("Access-Control-Request-Headers"); headers != "" {
		h.Set("Access-Control-Allow-Headers", headers)
	}
}

// cacheYear lets everybody keep the response for a year.
func cacheYear(h http.Header) {
	h.Set("Cache-Control", cacheable)
	h.Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
}

// preflight answers OPTIONS.
func preflight(w http.ResponseWriter, r *http.Request, method string) {
	allowOrigin(w, r)
	cacheYear(w.Header())
	w.Header().Set("Access-Control-Allow-Methods", "OPTIONS, "+method)
	w.Header().Set("Access-Control-Max-Age", cacheSeconds)
	w.WriteHeader(http.StatusNoContent)
}

// permits says whether the request has the method; any other was answered.
func permits(w http.ResponseWriter, r *http.Request, method string) bool {
	switch r.Method {
	case method:
		return true
	case http.MethodOptions:
		preflight(w, r, method)
	default:
		w.Header().Set("Allow", "OPTIONS, "+method)
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
	return false
}

// permitsReading is permits for what GET and HEAD may ask for.
func permitsReading(w http.ResponseWriter, r *http.Request) bool {
	return r.Method == http.MethodHead || permits(w, r, http.MethodGet)
}

// refuse answers with a status and a sentence.
func refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	allowOrigin(w, r)
	w.Header().Set("Content-Type", textPlain)
	w.Header().Set("Cache-Control", neverCached)
	w.WriteHeader(status)
	io.WriteString(w, text+"\n")
}

// setCookie echoes the cookie that load balancers stick to, or begins one.
func setCookie(w http.ResponseWriter, r *http.Request) {
	value := "dummy"
	if c, err := r.Cookie(cookieName); err == nil && c.Value != "" {
		value = c.Value
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/"})
}

// body reads a request's body, of at most limit bytes within bodyWait. It is always read to its end or fails: only then
// does net/http notice that the browser leaves.
func body(w http.ResponseWriter, r *http.Request, limit int) ([]byte, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyWait)) // a server in a test may have none
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	if err == nil {
		_ = control.SetReadDeadline(time.Time{})
	}
	return content, err
}

// refuseBody answers a body that could not be read.
func refuseBody(w http.ResponseWriter, r *http.Request, err error) {
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		refuse(w, r, http.StatusRequestEntityTooLarge, "The payload is too large.")
		return
	}
	refuse(w, r, http.StatusBadRequest, "The payload did not arrive.")
}

// names says whether a header that is a list of tokens has this one.
func names(h http.Header, header, token string) bool {
	for _, line := range h.Values(header) {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}
