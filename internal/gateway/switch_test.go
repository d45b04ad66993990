package gateway

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
)

// slowServer takes its time between accepting a connection and taking care of it.
type slowServer struct {
	accepted chan net.Conn
	goOn     chan struct{}
	taken    chan net.Conn
	handed   net.Listener
}

func (s *slowServer) Serve(l net.Listener) error {
	s.handed = l
	for {
		c, err := l.Accept()
		if err != nil {
			return nil
		}
		s.accepted <- c
		<-s.goOn
		s.taken <- c
	}
}

func (s *slowServer) Shutdown(context.Context) error { return nil }

// pipeListener gives out what is sent to it.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return muxAddr{} }

func TestConnectionThatCameJustBeforeAReloadIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowServer{accepted: make(chan net.Conn), goOn: make(chan struct{}), taken: make(chan net.Conn, 1)}
		var sw Switch
		fail := func(err error) { t.Error(err) }
		sw.Set(s, fail)
		l := make(pipeListener)
		go sw.Serve(l)
		ours, theirs := net.Pipe()
		defer theirs.Close()
		l <- ours
		<-s.accepted // and not yet taken care of: a Shutdown now would lose it

		replaced := make(chan struct{})
		go func() {
			sw.Set(nil, fail)
			close(replaced)
		}()
		synctest.Wait()
		select {
		case <-replaced:
			t.Error("the server was replaced before it had taken care of its connection")
		default:
		}
		close(s.goOn)
		<-replaced
		if c := <-s.taken; c != ours {
			t.Errorf("the server took %v", c)
		}
		s.handed.Close() // as its owner's Shutdown does
		close(l)
	})
}
