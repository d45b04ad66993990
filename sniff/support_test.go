package sniff

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"gateway/internal/metrics"
)

const patience = 10 * time.Second // for what must happen; only a failing test waits so long

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// handed is a connection as Handle gets it.
type handed struct {
	*Conn
	release func()
}

func (h handed) end() {
	_ = h.Close()
	h.release()
}

// port is a running Server.
type port struct {
	t       testing.TB
	server  *Server
	addr    string
	metrics *metrics.Metrics
	log     *lines
	conns   chan handed // what Handle got, unless the test has its own
	served  chan error
}

// open runs a Server on a port of its own until the test ends.
func open(t testing.TB, o Options) *port {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return openOn(t, l, o)
}

func openOn(t testing.TB, l net.Listener, o Options) *port {
	t.Helper()
	p := &port{t: t, addr: l.Addr().String(), metrics: metrics.New(), log: &lines{}, conns: make(chan handed, 1024), served: make(chan error, 1)}
	o.Name, o.Metrics = "public", p.metrics
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(p.log, nil))
	}
	if o.Handle == nil {
		o.Handle = func(c *Conn, release func()) { p.conns <- handed{c, release} }
	}
	p.server = NewServer(o)
	go func() { p.served <- p.server.Serve(l) }()
	t.Cleanup(func() {
		p.server.Close()
		if err := p.exit(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		for len(p.conns) > 0 {
			(<-p.conns).end()
		}
	})
	return p
}

// exit returns what Serve returned.
func (p *port) exit() error {
	p.t.Helper()
	return receive(p.t, p.served, "Serve to return")
}

// dial connects and sends what a client says first.
func (p *port) dial(first string) *net.TCPConn {
	p.t.Helper()
	return connect(p.t, p.addr, first)
}

// connect is dial for a port that nobody serves yet.
func connect(t testing.TB, addr, first string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, first); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// shutdown stops s and fails if a slot has not come back.
func shutdown(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// next returns the connection that was handed over next.
func (p *port) next() handed {
	p.t.Helper()
	return receive(p.t, p.conns, "a connection to be handed over")
}

// results is how many connections sniffing ended for, with this result.
func (p *port) results(result string) int {
	return int(read(p.t, p.metrics.SniffSeconds.WithLabelValues(result).(prometheus.Metric)).GetHistogram().GetSampleCount())
}

func (p *port) accepted() int {
	return int(read(p.t, p.metrics.Accepted.WithLabelValues("public")).GetCounter().GetValue())
}

func (p *port) acceptErrors(reason string) int {
	return int(read(p.t, p.metrics.AcceptErrors.WithLabelValues("public", reason)).GetCounter().GetValue())
}

func (p *port) refused(reason string) int {
	return int(read(p.t, p.metrics.Refused.WithLabelValues("public", reason)).GetCounter().GetValue())
}

func (p *port) sniffing() int {
	return int(read(p.t, p.metrics.Sniffing.WithLabelValues("public")).GetGauge().GetValue())
}

func read(t testing.TB, m prometheus.Metric) *dto.Metric {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return &out
}

// receive returns what comes out of ch.
func receive[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		t.Fatalf("waited %v for %s\n%s", patience, what, stacks[:runtime.Stack(stacks, true)])
		panic("unreachable")
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// expectEnd reads c until the server has closed it.
func expectEnd(t testing.TB, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("the server sent something")
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatalf("still open after %v", patience)
	}
}

// expectRead reads exactly want from c.
func expectRead(t testing.TB, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

// lines collects a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) count(part string) int { return strings.Count(l.String(), part) }

// pair returns the two ends of a TCP connection.
func pair(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}
