package sniff

// Rules of this file.
//
// cmux (v0.1.5) is used for what it is good at, handing one port's connections to several listeners, and is kept from
// what it is bad at:
//
//   - A matcher that waits for a silent client blocks Serve for ever when it stops, and its read time-out is one more
//     deadline to leak. So cmux never reads from the network here: it sees the sniffed prefix, then EOF.
//   - Its MuxConn hides CloseWrite and keeps a buffer. So the listeners take the connection out of it again: a server
//     gets its bytes and its half-close straight from Conn. That works because matching on a peek consumes nothing.
//   - Its Close leaves the root listener, and so Serve, running. So Close here ends the root; Serve then closes what it
//     has matched and nobody has accepted.
//   - It goes on after errors that call themselves temporary, without a pause. So the root has one error, the final one.
//
// Passing: a connection passes from Feed until its server has called Accept again, which tells that it was taken care of, or
// until it is closed.
//
// Ownership: Feed takes the connection. Closing it, by the server that accepted it or by the Mux that found no taker,
// calls closed, once.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/soheilhy/cmux"
)

// Matcher returns p's probe as a cmux matcher. It reads no more than PrefixMax bytes and no more often than it must, but
// waits for its reader as long as that blocks: outside a Mux, set cmux's read time-out.
func (p Protocol) Matcher() cmux.Matcher {
	return func(r io.Reader) bool {
		prefix := make([]byte, 0, p.limit())
		for {
			n, err := r.Read(prefix[len(prefix):cap(prefix)])
			prefix = prefix[:len(prefix)+n]
			switch v := p.judge(prefix); {
			case v != NeedMore:
				return v == Accept
			case err != nil, n == 0:
				return false
			}
		}
	}
}

// Mux hands connections that were sniffed to servers that want a net.Listener. Make one with NewMux, then call Match and
// Rest, then Serve.
type Mux struct {
	root    *feed
	cmux    cmux.CMux
	passing sync.WaitGroup
}

// NewMux makes a Mux whose listeners have the address addr.
func NewMux(addr net.Addr) *Mux {
	root := &feed{addr: addr, conns: make(chan *peek), closed: make(chan struct{})}
	return &Mux{root: root, cmux: cmux.New(root)}
}

// Match returns a listener for the connections that one of protocols accepts and no earlier Match has claimed. Its
// connections have CloseWrite. Closing it closes the Mux; its Accept then fails with [net.ErrClosed].
func (m *Mux) Match(protocols ...Protocol) net.Listener {
	matchers := make([]cmux.Matcher, len(protocols))
	for i, p := range protocols {
		matchers[i] = p.Matcher()
	}
	return &outlet{Listener: m.cmux.Match(matchers...)}
}

// Rest returns a listener for the connections that no earlier Match has claimed.
func (m *Mux) Rest() net.Listener {
	return &outlet{Listener: m.cmux.Match(cmux.Any())}
}

// Serve passes connections on until Close. It is called once, on a goroutine of its own; every listener must be made
// before.
func (m *Mux) Serve() {
	_ = m.cmux.Serve() // its one error is the root's: closed
}

// Feed passes c to the listener that wants it; it waits no longer than until Serve has taken c. closed is called once,
// when c is closed: by its server, or by the Mux if no listener wants it or the Mux is closed.
func (m *Mux) Feed(c *Conn, closed func()) {
	m.passing.Add(1)
	fed := &muxed{Conn: c, closed: closed, passed: sync.OnceFunc(m.passing.Done)}
	select {
	case m.root.conns <- &peek{muxed: fed, rest: c.Prefix()}:
	case <-m.root.closed:
		_ = fed.Close()
	}
}

// Settle waits until each connection that was fed is its server's or closed, or until ctx ends. Nothing may be fed meanwhile.
func (m *Mux) Settle(ctx context.Context) error {
	settled := make(chan struct{})
	go func() {
		m.passing.Wait()
		close(settled)
	}()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sniff: wait for connections to reach their servers: %w", ctx.Err())
	}
}

// Close ends Serve and all listeners, and closes the connections that no server has accepted; when Serve returns, that is
// done. Connections that were accepted stay as they are. It can be called more than once.
func (m *Mux) Close() error { return m.root.Close() }

// feed is the root listener of a Mux.
type feed struct {
	addr   net.Addr
	conns  chan *peek // unbuffered: a connection is never in nobody's hands
	once   sync.Once
	closed chan struct{}
}

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *feed) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

func (f *feed) Addr() net.Addr { return f.addr }

// outlet is a cmux listener that gives out connections without cmux's wrapping. One goroutine accepts.
type outlet struct {
	net.Listener
	last *muxed // what Accept gave out
}

func (o *outlet) Accept() (net.Conn, error) {
	if o.last != nil {
		o.last.passed()
		o.last = nil
	}
	c, err := o.Listener.Accept()
	if errors.Is(err, cmux.ErrListenerClosed) || errors.Is(err, cmux.ErrServerClosed) {
		return nil, net.ErrClosed // the error that servers know
	}
	if err != nil {
		return nil, err
	}
	o.last = c.(*cmux.MuxConn).Conn.(*peek).muxed
	return o.last, nil
}

// muxed is a Conn that tells when it is closed. It has no Detach: whoever closed the raw connection would not tell.
type muxed struct {
	net.Conn // a *Conn
	closed   func()
	passed   func()
	once     atomic.Bool
}

// Raw is for a server that reads and writes by the descriptor: it gives out the bytes that Read would give first, and the
// connection that has the others. Closing stays here: the server closes muxed, never raw.
func (m *muxed) Raw() (prefix []byte, raw net.Conn) { return m.Conn.(*Conn).Detach() }

func (m *muxed) CloseWrite() error { return m.Conn.(*Conn).CloseWrite() }

// Misdirected is for a server that knows which authority a request is for; see Conn.
func (m *muxed) Misdirected(authority string) bool { return misdirected(m.Conn, authority) }

func (m *muxed) Close() error {
	err := m.Conn.Close()
	if m.once.CompareAndSwap(false, true) {
		m.passed()
		m.closed()
	}
	return err
}

// peek is what cmux sees of a connection: reading it gives the sniffed bytes, consumes nothing, and never blocks.
type peek struct {
	*muxed
	rest []byte
}

func (p *peek) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
