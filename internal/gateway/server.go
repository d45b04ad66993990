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
	"cmp"
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

// Account is told how the connection that it was opened for goes on: one of the two, once.
type Account interface {
	Left()   // it has ended
	Undone() // it goes elsewhere, and gets another account
}

// Options of a Server.
type Options struct {
	Log     *slog.Logger     // default: nothing is logged
	Metrics *metrics.Metrics // default: nothing is counted
	GRPC    StreamServer     // serves HTTP/2 that no relay block takes; nil: nobody does

	// Account opens the account of a connection when the place where it goes is known. nil: none is kept. It may return nil.
	Account func(to Choice, protocol string, client net.Addr) Account

	// GreetingTimeout bounds how long a ZMTP client may take to show what its block is chosen by. 0: 5 s.
	GreetingTimeout time.Duration
}

// Defaults of Options.
const (
	greetingTimeoutDefault = 5 * time.Second
	heldMaxDefault         = 500
)

// Server hands connections to where the table says. Make one with New.
type Server struct {
	options Options
	log     *slog.Logger
	table   atomic.Pointer[Table]
	mux     *sniff.Mux
	servers []StreamServer
	serving sync.WaitGroup // the servers' Serve calls and the multiplexer's

	streams atomic.Int64 // connections behind the multiplexer
	held    *room        // ZMTP clients that no block takes
	sources sources
	flows   flows

	lastEnds atomic.Pointer[ends] // of the connection that has ended last

	ctx    context.Context // of what handlers wait for; ends with Close
	cancel context.CancelFunc
}

