package grpcproxy

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gateway/internal/metrics"
)

// failing answers the first calls with err, then with the name; it notes what each call said of attempts before it.
type failing struct {
	mu       sync.Mutex
	left     int
	err      error
	pushback string
	before   []string
}

func (f *failing) call(ctx context.Context, _ *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	md, _ := metadata.FromIncomingContext(ctx)
	f.before = append(f.before, strings.Join(md[previousAttempts], ","))
	if f.left == 0 {
		return &testgrpc.SimpleResponse{ServerId: "b"}, nil
	}
	f.left--
	if f.pushback != "" {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", f.pushback))
	}
	return nil, f.err
}

func (f *failing) calls() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.before, ";")
}

func TestFailedCallIsTriedAgainAsConfigured(t *testing.T) {
	t.Parallel()
	busy, broken := status.Error(codes.Unavailable, "busy"), status.Error(codes.Internal, "broken")
	for name, c := range map[string]struct {
		retry  Retry
		server *failing
		want   codes.Code
		calls  string // what each attempt said of those before
	}{
		"second attempt answers":   {Retry{Attempts: 3}, &failing{left: 1, err: busy}, codes.OK, ";1"},
		"third attempt answers":    {Retry{Attempts: 3}, &failing{left: 2, err: busy}, codes.OK, ";1;2"},
		"attempts are used up":     {Retry{Attempts: 3}, &failing{left: 9, err: busy}, codes.Unavailable, ";1;2"},
		"no policy":                {Retry{}, &failing{left: 1, err: busy}, codes.Unavailable, ""},
		"another code":             {Retry{Attempts: 3}, &failing{left: 1, err: broken}, codes.Internal, ""},
		"a code that is listed":    {Retry{Attempts: 2, On: []codes.Code{codes.Internal}}, &failing{left: 1, err: broken}, codes.OK, ";1"},
		"the server wants no more": {Retry{Attempts: 3}, &failing{left: 1, err: busy, pushback: "-1"}, codes.Unavailable, ""},
		"the server says when":     {Retry{Attempts: 3, BackoffFirst: time.Hour}, &failing{left: 1, err: busy, pushback: "20"}, codes.OK, ";1"},
	} {
		t.Run(name, func(t *testing.T) {
			server := c.server
			o := everything(startService(t, service{unary: server.call}))
			o.Routes[0].Retry, o.Metrics = c.retry, metrics.New()
			client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o), grpc.WithDisableRetry()))
			_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, 100<<10)}})
			if status.Code(err) != c.want || server.calls() != c.calls {
				t.Errorf("got %v after attempts %q, want %v after %q", err, server.calls(), c.want, c.calls)
			}
			eventually(t, "the call is counted as "+c.want.String(), func() bool {
				return counted(t, o.Metrics.GRPC.Handled.WithLabelValues("*", "*", c.want.String())) == 1
			})
		})
	}
}

func TestCallLargerThanTheBufferIsNotTriedAgain(t *testing.T) {
	server := &failing{left: 1, err: status.Error(codes.Unavailable, "busy")}
	o := everything(startService(t, service{unary: server.call}))
	o.Routes[0].Retry = Retry{Attempts: 3}
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o)))
	_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, replayBytesMax+1)}})
	if status.Code(err) != codes.Unavailable || server.calls() != "" {
		t.Errorf("got %v after attempts %q", err, server.calls())
	}
}

// TestCallThatOutgrowsTheBufferEndsAsItsLastAttemptDid has the caller go on sending while the next attempt is waited for.
func TestCallThatOutgrowsTheBufferEndsAsItsLastAttemptDid(t *testing.T) {
	o := everything(startService(t, service{bidi: func(s testgrpc.TestService_FullDuplexCallServer) error {
		if _, err := s.Recv(); err != nil {
			return err
		}
		return status.Error(codes.Aborted, "not now")
	}}))
	o.Metrics = metrics.New()
	o.Routes[0].Retry = Retry{Attempts: 2, On: []codes.Code{codes.Aborted}, BackoffFirst: time.Hour}
	stream, err := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o), grpc.WithDisableRetry())).FullDuplexCall(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	large := &testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: make([]byte, replayBytesMax-1000)}}
	if err := stream.Send(large); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another attempt is arranged", func() bool {
		return counted(t, o.Metrics.GRPC.Retries.WithLabelValues("*", "*", "sent")) == 1
	})
	if err := stream.Send(large); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Aborted {
		t.Errorf("got %v", err)
	}
}

