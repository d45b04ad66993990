package grpcproxy

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// socketPair is two ends of a TCP connection.
func socketPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l := listen(t)
	defer func() { _ = l.Close() }()
	theirs, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	if err := theirs.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if ours, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// idleProxy has no listener.
func idleProxy(t *testing.T) *Proxy {
	t.Helper()
	p, err := New(everything("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutDown(t, p) })
	return p
}

func shutDown(t *testing.T, p *Proxy) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// TestClientOfStoppedProxyIsHungUpOn has a client come when the proxy has stopped: its descriptor was taken out already.
func TestClientOfStoppedProxyIsHungUpOn(t *testing.T) {
	p := idleProxy(t)
	shutDown(t, p)
	ours, theirs := socketPair(t)
	p.serveSocket(ours, nil)
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client read %v, want EOF", err)
	}
}

// TestBackendOfStoppedProxyIsHungUpOn is the same for a dial that was under way.
func TestBackendOfStoppedProxyIsHungUpOn(t *testing.T) {
	p := idleProxy(t)
	shutDown(t, p)
	ours, theirs := socketPair(t)
	target := newTarget(p.backends[0], place{})
	target.backend.Dial = dialFunc(func(context.Context) (net.Conn, error) { return ours, nil })
	if _, err := target.dial(t.Context()); err == nil {
		t.Error("there is a connection")
	}
	if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the backend read %v, want EOF", err)
	}
}
