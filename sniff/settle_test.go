package sniff

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// signature is the first 10 bytes of ZMTP 3 (RFC 37, greeting).
const signature = "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"

// over is a context that has ended: who waits with it does not.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestRetiredServerSettlesWhenItsLastClientHasSpoken(t *testing.T) {
	p := open(t, Options{Timeout: time.Minute})
	c := p.dial("")
	eventually(t, "the client is accepted", func() bool { return p.sniffing() == 1 })
	p.server.Retire()
	if err := p.server.Settle(over()); !errors.Is(err, context.Canceled) {
		t.Errorf("with a client that has not spoken, settling gave %v", err)
	}
	if _, err := io.WriteString(c, signature); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.server.Settle(ctx); err != nil {
		t.Error(err)
	}
	if len(p.conns) != 1 {
		t.Errorf("%d connections were handed over, want 1", len(p.conns))
	}
}

// TestMuxSettlesWhenTheServerHasTakenCare accepts by hand: a connection is the server's when it asks for the next.
func TestMuxSettlesWhenTheServerHasTakenCare(t *testing.T) {
	mux := NewMux(&net.TCPAddr{})
	l := mux.Match(ZMTP)
	served := make(chan struct{})
	go func() {
		defer close(served)
		mux.Serve()
	}()
	t.Cleanup(func() {
		mux.Close()
		<-served
	})
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go io.WriteString(theirs, signature)
	c, result := Detect(ours, All, patience)
	if result != Matched {
		t.Fatal(result)
	}
	closed := make(chan struct{})
	mux.Feed(c, func() { close(closed) })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := mux.Settle(over()); !errors.Is(err, context.Canceled) {
		t.Errorf("before the server has asked for the next connection, settling gave %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Accept()
	}()
	if err := mux.Settle(t.Context()); err != nil {
		t.Error(err)
	}
	accepted.Close()
	<-closed
	mux.Close()
	<-ended
}
