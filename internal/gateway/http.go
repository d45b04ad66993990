package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Limits towards HTTP/1.1 clients.
const (
	httpReadHeaderTimeout = 10 * time.Second
	httpIdleTimeout       = 2 * time.Minute
	httpHeaderBytesMax    = 64 << 10
)

// httpServer answers HTTP/1.1 on connections that the multiplexer hands out.
type httpServer struct{ http.Server }

func newHTTPServer() *httpServer {
	return &httpServer{http.Server{
		Handler:           http.HandlerFunc(notFound),
		ReadHeaderTimeout: httpReadHeaderTimeout,
		IdleTimeout:       httpIdleTimeout,
		MaxHeaderBytes:    httpHeaderBytesMax,
	}}
}

// notFound is the answer where no block serves HTTP/1.1.
func notFound(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusNotFound)
	w.Write([]byte("This port serves ZeroMQ and gRPC. Nothing is configured for HTTP/1.1 here.\n"))
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
