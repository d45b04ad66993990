package sniff

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gateway/internal/freeport"
)

func TestEveryProtocolIsHandedOverAndCounted(t *testing.T) {
	p := open(t, Options{})
	for i, s := range samples {
		client := p.dial(s.bytes)
		c := p.next()
		if c.Protocol() != s.protocol || c.RemoteAddr().String() != client.LocalAddr().String() {
			t.Errorf("%s from %v is handed over as %q from %v", s.peer, client.LocalAddr(), c.Protocol(), c.RemoteAddr())
		}
		expectRead(t, c, s.bytes)
		c.end()
		if p.accepted() != i+1 {
			t.Errorf("%d connections counted as accepted, want %d", p.accepted(), i+1)
		}
	}
	want := make(map[string]int)
	for _, s := range samples {
		want[s.protocol]++
	}
	for protocol, n := range want {
		if got := p.results(protocol); got != n {
			t.Errorf("%d connections counted as %s, want %d", got, protocol, n)
		}
	}
	if n := p.sniffing(); n != 0 {
		t.Errorf("%d connections counted as being sniffed", n)
	}
}

func TestStrangersAreClosedCountedAndLogged(t *testing.T) {
	for _, test := range []struct {
		first  string
		leaves bool
		result string
		log    []string // each must be in the log; none: no line
	}{
		{"EHLO example\r\n0123456789", false, "unmatched", []string{"level=WARN", "bytes=45484c4f206578616d706c650d0a3031 ", "suppressed=0", "listener=public", "client=127.0.0.1:"}},
		{"\xff\x00\x00\x00", false, "timeout", []string{"result=timeout", "bytes=ff000000 "}},
		{"", false, "timeout", []string{"result=timeout", `bytes="" `}},
		{"PRI *", true, "closed", []string{"result=closed", "bytes=505249202a "}},
		{"", true, "closed", nil}, // a health check that only connects
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		client := connect(t, l.Addr().String(), test.first) // all that it says is there before the time begins
		if test.leaves {
			client.CloseWrite()
		}
		p := openOn(t, l, Options{Timeout: timeoutOf(test.result == "timeout")})
		expectEnd(t, client)
		p.server.Close()
		if got := p.results(test.result); got != 1 || p.accepted() != 1 || p.sniffing() != 0 {
			t.Errorf("%q: %d accepted, %d counted as %s, %d sniffing", test.first, p.accepted(), got, test.result, p.sniffing())
		}
		for _, part := range test.log {
			if !strings.Contains(p.log.String(), part) {
				t.Errorf("%q: the log lacks %s: %s", test.first, part, p.log)
			}
		}
		if n := p.log.count("\n"); n != min(1, len(test.log)) {
			t.Errorf("%q: %d log lines: %s", test.first, n, p.log)
		}
	}
}

// timeoutOf is short for a test that waits for it, and else too long to interfere.
func timeoutOf(awaited bool) time.Duration {
	if awaited {
		return 500 * time.Millisecond
	}
	return patience
}

func TestStrangersFillTheLogWithOneLineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		p := openOn(t, l, Options{})
		for range 100 {
			for range 10 { // ten strangers each tenth of a second
				client := l.dial()
				io.WriteString(client, "junk")
				expectEnd(t, client)
			}
			time.Sleep(100 * time.Millisecond)
		}
		p.server.Close()
		if n := p.log.count("\n"); n != 10 {
			t.Errorf("%d lines in 10 s: %s", n, p.log)
		}
		if n := p.log.count("suppressed=99"); n != 9 {
			t.Errorf("%d lines say that 99 were suppressed, want 9: %s", n, p.log)
		}
		if n := p.results("unmatched"); n != 1000 {
			t.Errorf("%d counted, want 1000", n)
		}
	})
}

func TestUnmatchedCanBeTakenByTheOwner(t *testing.T) {
	type stranger struct {
		handed
		result Result
	}
	for _, test := range []struct {
		first  string
		leaves bool
		result Result
	}{{"junk", false, Unmatched}, {"", false, TimedOut}, {"S", true, Closed}} {
		strangers := make(chan stranger, 1)
		p := open(t, Options{
			Timeout: timeoutOf(test.result == TimedOut),
			Otherwise: func(c *Conn, result Result, _ error, release func()) bool {
				strangers <- stranger{handed{c, release}, result}
				return true
			},
		})
		client := p.dial(test.first)
		if test.leaves {
			client.CloseWrite()
		}
		s := receive(t, strangers, "a stranger")
		if s.result != test.result || string(s.Prefix()) != test.first || s.Protocol() != "" {
			t.Errorf("%q: got %v with %q", test.first, s.result, s.Prefix())
		}
		if _, err := io.WriteString(s, "held"); err != nil { // it is still open
			t.Error(err)
		}
		expectRead(t, client, "held")
		s.end()
		shutdown(t, p.server)
		if p.log.String() != "" {
			t.Errorf("logged although taken: %s", p.log)
		}
	}
}

// queue dials for each greeting, as clients do whose connections wait in the backlog.
func queue(l *pipeListener, greetings ...string) (accepted chan net.Conn) {
	accepted = make(chan net.Conn, len(greetings))
	go func() {
		for _, g := range greetings {
			c := l.dial()
			accepted <- c
			if g != "" { // a pipe passes an empty write on
				io.WriteString(c, g)
			}
		}
	}()
	return accepted
}