func TestCallWhoseResponseHasBegunIsNotTriedAgain(t *testing.T) {
	var calls atomic.Int64
	o := everything(startService(t, service{bidi: func(s testgrpc.TestService_FullDuplexCallServer) error {
		calls.Add(1)
		_ = s.SendHeader(nil)
		return status.Error(codes.Unavailable, "gone")
	}}))
	o.Routes[0].Retry = Retry{Attempts: 3}
	stream, err := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o), grpc.WithDisableRetry())).FullDuplexCall(testContext(t))
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable || calls.Load() != 1 {
		t.Errorf("got %v after %d calls", err, calls.Load())
	}
}

func TestRetriesOverTheBudgetAreNotSent(t *testing.T) {
	t.Parallel()
	const calls = 20
	arrived, release := make(chan struct{}, calls), make(chan struct{})
	o := everything(startService(t, service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		arrived <- struct{}{}
		<-release
		return nil, status.Error(codes.Unavailable, "busy")
	}}))
	o.Metrics = metrics.New()
	o.Routes[0].Retry = Retry{Attempts: 2, Budget: 0.2, BackoffFirst: time.Hour, On: []codes.Code{codes.Unavailable}}
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o), grpc.WithDisableRetry()))
	ctx, cancel := context.WithCancel(testContext(t))
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() { _, _ = client.UnaryCall(ctx, &testgrpc.SimpleRequest{}) })
	}
	for range calls {
		<-arrived
	}
	close(release)
	var sent, over float64
	eventually(t, "each call has failed once", func() bool {
		sent = counted(t, o.Metrics.GRPC.Retries.WithLabelValues("*", "*", "sent"))
		over = counted(t, o.Metrics.GRPC.Retries.WithLabelValues("*", "*", "over_budget"))
		return sent+over == calls
	})
	cancel() // what would wait for an hour
	wg.Wait()
	if sent < retriesFree || sent > calls/5 {
		t.Errorf("%v retries were allowed and %v not, of %d calls", sent, over, calls)
	}
}

// restartEvery stops and starts a service on one address until the returned function is called.
func restartEvery(t *testing.T, interval time.Duration, service testgrpc.TestServiceServer, halt func(*grpc.Server)) (address string, stop func()) {
	t.Helper()
	l := listenApart(t)
	address = l.Addr().String()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			server := grpc.NewServer()
			testgrpc.RegisterTestServiceServer(server, service)
			served := make(chan struct{})
			go func() {
				_ = server.Serve(l) // stopped below
				close(served)
			}()
			select {
			case <-done:
			case <-time.After(interval):
			}
			halt(server)
			<-served
			select {
			case <-done:
				return
			default:
			}
			var err error
			if l, err = net.Listen("tcp", address); err != nil {
				t.Errorf("listen again: %v", err)
				return
			}
		}
	}()
	return address, func() {
		close(done)
		<-ended
	}
}

func TestRestartingBackendCostsNoCall(t *testing.T) {
	t.Parallel()
	address, stop := restartEvery(t, restartInterval, named("restarting"), (*grpc.Server).Stop) // which cuts what runs
	defer stop()
	o := everything(address, startService(t, named("steady")))
	o.Routes[0].Retry = Retry{Attempts: 4, Budget: 1}
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o), grpc.WithDisableRetry()))
	answered := sync.Map{}
	bothHave := func() bool {
		_, one := answered.Load("steady")
		_, other := answered.Load("restarting")
		return one && other
	}
	var calls, cut atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(restartingFor)
	for range 8 {
		wg.Go(func() {
			for now := time.Now(); now.Before(end) || !bothHave() && now.Before(end.Add(patience)); now = time.Now() {
				var begun metadata.MD
				r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}, grpc.Header(&begun))
				if err != nil && len(begun) > 0 {
					cut.Add(1) // after its headers, and so the call's own (gRFC A6)
					continue
				}
				if err != nil {
					t.Errorf("call %d: %v", calls.Load(), err)
					return
				}
				answered.Store(r.ServerId, true)
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	if !bothHave() {
		t.Error("one of the two never answered")
	}
	t.Logf("figure: %d calls while a backend restarted every %v, %d cut in the middle of their answer, no other failed", calls.Load(), restartInterval, cut.Load())
}

func TestCallWaitsUntilTheBackendIsReady(t *testing.T) {
	t.Parallel()
	address := nobody(t)
	o := everything(address)
	o.Routes[0].WaitForReady = true
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p)))
	answered := make(chan error, 1)
	go func() {
		_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
		answered <- err
	}()
	eventually(t, "the backend is found to be away", func() bool { return p.Status().Backends[0].Targets[0].LastError != "" })
	startOn(t, address, "late")
	if err := <-answered; err != nil {
		t.Errorf("the call that waited: %v", err)
	}
}
