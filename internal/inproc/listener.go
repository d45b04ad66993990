package inproc

import (
	"context"
	"net"
	"sync"
)

// Listener accepts those that dial it. Make one with Listen.
type Listener struct {
	conns  chan *Conn
	closed chan struct{}
	once   sync.Once
}

// Listen makes a Listener.
func Listen() *Listener { return &Listener{conns: make(chan *Conn), closed: make(chan struct{})} }

// Dial connects; it waits to be accepted.
func (l *Listener) Dial(ctx context.Context) (*Conn, error) {
	ours, theirs := Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept returns the other end.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr says nothing.
func (l *Listener) Addr() net.Addr { return address{} }
