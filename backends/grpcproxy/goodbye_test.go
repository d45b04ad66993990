package grpcproxy

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// slowListener's connections write late and have no descriptor at hand, as those of TLS may.
type slowListener struct{ net.Listener }

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return slowConn{c}, nil
}

type slowConn struct{ net.Conn }

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(10 * time.Millisecond) // what a busy machine does to a goroutine that writes
	return c.Conn.Write(b)
}

func (c slowConn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

func TestPeerOfASlowSocketReadsWhyItIsEnded(t *testing.T) {
	p, err := New(everything("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- p.Serve(slowListener{l}) }()
	t.Cleanup(func() {
		if err := p.Shutdown(testContext(t)); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	caller := rawCaller(t, l.Addr().String())
	caller.must(caller.WriteWindowUpdate(0, windowMax))
	caller.wantGoAway(http2.ErrCodeFlowControl)
}
