package grpcproxy

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	grpcreflection "google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"gateway/internal/metrics"
)

// mirrorProxy sends all calls to real, and a copy to the mirror.
func mirrorProxy(t *testing.T, real, copy string, m Mirror) (*Proxy, *grpc.ClientConn) {
	t.Helper()
	o := everything(real)
	m.Backend = "copy"
	o.Routes[0].Mirrors = []Mirror{m}
	o.Backends = append(o.Backends, Backend{Name: "copy", Targets: []string{copy}})
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p, connect(t, serveProxy(t, p))
}

// settled waits until n copies have come to an end, and nothing is held.
func settled(t *testing.T, p *Proxy, n int64) MirrorStatus {
	t.Helper()
	var s MirrorStatus
	eventually(t, "copies have ended", func() bool {
		all := p.Status()
		s = all.Mirrors[0]
		return s.Matches+s.Mismatches+s.Uncompared+s.Failed+s.Dropped >= n && all.BufferedBytes == 0
	})
	return s
}

// knowTypes has the mirror learn the method's type: what is not told within reflectWait is not asked for again for a minute.
func knowTypes(t *testing.T, p *Proxy, method string) {
	t.Helper()
	r := p.table.Load().all[0]
	types := &r.mirrors[0].types
	eventually(t, "the backend tells the method's type", func() bool {
		types.mu.Lock()
		clear(types.known)
		types.mu.Unlock()
		return types.output(t.Context(), method, r.backends[0]) != nil
	})
}

func withReflection(t *testing.T, s service) string {
	return startReflecting(t, s, func(server *grpc.Server) { grpcreflection.Register(server) })
}

// replying answers with a name, and a body of the request's size.
func replying(name string) service {
	s := service{unary: func(_ context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		return &testgrpc.SimpleResponse{ServerId: name, Username: "user", Payload: &testgrpc.Payload{Body: make([]byte, r.ResponseSize)}}, nil
	}}
	return s
}

func TestMirrorComparesAnswers(t *testing.T) {
	t.Parallel()
	other := replying("b")
	other.unary = func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		return &testgrpc.SimpleResponse{ServerId: "a", Username: "somebody", Payload: &testgrpc.Payload{Body: make([]byte, 100)}}, nil
	}
	failing := service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		return nil, status.Error(codes.NotFound, "nobody")
	}}
	for name, c := range map[string]struct {
		copy   service
		mirror Mirror
		want   MirrorStatus
	}{
		"same, as bytes":                {replying("a"), Mirror{Compare: "bytes"}, MirrorStatus{Matches: 3}},
		"another, as bytes":             {replying("b"), Mirror{Compare: "bytes"}, MirrorStatus{Mismatches: 3}},
		"another, as proto":             {replying("b"), Mirror{Compare: "proto", Samples: 2}, MirrorStatus{Mismatches: 3, Samples: []Sample{{Field: "server_id", Answered: "a", Mirrored: "b"}}}},
		"another in what is ignored":    {replying("b"), Mirror{Compare: "proto", Ignore: []string{"server_id"}}, MirrorStatus{Matches: 3}},
		"another besides":               {other, Mirror{Compare: "proto", Ignore: []string{"server_id"}, Samples: 2}, MirrorStatus{Mismatches: 3, Samples: []Sample{{Field: "username", Answered: "user", Mirrored: "somebody"}}}},
		"another below what is ignored": {other, Mirror{Compare: "proto", Ignore: []string{"payload.type", "username"}}, MirrorStatus{Matches: 3}},
		"an error":                      {failing, Mirror{Compare: "bytes", Samples: 1}, MirrorStatus{Mismatches: 3, Samples: []Sample{{Field: "grpc-status", Answered: "OK", Mirrored: "NotFound"}}}},
		"nothing":                       {replying("b"), Mirror{}, MirrorStatus{Uncompared: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			p, conn := mirrorProxy(t, withReflection(t, replying("a")), startService(t, c.copy), c.mirror)
			if c.mirror.Compare == "proto" {
				knowTypes(t, p, "/grpc.testing.TestService/UnaryCall")
			}
			client := testgrpc.NewTestServiceClient(conn)
			for i := range 3 {
				var options []grpc.CallOption
				if i == 1 {
					options = append(options, grpc.UseCompressor(gzip.Name))
				}
				r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{ResponseSize: 100}, options...)
				if err != nil || r.ServerId != "a" {
					t.Fatalf("the real call: %v %v", r, err)
				}
			}
			got := settled(t, p, 3)
			if got.Matches != c.want.Matches || got.Mismatches != c.want.Mismatches || got.Uncompared != c.want.Uncompared {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if len(c.want.Samples) > 0 {
				want := c.want.Samples[0]
				if len(got.Samples) != c.mirror.Samples || got.Samples[0].Field != want.Field || got.Samples[0].Answered != want.Answered || got.Samples[0].Mirrored != want.Mirrored {
					t.Errorf("samples %+v, want %d like %+v", got.Samples, c.mirror.Samples, want)
				}
			}
		})
	}
}