func TestConnectionsBeyondTheMostWaitUntilOneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		p := openOn(t, l, Options{ConnectionsMax: 2})
		clients := queue(l, "SSH-1", "SSH-2", "SSH-3", "SSH-4")
		first, second := p.next(), p.next()
		first.Close() // closing is not yet releasing

		for _, test := range []struct {
			release func()
			want    int // accepted so far
		}{
			{func() {}, 2},
			{first.release, 3},
			{first.release, 3}, // a second call frees nothing
			{second.end, 4},
		} {
			test.release()
			synctest.Wait()
			if len(clients) != test.want || p.accepted() != test.want {
				t.Errorf("%d accepted, %d counted, want %d", len(clients), p.accepted(), test.want)
			}
		}
	})
}

func TestSilentPeersBeyondTheMostWaitUntilOneIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		p := openOn(t, l, Options{SniffingMax: 2, Timeout: 5 * time.Second})
		clients := queue(l, "", "", "SSH-", "SSH-")
		synctest.Wait()
		if p.accepted() != 2 || p.sniffing() != 2 {
			t.Errorf("%d accepted, %d being sniffed, want 2", p.accepted(), p.sniffing())
		}
		(<-clients).Close() // makes room for one, and that one for the next
		synctest.Wait()
		if p.accepted() != 4 || p.sniffing() != 1 || len(p.conns) != 2 {
			t.Errorf("%d accepted, %d being sniffed, %d handed over; want 4, 1, 2", p.accepted(), p.sniffing(), len(p.conns))
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if p.sniffing() != 0 {
			t.Error("the silent one outlived its deadline")
		}
	})
}

func TestOwnerMayKeepConnectionAfterHandleReturns(t *testing.T) {
	p := open(t, Options{})
	client := p.dial("SSH-2.0")
	c := p.next()
	if n := p.sniffing(); n != 0 {
		t.Errorf("%d counted as being sniffed", n)
	}
	p.server.Close() // what was handed over stays
	expectRead(t, c, "SSH-2.0")
	io.WriteString(c, "still here")
	expectRead(t, client, "still here")
	c.end()
}

func TestStopWithSilentPeersConnected(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l, err := net.Listen("tcp", freeport.Keep(t))
	if err != nil {
		t.Fatal(err)
	}
	p := openOn(t, l, Options{Timeout: time.Hour})
	const peers = 50
	var clients []net.Conn
	for i := range peers {
		clients = append(clients, p.dial("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[:i%24]))
	}
	eventually(t, "all to be accepted", func() bool { return p.accepted() == peers })
	start := time.Now()
	p.server.Close()
	if took := time.Since(start); took > patience {
		t.Errorf("Close took %v", took)
	}
	if p.results("stopped") != peers || p.sniffing() != 0 {
		t.Errorf("%d counted as stopped, %d as being sniffed", p.results("stopped"), p.sniffing())
	}
	if p.log.String() != "" {
		t.Errorf("stopping was logged as if clients had failed: %s", p.log)
	}
	for _, c := range clients {
		expectEnd(t, c)
	}
	shutdown(t, p.server) // all slots are free
	if c, err := net.Dial("tcp", p.addr); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
}

func TestShutdownWaitsForOwners(t *testing.T) {
	p := open(t, Options{})
	p.dial("SSH-")
	c := p.next()

	impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.server.Shutdown(impatient); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("with a connection open: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- p.server.Shutdown(t.Context()) }()
	c.end()
	if err := receive(t, done, "Shutdown"); err != nil {
		t.Error(err)
	}
}

func TestCloseDoesNotWaitForOwners(t *testing.T) {
	finish, started := make(chan struct{}), make(chan struct{})
	p := open(t, Options{Handle: func(c *Conn, release func()) {
		close(started)
		<-finish
		handed{c, release}.end()
	}})
	p.dial("SSH-")
	receive(t, started, "Handle")
	p.server.Close()
	close(finish)
	shutdown(t, p.server)
}

// lateListener accepts one more connection while it is closed.
type lateListener struct {
	*pipeListener
	last net.Conn
}

func (l *lateListener) Accept() (net.Conn, error) {
	if _, err := l.pipeListener.Accept(); l.last == nil {
		return nil, err
	}
	last := l.last
	l.last = nil
	return last, nil
}

func TestConnectionAcceptedDuringCloseIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		p := openOn(t, &lateListener{newPipeListener(), server}, Options{Timeout: time.Hour})
		synctest.Wait() // until Serve is in Accept
		start := time.Now()
		shutdown(t, p.server)
		if waited := time.Since(start); waited != 0 || p.results("stopped") != 1 {
			t.Errorf("waited %v, %d counted as stopped", waited, p.results("stopped"))
		}
		expectEnd(t, client)
	})
}

// Serve waits for a slot to sniff in, with a slot for the connection in its hand.
func TestStopWhileAllSlotsAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, o := range []Options{{SniffingMax: 1}, {ConnectionsMax: 1}} {
			l := newPipeListener()
			p := openOn(t, l, o)
			l.dial()
			synctest.Wait()
			shutdown(t, p.server)
			shutdown(t, p.server) // again
		}
	})
}

func TestServeAfterCloseClosesItsListener(t *testing.T) {
	s := NewServer(Options{})
	s.Close()
	s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// Two listeners share the limits; both are stopped.
func TestServerOfTwoListeners(t *testing.T) {
	p := open(t, Options{})
	l, err := net.Listen("unix", t.TempDir()+"/gateway.sock")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.server.Serve(l) }()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	io.WriteString(client, "GET / HTTP/1.1\r\n")
	if c := p.next(); c.Protocol() != "http1" {
		t.Error(c.Protocol())
	} else {
		c.end()
	}
	p.server.Close()
	if err := receive(t, served, "the second Serve"); err != nil {
		t.Error(err)
	}
}

func TestZeroOptionsClassifyAndClose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(Options{})
	go s.Serve(l)
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	io.WriteString(client, "SSH-")
	expectEnd(t, client)
	shutdown(t, s)
}
