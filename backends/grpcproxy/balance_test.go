package grpcproxy

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gateway/internal/metrics"
)

// slowShare makes calls, each when the one before is answered or is with the slow target of two, which answers none before the
// end. It returns the share that this target got.
func slowShare(t *testing.T, balance string) float64 {
	t.Helper()
	const calls = 100
	held, gate := make(chan struct{}), make(chan struct{})
	o := everything(startService(t, named("fast")), startService(t, service{unary: func(ctx context.Context, _ *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		select {
		case held <- struct{}{}:
		case <-ctx.Done():
		}
		<-gate
		return &testgrpc.SimpleResponse{}, nil
	}}))
	o.Backends[0].Balance = balance
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p)))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(gate)
	ctx := testContext(t)
	call := func() (slow bool) {
		answered := make(chan struct{})
		wg.Go(func() {
			defer close(answered)
			if _, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{}); err != nil {
				t.Error(err)
			}
		})
		select {
		case <-held:
			return true
		case <-answered:
			return false
		}
	}
	eventually(t, "both targets are connected", func() bool {
		call()
		targets := p.Status().Backends[0].Targets
		return targets[0].Connections > 0 && targets[1].Connections > 0
	})
	slow := 0
	for range calls {
		if call() {
			slow++
		}
	}
	return float64(slow) / calls
}

func TestLeastRequestSparesASlowTarget(t *testing.T) {
	t.Parallel()
	even, spared := slowShare(t, roundRobin), slowShare(t, leastRequest)
	t.Logf("figure: the slow target of two gets %.0f%% by round_robin, %.0f%% by least_request", even*100, spared*100)
	if even < 0.4 || even > 0.6 {
		t.Errorf("round_robin gave it %.2f", even)
	}
	if spared > even/10 {
		t.Errorf("least_request gave it %.2f", spared)
	}
}

func TestSameKeyMeetsTheSameTarget(t *testing.T) {
	t.Parallel()
	const targets, keys = 4, 100
	o := everything()
	for i := range targets {
		o.Backends[0].Targets = append(o.Backends[0].Targets, startService(t, named(fmt.Sprint(i))))
	}
	o.Backends[0].Balance, o.Backends[0].HashKey = ringHash, "x-user"
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o)))
	got, shares := map[int]string{}, map[string]int{}
	for n := range keys * 3 {
		key := n % keys
		ctx := metadata.AppendToOutgoingContext(testContext(t), "x-user", fmt.Sprint("user", key))
		r, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if before := got[key]; before != "" && before != r.ServerId {
			t.Fatalf("key %d met %s and then %s", key, before, r.ServerId)
		}
		got[key] = r.ServerId
		shares[r.ServerId]++
	}
	if len(shares) != targets {
		t.Errorf("shares: %v", shares)
	}
}

// TestRingMovesOnlyTheShareOfALostTarget is the point of a ring.
func TestRingMovesOnlyTheShareOfALostTarget(t *testing.T) {
	var all []*target
	for i := range 5 {
		all = append(all, &target{place: place{address: fmt.Sprintf("10.0.0.%d:1", i)}})
	}
	find := func(ring []point, hash uint64) *target {
		for _, p := range ring {
			if p.hash >= hash {
				return p.target
			}
		}
		return ring[0].target
	}
	whole, less := newRing(all, nil), newRing(all[:4], nil)
	share := map[*target]int{}
	for i := range 10000 {
		hash := hashText(fmt.Sprint(i))
		before, after := find(whole, hash), find(less, hash)
		share[before]++
		if before != all[4] && before != after {
			t.Fatalf("key %d moved though its target stayed", i)
		}
	}
	for _, at := range all {
		if n := share[at]; n < 1400 || n > 2700 {
			t.Errorf("%s has %d of 10000 keys", at.address, n)
		}
	}
}

func TestFailingTargetIsLeftOutForAWhile(t *testing.T) {
	t.Parallel()
	var tried atomic.Int64
	bad := startService(t, service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		tried.Add(1)
		return nil, status.Error(codes.Unavailable, "broken")
	}})
	o := everything(bad, startService(t, named("good")))
	o.Metrics = metrics.New()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p), grpc.WithDisableRetry()))
	for range 100 {
		_, _ = client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
	}
	ejections := counted(t, o.Metrics.GRPC.Ejected.WithLabelValues("b")) // more than one only where 100 calls take seconds
	if n := tried.Load(); ejections < 1 || n < ejectAfter || n > ejectAfter*int64(1+ejections) {
		t.Errorf("the failing target got %d of 100 calls, and was ejected %v times", n, ejections)
	}
	before := tried.Load()
	eventually(t, "it is tried again", func() bool {
		_, _ = client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
		return tried.Load() > before
	})
}

func TestLastTargetIsNeverLeftOut(t *testing.T) {
	var tried atomic.Int64
	o := everything(startService(t, service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		tried.Add(1)
		return nil, status.Error(codes.Unavailable, "broken")
	}}))
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o), grpc.WithDisableRetry()))
	for range 3 * ejectAfter {
		_, _ = client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
	}
	if tried.Load() != 3*ejectAfter {
		t.Errorf("the only target got %d calls of %d", tried.Load(), 3*ejectAfter)
	}
}

func TestTargetThatIsNotServingGetsNoCalls(t *testing.T) {
	t.Parallel()
	checks := grpchealth.NewServer()
	l := listen(t)
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, named("watched"))
	healthpb.RegisterHealthServer(server, checks)
	serve(t, server, l)
	checks.SetServingStatus("demo", healthpb.HealthCheckResponse_NOT_SERVING)
	o := everything(l.Addr().String(), startService(t, named("without health service")))
	o.Backends[0].Health = "demo"
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p)))
	sick := func() bool { return p.Status().Backends[0].Targets[0].Unhealthy }
	eventually(t, "it is found to be unhealthy", sick)
	answers := 0
	eventually(t, "the other answers", func() bool { // which is not well either where it takes healthWait to say that it knows no health
		r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
		if err == nil && r.ServerId == "watched" {
			t.Fatal("a target that is not serving has answered")
		}
		if err == nil {
			answers++
		}
		return answers == 20
	})
	checks.SetServingStatus("demo", healthpb.HealthCheckResponse_SERVING)
	eventually(t, "it gets calls again", func() bool {
		r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
		return err == nil && r.ServerId == "watched"
	})
}
