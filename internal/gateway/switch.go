package gateway

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// Switch is a StreamServer that hands its connections to the server that is current, so that a reload can put another in
// its place. The zero value has none: it closes what comes.
//
// Rules: Set does not end the server before; its owner does, by Shutdown, which also ends the Serve that Set began. When Set
// returns, the server before has taken care of every connection that it got, which its next Accept shows: none is lost to a
// Shutdown that comes right after.
type Switch struct {
	mu      sync.Mutex
	current *handoff
}

// Set makes server the one that gets connections from now on; nil for none. failed is called if it ends with an error.
func (s *Switch) Set(server StreamServer, failed func(error)) {
	var next *handoff
	if server != nil {
		next = &handoff{server: server, conns: make(chan net.Conn), closed: make(chan struct{})}
		go func() {
			if err := server.Serve(next); err != nil {
				failed(err)
			}
			next.Close()
			next.taken()
		}()
	}
	s.mu.Lock()
	before := s.current
	s.current = next
	s.mu.Unlock()
	if before != nil {
		before.passing.Wait() // nothing is added any more: add is called for the current one alone, under mu
	}
}

// Serve hands on the connections of l until l is closed, and then returns nil.
func (s *Switch) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return nil
		}
		if !s.give(c) {
			c.Close()
		}
	}
}

// give hands c to the current server; when that one is ending just now, to the next.
func (s *Switch) give(c net.Conn) bool {
	var tried *handoff
	for {
		s.mu.Lock()
		current := s.current
		if current == nil || current == tried {
			s.mu.Unlock()
			return false
		}
		current.passing.Add(1)
		s.mu.Unlock()
		select {
		case current.conns <- c:
			return true
		case <-current.closed:
			current.passing.Done()
			tried = current
		}
	}
}

// Shutdown takes the current server out of use. Its owner ends it.
func (s *Switch) Shutdown(context.Context) error {
	s.Set(nil, nil)
	return nil
}

// handoff is the listener of one server. Its channel is unbuffered: a connection is never in nobody's hands.
type handoff struct {
	server StreamServer
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}

	passing sync.WaitGroup // connections on their way to the server
	given   atomic.Bool    // one was accepted, and is not known to be taken care of
}

// taken is called when the connection before is the server's.
func (h *handoff) taken() {
	if h.given.CompareAndSwap(true, false) {
		h.passing.Done()
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	h.taken()
	select {
	case c := <-h.conns:
		h.given.Store(true)
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handoff) Addr() net.Addr { return muxAddr{} }
