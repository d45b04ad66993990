// Package admin serves what an operator looks at: a page at / that shows live what goes where, /metrics for Prometheus,
// /healthz and /readyz for probes, /status as JSON for programs; POST /reload and POST /upgrade.
//
// It knows nothing of the gateway: it receives functions. It listens on loopback or on a unix socket, and asks for a
// bearer token where one is configured; /healthz and /readyz answer without it, since probes carry none, and so do the page's
// files, which say nothing of this gateway. Nothing changes by GET, nor by a POST that a browser sends for another site's
// page; and where loopback is all that guards it, a browser that was led here by another site's name learns nothing.
package admin

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Limits towards those who ask.
const (
	readHeaderTimeout = 5 * time.Second
	bodyTimeout       = 5 * time.Second  // for a request's body, which nothing here reads
	answerTimeout     = 30 * time.Second // for an answer to be taken
	idleTimeout       = time.Minute
	headerBytesMax    = 16 << 10
	connectionsMax    = 512 // more wait: descriptors are for those whom the gateway serves
)

// Options of the admin server.
type Options struct {
	Token  func() string       // asked for as "Authorization: Bearer TOKEN"; empty: nothing is asked
	Pprof  func() bool         // whether Go profiles are served below /debug/pprof/; nil: never
	Gather prometheus.Gatherer // what /metrics shows
	Status func() any          // what /status shows, as JSON
	Ready  func() error        // nil: ready; otherwise /readyz answers 503 and says why
	Reload func() error        // what POST /reload does; its error is the answer, with 422

	// Upgrade is what POST /upgrade does; it tells what has happened. Its error is the answer, with 422.
	Upgrade func() (string, error)
}

// Server is the admin HTTP server. Make one with New.
type Server struct{ http http.Server }

// New makes a server; Serve starts it.
func New(o Options) *Server {
	return &Server{http.Server{
		Handler:           withinTimeouts(Handler(o)),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
	}}
}

// withinTimeouts ends a connection whose request's body does not come, or whose answer is not taken: net/http waits for both, with
// no limit of its own.
func withinTimeouts(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, now := http.NewResponseController(w), time.Now()
		if r.ContentLength != 0 {
			_ = c.SetReadDeadline(now.Add(bodyTimeout)) // one that has ended needs none
		}
		_ = c.SetWriteDeadline(now.Add(answerTimeout))
		h.ServeHTTP(w, r)
	})
}

// unhurried lets an answer take its time: an upgrade's, or a profile's.
func unhurried(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		h(w, r)
	})
}

// Serve answers on l until Shutdown, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(netutil.LimitListener(l, connectionsMax)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown lets requests in flight end, until ctx is done.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

// Handler is the admin server's routes.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			writeText(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
		writeText(w, http.StatusOK, "ready\n")
	})
	mux.Handle("GET /metrics", guarded(o.Token, promhttp.HandlerFor(o.Gather, promhttp.HandlerOpts{})))
	mux.Handle("GET /status", guarded(o.Token, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.Encode(o.Status()) // an error here is a reader that left
	})))
	mux.Handle("POST /reload", guarded(o.Token, unhurried(func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Reload(); err != nil {
			writeText(w, http.StatusUnprocessableEntity, err.Error()+"\n")
			return
		}
		writeText(w, http.StatusOK, "reloaded\n")
	})))
	mux.Handle("POST /upgrade", guarded(o.Token, unhurried(func(w http.ResponseWriter, _ *http.Request) {
		told, err := o.Upgrade()
		if err != nil {
			writeText(w, http.StatusUnprocessableEntity, err.Error()+"\n")
			return
		}
		writeText(w, http.StatusOK, told+"\n")
	})))
	servePage(mux)
	mux.Handle("GET /debug/pprof/", guarded(o.Token, profiles(o.Pprof)))
	return http.NewCrossOriginProtection().Handler(mux)
}

// profiles serves the Go profiles of this process, as `go tool pprof` reads them, while on says so. The command line is not
// among them.
func profiles(on func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/{$}", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/{name}", func(w http.ResponseWriter, r *http.Request) { pprof.Handler(r.PathValue("name")).ServeHTTP(w, r) })
	return unhurried(func(w http.ResponseWriter, r *http.Request) {
		if on == nil || !on() {
			http.NotFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// guarded asks for the token before h, or, where there is none, for a name that no other site can have.
func guarded(token func() string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret := token()
		if secret == "" && rebound(r) {
			writeText(w, http.StatusForbidden, "Ask for 127.0.0.1, localhost or another address, or set a token in the admin block: any site can give its name this address.\n")
			return
		}
		if secret != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+secret)) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="gateway admin"`)
			writeText(w, http.StatusUnauthorized, "This needs the token of the admin block: Authorization: Bearer TOKEN.\n")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// rebound tells whether a request came to loopback by a name that DNS may have from anybody.
func rebound(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() {
		return false
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return host != "localhost" && net.ParseIP(strings.Trim(host, "[]")) == nil
}

func writeText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	w.Write([]byte(text)) // an error here is a reader that left
}