func TestMirrorCopiesServerStreamsAndNoOthers(t *testing.T) {
	p, conn := mirrorProxy(t, startInterop(t, listen(t)), startInterop(t, listen(t)), Mirror{Compare: "bytes"})
	client := testgrpc.NewTestServiceClient(conn)
	stream, err := client.StreamingOutputCall(testContext(t), &testgrpc.StreamingOutputCallRequest{
		ResponseParameters: []*testgrpc.ResponseParameters{{Size: 10}, {Size: 5000}, {Size: 70000}},
	})
	for err == nil {
		_, err = stream.Recv()
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	if got := settled(t, p, 1); got.Matches != 1 {
		t.Errorf("a server stream: %+v", got)
	}
	up, err := client.StreamingInputCall(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := up.Send(&testgrpc.StreamingInputCallRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := up.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
	if got := settled(t, p, 2); got.Dropped != 1 {
		t.Errorf("a client stream: %+v", got)
	}
}

func TestMirrorGetsItsPercentage(t *testing.T) {
	t.Parallel()
	p, conn := mirrorProxy(t, startService(t, named("a")), startService(t, named("a")), Mirror{Percent: 25, Compare: "bytes"})
	client := testgrpc.NewTestServiceClient(conn)
	const calls = 400
	for range calls {
		if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := settled(t, p, calls/4-4); got.Matches < calls/4-4 || got.Matches > calls/4+4 {
		t.Errorf("%d of %d calls were copied", got.Matches, calls)
	}
}

// TestRealCallsDoNotFeelTheMirror has a mirror that hangs, is not there, dies in the answer, or answers 100 MB.
func TestRealCallsDoNotFeelTheMirror(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	huge := make([]byte, mirrorHuge)
	for name, copy := range map[string]string{
		"hangs": startService(t, service{unary: func(ctx context.Context, _ *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return &testgrpc.SimpleResponse{}, nil
		}}),
		"is not there": nobody(t),
		"dies": rawBackend(t, func(p *rawPeer) {
			p.until(headersOn(1))
			_ = p.respond(1, false, ":status", "200", "content-type", "application/grpc")
			_ = p.WriteData(1, false, make([]byte, 3))
		}),
		"answers 100 MB": startService(t, service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
			return &testgrpc.SimpleResponse{Payload: &testgrpc.Payload{Body: huge}}, nil
		}}, grpc.MaxSendMsgSize(2*mirrorHuge)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, conn := mirrorProxy(t, startService(t, replying("a")), copy, Mirror{Compare: "bytes"})
			client := testgrpc.NewTestServiceClient(conn)
			calls := 30
			if name == "hangs" {
				calls = mirrorQueueMax + 200
			}
			var slowest time.Duration
			start := time.Now()
			for range calls { // that waited for a mirror that hangs would leave none to be dropped
				began := time.Now()
				if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
					t.Fatal(err)
				}
				slowest = max(slowest, time.Since(began))
			}
			got := p.Status().Mirrors[0]
			turns := 1 + int(time.Since(start)/mirrorWait) // after mirrorWait a worker gives a copy up and takes another
			if name == "hangs" && got.Dropped < max(1, int64(calls-mirrorQueueMax-turns*mirrorWorkers)) {
				t.Errorf("dropped %d of %d copies while the mirror hung", got.Dropped, calls)
			}
			if name == "is not there" || name == "dies" {
				if got = settled(t, p, int64(calls)); got.Failed != int64(calls) {
					t.Errorf("copies that were not answered are counted as %+v", got)
				}
			}
			t.Logf("figure: beside a mirror that %s, the slowest of %d real calls took %v", name, calls, slowest)
		})
	}
}

func TestBadMirrorIsRefused(t *testing.T) {
	for want, m := range map[string]Mirror{
		"no such backend":   {Backend: "unknown"},
		"no comparison":     {Backend: "b", Compare: "json"},
		"FileDescriptorSet": {Backend: "b", Compare: "proto", Descriptors: "no descriptors"},
	} {
		o := everything("127.0.0.1:1")
		o.Routes[0].Mirrors = []Mirror{m}
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestCallThatOutlivesItsMirrorHoldsNothing has the routes change under a call that is being copied.
func TestCallThatOutlivesItsMirrorHoldsNothing(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	o := everything(startService(t, service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		close(entered)
		<-leave
		return &testgrpc.SimpleResponse{}, nil
	}}))
	o.Metrics = metrics.New()
	o.Backends = append(o.Backends, Backend{Name: "copy", Targets: []string{startService(t, named("copy"))}})
	withMirror := slices.Clone(o.Routes)
	withMirror[0].Mirrors = []Mirror{{Backend: "copy"}}
	p, err := New(Options{Routes: withMirror, Backends: o.Backends, Metrics: o.Metrics})
	if err != nil {
		t.Fatal(err)
	}
	client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p)))
	answered := make(chan error, 1)
	go func() {
		_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, 1000)}})
		answered <- err
	}()
	<-entered
	plan, err := p.Plan(o.Routes, o.Backends)
	if err != nil {
		t.Fatal(err)
	}
	p.Apply(plan)
	close(leave)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy is given up, and its memory back", func() bool {
		dropped := counted(t, o.Metrics.GRPC.Mirrored.WithLabelValues("*", "*", "copy", "dropped"))
		return dropped == 1 && p.Status().BufferedBytes == 0
	})
}
