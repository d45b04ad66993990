package gateway

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"gateway/sniff"
)

const patience = 10 * time.Second // for what must happen; only a failing test waits so long

// sink is a handler that reads until EOF.
type sink struct{ got chan string }

func (s sink) ServeConn(_ context.Context, c net.Conn, done func(Outcome)) {
	all, err := io.ReadAll(c)
	c.Close()
	s.got <- string(all)
	done(Outcome{Err: err})
}

// hasty is a client's end that leaves as soon as it has said something.
type hasty struct{ net.Conn }

func (h hasty) Write(p []byte) (int, error) {
	defer h.Close()
	return h.Conn.Write(p)
}

// TestReloadThatAsksForNamesReadsTheHelloOfAConnectionThatIsJustArriving hands over a connection of which sniffing has read no
// more than it had to before the reload.
func TestReloadThatAsksForNamesReadsTheHelloOfAConnectionThatIsJustArriving(t *testing.T) {
	s := New(Options{GreetingTimeout: patience})
	defer s.Close()
	taken := sink{make(chan string, 1)}
	match := Match{Protocol: "tls", ServerNames: []string{"*.example"}}
	s.SetTable(&Table{Relays: []Block{{Name: "pages", Match: match, Handler: taken}}})

	client, server := connected(t)
	go tls.Client(hasty{client}, &tls.Config{ServerName: "www.example"}).Handshake()
	sniffed, result := sniff.Detect(server, sniff.All, patience)
	if result != sniff.Matched || sniffed.Protocol() != "tls" {
		t.Fatalf("%v as %q", result, sniffed.Protocol())
	}
	released := make(chan struct{})
	go s.Handle(Listener{}, sniffed, func() { close(released) })
	hello := receive(t, taken.got)
	if name, err := sniff.ServerNameOf([]byte(hello)); name != "www.example" || err != nil {
		t.Errorf("the block got %d bytes that ask for %q, %v", len(hello), name, err)
	}
	receive(t, released)
}

// connected are the two ends of a TCP connection.
func connected(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func receive[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

func TestNamesOfTLSClientsAreMatchedWhole(t *testing.T) {
	m := Match{Protocol: "tls", ServerNames: []string{"one.example", "*.two.example"}}
	for name, want := range map[string]Fit{
		"one.example": Fits, "x.one.example": OtherServerName, "done.example": OtherServerName, "": OtherServerName,
		"a.two.example": Fits, "b.a.two.example": Fits, "two.example": OtherServerName, ".two.example": OtherServerName, "atwo.example": OtherServerName,
	} {
		if fit := m.Test(&Facts{Protocol: "tls", NameKnown: true, ServerName: name}); fit != want {
			t.Errorf("%q: %v, want %v", name, fit, want)
		}
	}
	if fit := m.Test(&Facts{Protocol: "tls"}); fit != NeedsServerName {
		t.Errorf("before the hello was read: %v", fit)
	}
	if fit := m.Test(&Facts{Protocol: "zmtp"}); fit != OtherProtocol {
		t.Errorf("ZMTP: %v", fit)
	}
	inside := Match{Protocol: "zmtp", ServerNames: []string{"one.example"}}
	for fit, f := range map[Fit]Facts{
		Fits:            {Protocol: "zmtp", NameKnown: true, ServerName: "one.example"},
		OtherServerName: {Protocol: "zmtp"},
		OtherProtocol:   {Protocol: "tls", NameKnown: true, ServerName: "one.example", Terminated: true},
	} {
		if got := inside.Test(&f); got != fit {
			t.Errorf("ZMTP inside TLS, %+v: %v, want %v", f, got, fit)
		}
	}
	everything := Match{Protocol: AnyProtocol}
	if fit := everything.Test(&Facts{Protocol: "tls", Terminated: true}); fit != TLSEnds {
		t.Errorf("where TLS ends, a block for everything: %v", fit)
	}
}
