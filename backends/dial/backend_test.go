package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gateway/backends/relay"
	"gateway/internal/freeport"
	"gateway/internal/metrics"
)

// patience bounds every wait of these tests; it is reached only when something hangs.
const patience = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// worker is a real listener that answers each line with its own name.
type worker struct {
	net.Listener
	target string // how it is written in Options
	served atomic.Int64
}

func startWorker(t *testing.T, network, address string) *worker {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{Listener: listener, target: network + "://" + listener.Addr().String()}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			w.served.Add(1)
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() { listener.Close() })
	return w
}

// closedPort is a target that refuses.
func closedPort(t *testing.T) string {
	t.Helper()
	return "tcp://" + freeport.Keep(t)
}

// blackHole is a target that never answers: its queue of one is full, so the kernel drops every further SYN.
func blackHole(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*syscall.SockaddrInet4).Port)).String()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return "tcp://" + address
}

func newBackend(t *testing.T, o Options) *Backend {
	t.Helper()
	o.Block = "telemetry"
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		b.Shutdown(ctx)
	})
	return b
}

// connect gives a client's connection and the gateway's end of it.
func connect(t *testing.T) (client *net.TCPConn, ours net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	ours, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn), ours
}

// serve passes a new client to the backend.
func serve(t *testing.T, b *Backend) (client *net.TCPConn, ended chan Outcome) {
	t.Helper()
	client, ours := connect(t)
	ended = make(chan Outcome, 2) // room for a second call, which would be an error
	go b.ServeConn(t.Context(), ours, func(o Outcome) { ended <- o })
	return client, ended
}

// echo checks that the client is connected to a worker.
func echo(t *testing.T, client net.Conn) {
	t.Helper()
	if _, err := client.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(client, answer); err != nil || string(answer) != "ping" {
		t.Fatalf("answer %q, error %v", answer, err)
	}
}

func wait(t *testing.T, ended chan Outcome) Outcome {
	t.Helper()
	select {
	case o := <-ended:
		return o
	case <-time.After(patience):
		t.Fatal("the connection did not end")
		return Outcome{}
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestClientReachesWorkerOnEverySortOfTarget(t *testing.T) {
	dir := t.TempDir()
	targets := []string{
		startWorker(t, "tcp", "127.0.0.1:0").target,
		strings.Replace(startWorker(t, "tcp", "127.0.0.1:0").target, "127.0.0.1", "localhost", 1),
		startWorker(t, "unix", filepath.Join(dir, "a")).target,
		strings.Replace(startWorker(t, "unix", filepath.Join(dir, "b")).target, "unix", "ipc", 1),
		startWorker(t, "unix", fmt.Sprintf("@gateway-dial-test-%d", os.Getpid())).target,
	}
	for _, target := range targets {
		b := newBackend(t, Options{Targets: []string{target}})
		client, ended := serve(t, b)
		echo(t, client)
		client.Close()
		o := wait(t, ended)
		if o.Err != nil || o.Target != target || o.Stats.AToB != 4 || o.Stats.BToA != 4 || o.Stats.First != relay.A {
			t.Errorf("%s: %+v", target, o)
		}
		eventually(t, "the connection is given back", func() bool { return b.Status()[0].Open == 0 && b.Live() == 0 })
	}
}

func TestClientIsServedWhenOneTargetRefuses(t *testing.T) {
	w := startWorker(t, "tcp", "127.0.0.1:0")
	m := metrics.New()
	b := newBackend(t, Options{
		Targets: []string{closedPort(t), "unix:///nowhere.sock", w.target}, Balance: RoundRobin, Dials: m.Dials,
	})
	for range 6 {
		client, ended := serve(t, b)
		echo(t, client)
		client.Close()
		if o := wait(t, ended); o.Target != w.target {
			t.Errorf("%+v", o)
		}
	}
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "gateway_dials_total" && len(f.Metric) != 3 {
			t.Errorf("%d series, want one for each target: %v", len(f.Metric), f.Metric)
		}
	}
}

func TestConnectionsAreSpread(t *testing.T) {
	for _, balance := range []string{RoundRobin, LeastConnections} {
		one, two, three := startWorker(t, "tcp", "127.0.0.1:0"), startWorker(t, "tcp", "127.0.0.1:0"), startWorker(t, "tcp", "127.0.0.1:0")
		b := newBackend(t, Options{Targets: []string{one.target, two.target, three.target}, Balance: balance})
		for range 12 {
			client, _ := serve(t, b)
			echo(t, client)
		}
		for _, w := range []*worker{one, two, three} {
			if n := w.served.Load(); n != 4 {
				t.Errorf("%s: %s has %d of 12 connections", balance, w.target, n)
			}
		}
		for _, s := range b.Status() {
			if s.Open != 4 {
				t.Errorf("%s: status %+v", balance, s)
			}
		}
	}
}

func TestEmptiestTargetGetsTheNextClient(t *testing.T) {
	one, two := startWorker(t, "tcp", "127.0.0.1:0"), startWorker(t, "tcp", "127.0.0.1:0")
	b := newBackend(t, Options{Targets: []string{one.target, two.target}})
	var clients []*net.TCPConn
	var ends []chan Outcome
	for range 6 {
		client, ended := serve(t, b)
		echo(t, client)
		clients, ends = append(clients, client), append(ends, ended)
	}
	for i := 0; i < 6; i += 2 { // all of one target, as equals take turns
		clients[i].Close()
		wait(t, ends[i])
	}
	before := two.served.Load()
	for range 3 {
		client, _ := serve(t, b)
		echo(t, client)
	}
	if one.served.Load() != 6 || two.served.Load() != before {
		t.Errorf("%d and %d served, want 6 and %d", one.served.Load(), two.served.Load(), before)
	}
}

func TestErrorListsEveryTargetAndWhy(t *testing.T) {
	refusing, silent := closedPort(t), blackHole(t)
	b := newBackend(t, Options{
		Targets:        []string{refusing, silent, "unix:///nowhere.sock", "tcp://nobody.example:1"},
		ConnectTimeout: time.Second,
		Lookup:         func(context.Context, string) ([]netip.Addr, error) { return nil, nil },
	})
	client, ended := serve(t, b)
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the client is still connected")
	}
	o := wait(t, ended)
	var list *Error
	if !errors.As(o.Err, &list) || len(list.Attempts) != 4 || o.Target != "" {
		t.Fatalf("%+v", o)
	}
	for _, want := range []error{syscall.ECONNREFUSED, syscall.ENOENT, ErrNoAddress} {
		if !errors.Is(o.Err, want) {
			t.Errorf("%v is not among the reasons of: %v", want, o.Err)
		}
	}
	for _, want := range []string{`"telemetry"`, refusing + ": connect: connection refused", silent + ": i/o timeout",
		"unix:///nowhere.sock: connect: no such file", "tcp://nobody.example:1: nobody.example: the name has no address"} {
		if !strings.Contains(o.Err.Error(), want) {
			t.Errorf("%q is not in: %v", want, o.Err)
		}
	}
}

