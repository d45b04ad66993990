package sockjs

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// feeding is a transport that carries frames to the browser in HTTP responses.
type feeding struct {
	method      string
	contentType string
	streaming   bool // several frames a response, until ResponseBytesMax
	callback    bool // the browser names a function that gets the frames
	prelude     func(callback string) []byte
	wrap        func(dst, frame []byte, callback string) []byte
}

// feeds are the transports by their name in paths.
var feeds = map[endpoint]*feeding{
	xhrPath: {method: http.MethodPost, contentType: javaScript, wrap: wrapLine},
	xhrStreamingPath: {
		method: http.MethodPost, contentType: javaScript, streaming: true,
		prelude: func(string) []byte { return []byte(strings.Repeat("h", xhrPreludeBytes) + "\n") },
		wrap:    wrapLine,
	},
	eventSourcePath: {
		method: http.MethodGet, contentType: "text/event-stream", streaming: true,
		prelude: func(string) []byte { return []byte("\r\n") }, // for Opera
		wrap: func(dst, frame []byte, _ string) []byte {
			return append(append(append(dst, "data: "...), frame...), "\r\n\r\n"...)
		},
	},
	htmlFilePath: {
		method: http.MethodGet, contentType: textHTML, streaming: true, callback: true,
		prelude: htmlFilePrelude,
		wrap: func(dst, frame []byte, _ string) []byte {
			dst = append(dst, "<script>\np("...)
			return append(appendString(dst, frame, true), ");\n</script>\r\n"...)
		},
	},
	jsonpPath: {
		method: http.MethodGet, contentType: javaScript, callback: true,
		// The comment keeps Flash from taking the response for a film (CVE-2014-4671).
		wrap: func(dst, frame []byte, callback string) []byte {
			dst = append(append(append(dst, "/**/"...), callback...), '(')
			return append(appendString(dst, frame, true), ");\r\n"...)
		},
	},
}

const (
	xhrPreludeBytes  = 2048 // before that, old browsers show nothing of a response
	htmlPreludeBytes = 1024 // likewise
	callbackBytesMax = 128
	requestBytesMax  = 64 << 10 // of the body of a request that only receives; what is in it means nothing
)

func wrapLine(dst, frame []byte, _ string) []byte { return append(append(dst, frame...), '\n') }

func htmlFilePrelude(callback string) []byte {
	const head = `<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.%s;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>`
	page := fmt.Appendf(nil, head, callback)
	return append(page, strings.Repeat(" ", htmlPreludeBytes)+"\r\n\r\n"...)
}

// callbackOf reads the name of the browser's function. It becomes part of a script: only names may pass.
func callbackOf(r *http.Request) (name, problem string) {
	query := r.URL.Query()
	name = cmp.Or(query.Get("c"), query.Get("callback"))
	switch {
	case name == "":
		return "", `"callback" parameter required`
	case len(name) > callbackBytesMax || strings.ContainsFunc(name, func(c rune) bool { return !callbackRune(c) }):
		return "", `invalid "callback" parameter`
	}
	return name, ""
}

func callbackRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// feed answers a request that receives.
func (s *Server) feed(w http.ResponseWriter, r *http.Request, e endpoint, name string) {
	t := feeds[e]
	if !permits(w, r, t.method) {
		return
	}
	var callback, problem string
	if t.callback {
		if callback, problem = callbackOf(r); problem != "" {
			refuse(w, r, http.StatusInternalServerError, problem)
			return
		}
	}
	if _, err := body(w, r, requestBytesMax); err != nil {
		refuseBody(w, r, err)
		return
	}
	c, err := s.find(r, e, name)
	if err != nil {
		refuseSession(w, r, err)
		return
	}
	allowOrigin(w, r)
	if s.options.Cookie {
		setCookie(w, r)
	}
	w.Header().Set("Content-Type", t.contentType)
	w.Header().Set("Cache-Control", neverCached)
	out := &response{w: w, control: http.NewResponseController(w), feeding: t, callback: callback, wait: s.options.WriteTimeout}
	c.feed(r.Context(), out)
}

// feed gives frames to a response until it is full, the session ends, or the browser leaves.
func (c *session) feed(ctx context.Context, out *response) {
	if out.feeding.prelude != nil && out.write(out.feeding.prelude(out.callback)) != nil {
		return
	}
	switch c.attach() {
	case attachedBusy:
		_ = out.frame(busyFrame) // nobody is to be told
		return
	case attachedLate:
		_ = out.frame(c.goodbye)
		return
	}
	heartbeat := time.NewTimer(c.server.options.Heartbeat)
	defer heartbeat.Stop()
	for full := false; !full; {
		f, err := c.next(ctx, heartbeat)
		if err == nil {
			out.wrap(f.text)
			full = f.kind == frameLast || !out.feeding.streaming || out.written >= c.server.options.ResponseBytesMax
			if full {
				c.detach() // before the write: once the browser has it, the next request may come
			}
			err = out.write(out.buffer)
		}
		if err != nil {
			c.finish(endInterrupted) // what the browser got is unknown: it must not go on as if nothing was
			if !full {
				c.detach()
			}
			return
		}
	}
}

// response is the response to one request that receives.
type response struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	feeding  *feeding
	callback string
	wait     time.Duration // for one write
	written  int           // bytes of frames
	buffer   []byte
}

// frame writes a frame.
func (o *response) frame(frame []byte) error {
	o.wrap(frame)
	return o.write(o.buffer)
}

// wrap puts a frame into buffer, in the transport's way.
func (o *response) wrap(frame []byte) {
	o.buffer = o.feeding.wrap(o.buffer[:0], frame, o.callback)
	o.written += len(o.buffer)
	if !o.feeding.streaming {
		o.w.Header().Set("Content-Length", strconv.Itoa(len(o.buffer)))
	}
}

// write sends at once; a browser that takes nothing fails it in time.
func (o *response) write(p []byte) error {
	if err := o.control.SetWriteDeadline(time.Now().Add(o.wait)); err != nil {
		return err
	}
	if _, err := o.w.Write(p); err != nil {
		return err
	}
	return o.control.Flush()
}
