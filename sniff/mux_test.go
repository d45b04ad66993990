package sniff

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/soheilhy/cmux"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// protocol returns the one of All with this name.
func protocol(t *testing.T, name string) Protocol {
	t.Helper()
	for _, p := range All {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no protocol %q", name)
	return Protocol{}
}

// muxPort is a port whose connections all go into a Mux.
type muxPort struct {
	*port
	mux    *Mux
	served chan struct{} // closed when the Mux has ended
}

// openMux runs a Server that feeds a Mux; listen gets the Mux before it serves. The Server takes strangers in, too.
func openMux(t *testing.T, o Options, listen func(*Mux)) muxPort {
	t.Helper()
	mux := NewMux(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5555})
	listen(mux)
	served := make(chan struct{})
	go func() {
		mux.Serve()
		close(served)
	}()
	t.Cleanup(func() {
		mux.Close()
		receive(t, served, "the Mux to end")
	})
	o.Handle = mux.Feed
	o.Otherwise = func(c *Conn, _ Result, _ error, release func()) bool {
		mux.Feed(c, release)
		return true
	}
	return muxPort{open(t, o), mux, served}
}

func TestServersOfThreeKindsShareOnePort(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	grpcServer := grpc.NewServer()
	healthpb.RegisterHealthServer(grpcServer, health.NewServer())
	httpServer := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Method+" "+r.URL.Path)
	})}
	var servers sync.WaitGroup
	var rest net.Listener
	p := openMux(t, Options{}, func(m *Mux) {
		http2, http1 := m.Match(protocol(t, "http2")), m.Match(protocol(t, "http1"))
		rest = m.Rest()
		servers.Go(func() { _ = grpcServer.Serve(http2) })
		servers.Go(func() { _ = httpServer.Serve(http1) })
	})

	client, err := grpc.NewClient("passthrough:"+p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if answer, err := healthpb.NewHealthClient(client).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
		t.Error(err)
	} else if answer.Status != healthpb.HealthCheckResponse_SERVING {
		t.Error(answer.Status)
	}
	client.Close()

	transport := &http.Transport{}
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://" + p.addr + "/chat")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); string(body) != "GET /chat" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	response.Body.Close()
	transport.CloseIdleConnections()

	p.dial("EHLO example\r\n")
	c, err := rest.Accept()
	if err != nil {
		t.Fatal(err)
	}
	expectRead(t, c, "EHLO example\r\n")
	c.Close()

	p.mux.Close()
	receive(t, p.served, "the Mux to end")
	grpcServer.Stop()
	httpServer.Close()
	servers.Wait()
	shutdown(t, p.server) // every closed connection has given its slot back
}

// A half-close through the Mux reaches the client as FIN; the other direction stays open.
func TestMuxHidesNoHalfClose(t *testing.T) {
	var ssh net.Listener
	p := openMux(t, Options{}, func(m *Mux) { ssh = m.Match(protocol(t, "ssh"), protocol(t, "tls")) })
	client := p.dial("SSH-2.0-" + strings.Repeat("x", 40))
	c, err := ssh.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	expectRead(t, c, "SSH-2.0-"+strings.Repeat("x", 40))
	if c.RemoteAddr().String() != client.LocalAddr().String() || ssh.Addr().String() != "127.0.0.1:5555" {
		t.Errorf("from %v, at %v", c.RemoteAddr(), ssh.Addr())
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client got %v instead of EOF", err)
	}
	_ = client.SetWriteDeadline(time.Now().Add(patience))
	io.WriteString(client, "late")
	expectRead(t, c, "late")
	if _, ok := c.(interface{ Detach() ([]byte, net.Conn) }); ok {
		t.Error("a relay could take the raw connection, and the slot would never come back")
	}
}

