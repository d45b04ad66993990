package grpcproxy

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// patience is how long a test waits for what must happen at once, on a machine that has much else to do.
const patience = 2 * time.Minute

// testsAtOnce is more than there are processors: most of what is tested is waiting.
const testsAtOnce = "4"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", testsAtOnce); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// listenApart is listen for a port that is to be given up in the test: on an address of the loopback network that nobody else
// uses, so that nobody is there until the test itself listens again. A port of 127.0.0.1 is soon another test's.
func listenApart(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(apart(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// apart is an address of the loopback network.
func apart() string {
	return net.IPv4(127, byte(1+rand.N(254)), byte(1+rand.N(254)), byte(1+rand.N(254))).String()
}

// nobody is an address at which nobody listens.
func nobody(t *testing.T) (address string) {
	t.Helper()
	l := listenApart(t)
	_ = l.Close()
	return l.Addr().String()
}

// startProxy serves the options on a port of its own until the test ends.
func startProxy(t testing.TB, o Options) (address string) {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return serveProxy(t, p)
}

// serveProxy is startProxy for a proxy that is there.
func serveProxy(t testing.TB, p *Proxy) (address string) {
	t.Helper()
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- p.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

// everything routes all calls to one backend.
func everything(targets ...string) Options {
	return Options{
		Routes:   []Route{{Pattern: "*", To: []Weighted{{Backend: "b"}}}},
		Backends: []Backend{{Name: "b", Targets: targets}},
	}
}

// startInterop runs grpc-go's interop server.
func startInterop(t *testing.T, l net.Listener, options ...grpc.ServerOption) (address string) {
	t.Helper()
	server := grpc.NewServer(options...)
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	serve(t, server, l)
	return l.Addr().String()
}

// startService runs a test service of the test's own making.
func startService(t *testing.T, service testgrpc.TestServiceServer, options ...grpc.ServerOption) (address string) {
	t.Helper()
	l := listen(t)
	server := grpc.NewServer(options...)
	testgrpc.RegisterTestServiceServer(server, service)
	serve(t, server, l)
	return l.Addr().String()
}

func serve(t *testing.T, server *grpc.Server, l net.Listener) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("backend: %v", err)
		}
	})
}

func connect(t *testing.T, address string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// neighbour makes calls on a connection of its own, one after the other, until hurt is called; hurt fails the test if one of
// them failed, or none was made.
func neighbour(t *testing.T, address string) (hurt func()) {
	t.Helper()
	client := testgrpc.NewTestServiceClient(connect(t, address, grpc.WithDisableRetry()))
	stop, first, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			_, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{})
			cancel()
			if err != nil {
				t.Errorf("a neighbour's call %d: %v", n, err)
			}
			if n == 0 {
				close(first)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	<-first
	hurt = sync.OnceFunc(func() {
		close(stop)
		<-ended
	})
	t.Cleanup(hurt) // where the test has failed before it asked
	return hurt
}

// eventually polls until what is true.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// counted reads a counter or a gauge.
func counted(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}
