// Package gateway serves one connection: it loads the table, chooses the block, hands the connection over, and writes
// one log line when it ends.
//
// The way of a connection: sniff classifies it and calls Server.Handle. A relay block's Handler gets it straight, since
// relayed bytes must not pass through anything that they need not. HTTP/2 and HTTP/1.1 that no relay block takes go
// through the multiplexer to the server that wants a net.Listener. What nobody takes is closed and counted.
//
// A connection keeps the table that it was chosen by, for as long as it lives.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gateway/internal/metrics"
	"gateway/sniff"
)

// ErrNoBlock is why a connection of a known protocol was closed at once: nothing is configured for it.
var ErrNoBlock = errors.New("no block takes this connection")

// StreamServer serves connections from a listener: the gRPC proxy, an HTTP server.
type StreamServer interface {
	Serve(net.Listener) error           // until Shutdown, then nil
	Shutdown(ctx context.Context) error // ends gracefully; hard once ctx is done
}

// Options of a Server.
type Options struct {
	Log     *slog.Logger     // default: nothing is logged
	Metrics *metrics.Metrics // default: nothing is counted
	GRPC    StreamServer     // serves HTTP/2 that no relay block takes; nil: nobody does
}

// Server hands connections to where the table says. Make one with New.
type Server struct {
	options Options
	log     *slog.Logger
	table   atomic.Pointer[Table]
	mux     *sniff.Mux
	servers []StreamServer
	serving sync.WaitGroup // the servers' Serve calls and the multiplexer's

	streams atomic.Int64 // connections behind the multiplexer

	ctx    context.Context // of what handlers wait for; ends with Shutdown
	cancel context.CancelFunc
}

// New makes a server with an empty table and starts what is behind its multiplexer.
func New(o Options) *Server {
	s := &Server{options: o, log: o.Log, mux: sniff.NewMux(muxAddr{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.table.Store(&Table{})
	if o.GRPC != nil {
		s.serve(o.GRPC, s.mux.Match(sniff.HTTP2))
	}
	s.serve(newHTTPServer(), s.mux.Match(sniff.HTTP1))
	s.serving.Go(s.mux.Serve)
	return s
}

func (s *Server) serve(server StreamServer, l net.Listener) {
	s.servers = append(s.servers, server)
	s.serving.Go(func() {
		// The first server that ends closes the multiplexer, and so the others' listeners, before they hear of the end.
		if err := server.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Error("a server behind the multiplexer ended", "error", err)
		}
	})
}

// SetTable makes t the table for connections that come from now on.
func (s *Server) SetTable(t *Table) { s.table.Store(t) }

// Handle takes over a connection whose protocol is known, from the listener of that name, and calls release once it
// has ended. It returns at once.
func (s *Server) Handle(listener string, c *sniff.Conn, release func()) {
	started := time.Now()
	protocol, client := c.Protocol(), c.RemoteAddr()
	choice := s.table.Load().Choose(Facts{Protocol: protocol, Listener: listener, Source: sourceOf(client)})
	if s.log.Enabled(s.ctx, slog.LevelDebug) {
		s.log.Debug("detected", "protocol", protocol, "block", choice.String(), "client", addrString(client))
	}
	if m := s.options.Metrics; m != nil {
		m.Open.WithLabelValues(protocol).Inc()
	}
	done := func(o Outcome) {
		c.Close()
		release()
		if choice.Block != nil {
			o.Block = choice.Block.Name
		}
		if m := s.options.Metrics; m != nil {
			m.Open.WithLabelValues(protocol).Dec()
		}
		s.report(protocol, client, time.Since(started), o)
	}
	switch {
	case choice.Block != nil:
		choice.Block.Handler.ServeConn(s.ctx, c, done)
	case choice.Server != "":
		s.stream(c, choice.Server, done)
	default:
		done(Outcome{Result: "no block", Err: ErrNoBlock})
	}
}

// stream puts a connection on its way to a server behind the multiplexer.
func (s *Server) stream(c *sniff.Conn, server string, done func(Outcome)) {
	counted := &countedConn{Conn: c.Conn}
	counted.in.Store(int64(len(c.Prefix())))
	c.Conn = counted
	s.streams.Add(1)
	s.mux.Feed(c, func() {
		s.streams.Add(-1)
		done(counted.outcome(server))
	})
}

// Shutdown asks the servers behind the multiplexer to end gracefully, waits for them until ctx is done, and then closes
// what is left and tells how many connections it cut. It also ends the context that handlers got. The relays' connections are
// their handlers' to end.
func (s *Server) Shutdown(ctx context.Context) (cut int) {
	var graceful sync.WaitGroup
	for _, server := range s.servers {
		graceful.Go(func() {
			if err := server.Shutdown(ctx); err != nil {
				s.log.Debug("a server behind the multiplexer was cut", "error", err)
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		graceful.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		cut = int(s.streams.Load())
		<-ended
	}
	s.cancel()
	s.mux.Close()
	s.serving.Wait()
	return cut
}

// muxAddr is the address of the listeners behind the multiplexer, which serve every exposed port.
type muxAddr struct{}

func (muxAddr) Network() string { return "gateway" }
func (muxAddr) String() string  { return "gateway" }

// sourceOf is a client's address as a netip.Addr, IPv4 unmapped; invalid for a unix socket.
func sourceOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
