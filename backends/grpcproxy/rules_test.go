package grpcproxy

import (
	"context"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gateway/internal/metrics"
)

func TestCallsGoByTheirMetadata(t *testing.T) {
	o := Options{Routes: []Route{
		{Pattern: "*", To: []Weighted{{Backend: "rest"}}},
		{Pattern: "/grpc.testing.TestService/*", To: []Weighted{{Backend: "anybody"}}},
		{Pattern: "/grpc.testing.TestService/*", Metadata: map[string]string{"x-tenant": "blue"}, To: []Weighted{{Backend: "exact"}}},
		{Pattern: "/grpc.testing.TestService/*", Metadata: map[string]string{"x-tenant": "red-*"}, To: []Weighted{{Backend: "prefix"}}},
		{Pattern: "/grpc.testing.TestService/*", Metadata: map[string]string{"x-beta": "*"}, To: []Weighted{{Backend: "present"}}},
		{Pattern: "/grpc.testing.TestService/UnaryCall", Metadata: map[string]string{"x-a": "1", "x-b": "2"}, To: []Weighted{{Backend: "both"}}},
	}}
	for _, name := range []string{"rest", "anybody", "exact", "prefix", "present", "both"} {
		o.Backends = append(o.Backends, Backend{Name: name, Targets: []string{startService(t, named(name))}})
	}
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o)))
	for want, pairs := range map[string][]string{
		"anybody": {"x-tenant", "green", "x-a", "1"},
		"exact":   {"x-tenant", "blue"},
		"prefix":  {"x-tenant", "red-7"},
		"present": {"x-beta", ""},
		"both":    {"x-b", "2", "x-a", "0", "x-a", "1"},
	} {
		r, err := client.UnaryCall(metadata.AppendToOutgoingContext(testContext(t), pairs...), &testgrpc.SimpleRequest{})
		if err != nil || r.ServerId != want {
			t.Errorf("a call with %q went to %q (%v), want %q", pairs, r.GetServerId(), err, want)
		}
	}
}

func TestRouteEditsMetadata(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	o := everything(startService(t, service{unary: func(ctx context.Context, _ *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
		return &testgrpc.SimpleResponse{}, nil
	}}))
	o.Routes[0].SetMetadata = map[string]string{"x-gateway": "edge", "x-new": "1"}
	o.Routes[0].RemoveMetadata = []string{"x-internal"}
	o.Backends[0].Authority = "greeter.example"
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := metadata.AppendToOutgoingContext(testContext(t), "x-gateway", "forged", "x-internal", "1", "x-internal", "2", "x-mine", "kept",
		"traceparent", trace, "tracestate", "a=1")
	if _, err := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o))).UnaryCall(ctx, &testgrpc.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	md := <-seen
	for name, want := range map[string]string{
		"x-gateway": "edge", "x-new": "1", "x-mine": "kept", ":authority": "greeter.example", "traceparent": trace, "tracestate": "a=1",
	} {
		if got := md[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s arrived as %q, want %q", name, got, want)
		}
	}
	if got := md["x-internal"]; got != nil {
		t.Errorf("x-internal arrived as %q", got)
	}
	for _, bad := range []Route{{SetMetadata: map[string]string{"X-Upper": "1"}}, {SetMetadata: map[string]string{"x": "a\nb"}}, {RemoveMetadata: []string{":path"}}, {RemoveMetadata: []string{"grpc-timeout"}}} {
		bad.Pattern, bad.To = "*", o.Routes[0].To
		if _, err := New(Options{Routes: []Route{bad}, Backends: o.Backends}); err == nil {
			t.Errorf("accepted: %+v", bad)
		}
	}
}

// retryDelay is what a status says of coming again.
func retryDelay(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration()
		}
	}
	return 0
}