// Whoever is silent after its first bytes waits in no matcher: the Mux stops at once.
func TestMuxStopsWithSilentPeers(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var ssh, rest net.Listener
	// The server knows no protocol but one: for all others the bytes are too few to decide, as cmux sees them.
	p := openMux(t, Options{Timeout: time.Second, Protocols: []Protocol{protocol(t, "ssh")}}, func(m *Mux) {
		m.Match(protocol(t, "http2"))
		ssh, rest = m.Match(protocol(t, "ssh")), m.Rest()
	})
	clients := []*net.TCPConn{p.dial("PRI * HTTP"), p.dial(""), p.dial("SSH-"), p.dial("S")}
	taken, err := ssh.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := rest.Accept() // the other two remain in cmux
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all to be fed", func() bool { return p.results("timeout")+p.results("unmatched") == 3 })
	p.server.Close()
	p.mux.Close()
	receive(t, p.served, "the Mux to end")
	for _, l := range []net.Listener{ssh, rest} {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
	}

	for _, c := range clients {
		at := slices.IndexFunc([]net.Conn{taken, accepted}, func(s net.Conn) bool { return s.RemoteAddr().String() == c.LocalAddr().String() })
		if at < 0 {
			expectEnd(t, c)
			continue
		}
		io.WriteString([]net.Conn{taken, accepted}[at], "still here") // its server's alone
		expectRead(t, c, "still here")
	}
	taken.Close()
	accepted.Close()
	shutdown(t, p.server)
}

func TestClosedIsCalledOnceWhoeverCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := NewMux(nil)
		ssh := mux.Match(protocol(t, "ssh"))
		go mux.Serve()
		var closed atomic.Int32
		feed := func(first string) {
			client, server := net.Pipe()
			defer client.Close()
			go io.WriteString(client, first)
			c, _ := Detect(server, All, time.Second)
			mux.Feed(c, func() { closed.Add(1) })
			synctest.Wait()
		}
		check := func(when string, want int32) {
			t.Helper()
			if n := closed.Swap(0); n != want {
				t.Errorf("%s: called %d times, want %d", when, n, want)
			}
		}

		feed("SSH-")
		check("waiting for its server", 0)
		c, err := ssh.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		c.Close()
		check("closed twice by its server", 1)
		feed("GET / HTTP/1.1\r\n")
		check("wanted by nobody", 1)
		feed("SSH-") // wanting one does not end the Mux
		check("waiting for its server again", 0)
		ssh.Close()
		synctest.Wait()
		check("still waiting when the Mux is closed", 1)
		feed("SSH-")
		check("fed to a closed Mux", 1)
	})
}

func TestMatcherGivesUpOnReaderThatReturnsNothing(t *testing.T) {
	if protocol(t, "ssh").Matcher()(idler{}) {
		t.Error("matched")
	}
}

// The probes work in a plain cmux, too, whose matchers see each other's bytes again and wait for more.
func TestProbesAreMatchersOfAnyCmux(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := cmux.New(l)
	m.SetReadTimeout(patience)
	found := make(chan string)
	var acceptors sync.WaitGroup
	accept := func(name string, from net.Listener) {
		for c, err := from.Accept(); err == nil; c, err = from.Accept() {
			c.Close()
			found <- name
		}
	}
	for _, p := range All {
		listener := m.Match(p.Matcher())
		acceptors.Go(func() { accept(p.Name, listener) })
	}
	rest := m.Match(cmux.Any())
	acceptors.Go(func() { accept("rest", rest) })
	served := make(chan struct{})
	go func() {
		_ = m.Serve()
		close(served)
	}()

	junk := []sample{{"rest", "junk", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r?", 24}, {"rest", "too little", "PRI * HTTP", 10}}
	for _, s := range append(junk, samples...) {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.decided {
			io.WriteString(client, s.bytes[i:i+1])
		}
		client.(*net.TCPConn).CloseWrite()
		if got := receive(t, found, "a match"); got != s.protocol {
			t.Errorf("%s: matched as %s, want %s", s.peer, got, s.protocol)
		}
		client.Close()
	}
	l.Close()
	receive(t, served, "cmux to end")
	acceptors.Wait()
}
