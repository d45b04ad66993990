package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// Limits towards HTTP/1.1 clients.
const (
	httpReadHeaderTimeout = 10 * time.Second
	httpBodyTimeout       = 20 * time.Second // for a request's body, unless a handler sets another
	httpWriteTimeout      = 30 * time.Second // of a response; handlers that go on for longer put it off
	httpIdleTimeout       = 2 * time.Minute
	httpHeaderBytesMax    = 64 << 10
)

// HTTPRoute is a handler of HTTP/1.1 requests at and below a path.
type HTTPRoute struct {
	Prefix  string // "/chat"; "/" takes what no other route does
	Handler http.Handler
}

// HandlerOf is the handler of a path, the one with the longest prefix; nil: there is none.
func (t *Table) HandlerOf(path string) http.Handler {
	var found HTTPRoute
	for _, r := range t.HTTP {
		below, within := strings.CutPrefix(path, strings.TrimSuffix(r.Prefix, "/"))
		if within && (below == "" || below[0] == '/') && len(r.Prefix) > len(found.Prefix) {
			found = r
		}
	}
	return found.Handler
}

// httpServer answers HTTP/1.1 on connections that the multiplexer hands out.
type httpServer struct{ http.Server }

// connKey is where a request's context has its connection.
type connKey struct{}

// misdirecter is a connection inside TLS that knows which authorities it was not opened for.
type misdirecter interface {
	Misdirected(authority string) bool
}

// newHTTPServer makes a server that answers each request by the table that is current when it comes.
func newHTTPServer(current func() *Table, log *slog.Logger) *httpServer {
	return &httpServer{http.Server{
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength != 0 { // net/http waits for the body before it answers, even one that no handler reads
				_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(httpBodyTimeout)) // one that has ended needs none
			}
			if c, ok := r.Context().Value(connKey{}).(misdirecter); ok && c.Misdirected(r.Host) {
				refuseHTTP(w, http.StatusMisdirectedRequest, "This connection was opened for another name. Open one for this.\n")
				return
			}
			if h := current().HandlerOf(r.URL.Path); h != nil {
				h.ServeHTTP(w, r)
				return
			}
			notFound(w, len(current().HTTP) > 0)
		}),
		ReadHeaderTimeout: httpReadHeaderTimeout,
		WriteTimeout:      httpWriteTimeout,
		IdleTimeout:       httpIdleTimeout,
		MaxHeaderBytes:    httpHeaderBytesMax,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what strangers can cause
	}}
}

// notFound is the answer where no block serves a request.
func notFound(w http.ResponseWriter, elsewhere bool) {
	text := "This port serves ZeroMQ and gRPC. Nothing is configured for HTTP/1.1 here.\n"
	if elsewhere {
		text = "Nothing is configured for this path.\n"
	}
	refuseHTTP(w, http.StatusNotFound, text)
}

func refuseHTTP(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	w.Write([]byte(text))
}

// Serve answers on l until Shutdown, and then returns nil.
func (s *httpServer) Serve(l net.Listener) error {
	if err := s.Server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown lets requests in flight end, until ctx is done, and then closes what is left.
func (s *httpServer) Shutdown(ctx context.Context) error {
	err := s.Server.Shutdown(ctx)
	if err != nil {
		s.Close()
	}
	return err
}