func TestDialingEndsWhenItsTimeIsOver(t *testing.T) {
	b := newBackend(t, Options{Targets: []string{blackHole(t), blackHole(t), blackHole(t)}, DialTimeout: 100 * time.Millisecond})
	client, ended := serve(t, b)
	client.Close() // a client that leaves meanwhile changes nothing
	o := wait(t, ended)
	if !errors.Is(o.Err, ErrNotTried) {
		t.Errorf("error %v does not tell that targets were not tried", o.Err)
	}
	if s := b.Status(); s[0].Open+s[1].Open+s[2].Open != 0 {
		t.Errorf("open connections are left: %+v", s)
	}
}

func TestDialingEndsWithItsContext(t *testing.T) {
	b := newBackend(t, Options{Targets: []string{blackHole(t)}, EjectAfter: 1})
	_, ours := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan Outcome, 2)
	go b.ServeConn(ctx, ours, func(o Outcome) { ended <- o })
	eventually(t, "the dial is on its way", func() bool { return b.Status()[0].Open == 1 })
	cancel()
	if o := wait(t, ended); !errors.Is(o.Err, context.Canceled) {
		t.Errorf("error %v", o.Err)
	}
	if s := b.Status()[0]; s.Failures != 0 || s.EjectedFor != 0 || s.Open != 0 {
		t.Errorf("the target was blamed: %+v", s)
	}
}

func TestShutdownCutsRelayedConnections(t *testing.T) {
	w := startWorker(t, "tcp", "127.0.0.1:0")
	b := newBackend(t, Options{Targets: []string{w.target}})
	client, ended := serve(t, b)
	echo(t, client)
	if all := b.Connections(5); len(all) != 1 || all[0].A.String() != client.LocalAddr().String() {
		t.Errorf("connections %+v", all)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n := b.Shutdown(ctx); n != 1 {
		t.Errorf("%d cut, want 1", n)
	}
	if o := wait(t, ended); o.Stats.Reason != relay.Cancelled || o.Target != w.target {
		t.Errorf("%+v", o)
	}
}