// New makes a server with an empty table and starts what is behind its multiplexer.
func New(o Options) *Server {
	o.GreetingTimeout = cmp.Or(o.GreetingTimeout, greetingTimeoutDefault)
	s := &Server{options: o, log: o.Log, mux: sniff.NewMux(muxAddr{}), held: newRoom(heldMaxDefault, o.Metrics)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.table.Store(&Table{})
	if o.GRPC != nil {
		s.serve(o.GRPC, s.mux.Match(sniff.HTTP2))
	}
	s.serve(newHTTPServer(s.table.Load, s.log), s.mux.Match(sniff.HTTP1))
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

// SetHeldMax bounds the ZMTP clients that are held silent because no block takes them. 0: 500.
func (s *Server) SetHeldMax(max int) { s.held.setMax(cmp.Or(max, heldMaxDefault)) }

// SetSourceLimits bounds the connections of one source address, an IPv6 /64 being one: how many are open, and how many come
// in a second. 0: any number.
func (s *Server) SetSourceLimits(open, newPerSecond int) { s.sources.setLimits(open, newPerSecond) }

// Handle takes over a connection whose protocol is known, and calls release once it has ended. It returns as soon as the
// connection's handler runs; before that it may wait for what its block is chosen by: a ZMTP client's greeting, or a
// ClientHello, if a reload asks for names just now.
func (s *Server) Handle(l Listener, c *sniff.Conn, release func()) {
	table := s.table.Load()
	v := s.enter(table, c, release)
	facts := l.facts(c)
	choice, more, next := table.Choose(&facts, 0)
	if more == NeedsServerName {
		seen, err := s.readHello(c)
		if err != nil {
			v.done(Outcome{Result: "no client hello", Err: err})
			return
		}
		c, v.conn = seen, seen
		facts = l.facts(c)
		v.name = facts.ServerName
		choice, more, next = table.Choose(&facts, next)
	}
	conn := net.Conn(c)
	if more != Fits {
		var err error
		if choice, conn, err = s.climb(c, table, &facts, more, next); err != nil {
			v.done(Outcome{Result: "greeting failed", Err: err})
			return
		}
	}
	v.detected(choice)
	v.block = choice.Block
	v.openAccount(choice)
	switch {
	case choice.Block != nil:
		if _, carries := choice.Block.Handler.(Carrier); !carries {
			v.counted(c, choice.Block.Name)
		}
		choice.Block.Handler.ServeConn(s.ctx, conn, v.done)
	case choice.Server != "":
		s.stream(c, choice.Server, v)
	case v.protocol == sniff.ZMTP.Name:
		v.counted(c, Held)
		s.held.hold(c, v.done)
	default:
		v.done(Outcome{Result: "no block", Err: ErrNoBlock})
	}
}

// readHello reads a ClientHello that sniffing had no reason to read.
func (s *Server) readHello(c *sniff.Conn) (*sniff.Conn, error) {
	if err := c.SetReadDeadline(time.Now().Add(s.options.GreetingTimeout)); err != nil {
		return nil, err
	}
	seen, err := c.ReadHello()
	if err != nil {
		return nil, err
	}
	return seen, seen.SetReadDeadline(time.Time{})
}

// Quick is Handle for a connection whose block can take it without waiting; otherwise it leaves it alone and returns false.
func (s *Server) Quick(l Listener, c *sniff.Conn, release func()) bool {
	table, facts := s.table.Load(), l.facts(c)
	choice, more, _ := table.Choose(&facts, 0)
	if more != Fits || choice.Block == nil {
		return false
	}
	handler, ok := choice.Block.Handler.(QuickHandler)
	if !ok {
		return false
	}
	v := s.enter(table, c, release)
	v.block, v.conn = choice.Block, nil // a quick handler closes the connection itself; it need not be kept for that
	v.openAccount(choice)
	if !handler.TryServeConn(c, v.done) {
		v.leave()
		if v.account != nil {
			v.account.Undone()
		}
		return false
	}
	v.detected(choice)
	return true
}

// enter counts a connection that is to be served.
func (s *Server) enter(table *Table, c *sniff.Conn, release func()) *visit {
	v := &visit{server: s, table: table, started: time.Now(), listener: c.Listener(), protocol: c.Protocol(), client: c.RemoteAddr(), conn: c, release: release}
	v.name, _ = c.ServerName()
	table.inUse.Add(1)
	if m := s.options.Metrics; m != nil {
		m.Open.WithLabelValues(v.protocol).Inc()
	}
	return v
}

// detected tells at once where the connection goes; the log line proper comes when it has ended.
func (v *visit) detected(choice Choice) {
	if v.server.log.Enabled(v.server.ctx, slog.LevelDebug) {
		v.server.log.Debug("detected", "protocol", v.protocol, "block", choice.String(), "client", addrString(v.client))
	}
}

// openAccount lets the account be kept, if one is. It is called before anybody else has the connection.
func (v *visit) openAccount(choice Choice) {
	if open := v.server.options.Account; open != nil {
		v.account = open(choice, v.protocol, v.client)
	}
}

// leave takes back what enter counted.
func (v *visit) leave() {
	v.table.inUse.Add(-1)
	if m := v.server.options.Metrics; m != nil {
		m.Open.WithLabelValues(v.protocol).Dec()
	}
}

// visit is a connection from Handle to its log line.
type visit struct {
	server   *Server
	table    *Table
	started  time.Time
	listener string
	protocol string
	client   net.Addr
	name     string   // that a TLS client asked for
	conn     net.Conn // nil: its handler closes it
	release  func()
	block    *Block
	account  Account // nil: none is kept
	flow     *flow   // nil: a Carrier's
}

// done ends the visit. Whoever holds the connection calls it, once.
func (v *visit) done(o Outcome) {
	if v.conn != nil {
		v.conn.Close()
	}
	v.release()
	v.leave()
	if v.flow != nil {
		v.flow.open.Add(-1)
	}
	if v.account != nil {
		v.account.Left()
	}
	if v.block != nil {
		o.Block = v.block.Name
	}
	v.server.report(v.protocol, v.client, v.name, time.Since(v.started)-o.Ago, o)
}

// stream puts a connection on its way to a server behind the multiplexer.
func (s *Server) stream(c *sniff.Conn, server string, v *visit) {
	counted := v.counted(c, server)
	s.streams.Add(1)
	s.mux.Feed(c, func() {
		s.streams.Add(-1)
		v.done(counted.outcome(server))
	})
}

// Streams is how many connections the servers behind the multiplexer have.
func (s *Server) Streams() int { return int(s.streams.Load()) }

// Settle waits until the connections behind the multiplexer have reached their servers, or until ctx ends. Nothing may come
// meanwhile.
func (s *Server) Settle(ctx context.Context) error { return s.mux.Settle(ctx) }

// Drain asks the servers behind the multiplexer to end gracefully, hard once ctx is done, and lets those go that are held
// silent. The relays' connections are their handlers' to end.
func (s *Server) Drain(ctx context.Context) {
	s.held.close()
	var graceful sync.WaitGroup
	for _, server := range s.servers {
		graceful.Go(func() {
			if err := server.Shutdown(ctx); err != nil {
				s.log.Debug("a server behind the multiplexer was cut", "error", err)
			}
		})
	}
	graceful.Wait()
}

// Close ends the context that handlers got, and what is behind the multiplexer. It comes after Drain, when nothing calls
// Handle any more.
func (s *Server) Close() {
	s.cancel()
	s.mux.Close()
	s.serving.Wait()
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