func TestCallsOverTheRateAreToldWhenToComeAgain(t *testing.T) {
	o := everything(startService(t, named("b")))
	o.Routes[0].CallsPerSecond = 1
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o)))
	refused := 0
	began := time.Now()
	const calls = 30
	for range calls {
		_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
		if err == nil {
			continue
		}
		refused++
		if status.Code(err) != codes.ResourceExhausted || retryDelay(err) != time.Second {
			t.Fatalf("got %v, to come again after %v", err, retryDelay(err))
		}
	}
	if allowed := 1 + int(time.Since(began)/time.Second) + 1; refused == 0 || calls-refused > allowed {
		t.Errorf("%d of %d calls passed, %d may", calls-refused, calls, allowed)
	}
}

func TestCallsOverTheConcurrencyAreRefusedAndTheOthersCounted(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	o := everything(startService(t, service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		entered <- struct{}{}
		<-release
		return &testgrpc.SimpleResponse{}, nil
	}}))
	o.Metrics = metrics.New()
	o.Routes[0].Pattern, o.Routes[0].ConcurrentMax = "/grpc.testing.TestService/UnaryCall", 2
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o)))
	answered := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
			answered <- err
		}()
		<-entered
	}
	_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
	if status.Code(err) != codes.ResourceExhausted || retryDelay(err) == 0 {
		t.Errorf("a third call: %v", err)
	}
	close(release)
	for range 2 {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
	if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
		t.Errorf("after the others have ended: %v", err)
	}
	g := o.Metrics.GRPC
	label := []string{"grpc.testing.TestService", "UnaryCall"}
	if n := counted(t, g.Started.WithLabelValues(label...)); n != 4 {
		t.Errorf("%v calls were counted as started", n)
	}
	for code, want := range map[string]float64{"OK": 3, "ResourceExhausted": 1} {
		if n := counted(t, g.Handled.WithLabelValues(append(label, code)...)); n != want {
			t.Errorf("%v calls were counted as %s, want %v", n, code, want)
		}
	}
	if in, out := counted(t, g.Received.WithLabelValues(label...)), counted(t, g.Sent.WithLabelValues(label...)); in != 3 || out != 3 {
		t.Errorf("%v messages in and %v out were counted, want 3 and 3", in, out)
	}
}

func TestLiveConnectionFollowsNewRoutes(t *testing.T) {
	t.Parallel()
	first, second := startService(t, named("first")), startService(t, named("second"))
	o := everything(first)
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, serveProxy(t, p), grpc.WithDisableRetry())
	client := testgrpc.NewTestServiceClient(conn)
	answered := make(chan string)
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(answered)
		for {
			r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
			if err != nil {
				failed <- err
				return
			}
			select {
			case answered <- r.ServerId:
			case <-stop:
				failed <- nil
				return
			}
		}
	}()
	for n := range plansMany {
		targets, names := []string{first, second}, []string{"first", "second"}
		plan, err := p.Plan(o.Routes, []Backend{{Name: "b", Targets: targets[n%2 : n%2+1]}})
		if err != nil {
			t.Fatal(err)
		}
		p.Apply(plan) // while the next call is under way
		for by := range answered {
			if by == names[n%2] {
				break
			}
		}
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Fatalf("a call while routes changed: %v", err)
	}
	eventually(t, "the backends that are not named any more are gone", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.leaving) == 0 && len(p.others) <= 1
	})
}

// plansMany is how often the routes change.
const plansMany = 20

func TestEqualRouteKeepsItsLimitsInTheNextPlan(t *testing.T) {
	o := everything(startService(t, named("b")))
	o.Routes[0].CallsPerSecond = 1
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p)))
	if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	before := p.table.Load()
	plan, err := p.Plan(append(o.Routes, Route{Pattern: "/other.Service/*", To: o.Routes[0].To}), o.Backends)
	if err != nil {
		t.Fatal(err)
	}
	p.Apply(plan)
	if p.table.Load().rest[0] != before.rest[0] {
		t.Error("the route was made again")
	}
	if _, err := p.Plan([]Route{{Pattern: "*", To: []Weighted{{Backend: "unknown"}}}}, o.Backends); err == nil {
		t.Error("a plan with an unknown backend was accepted")
	}
	if p.table.Load() != plan.table {
		t.Error("a refused plan has changed something")
	}
}
