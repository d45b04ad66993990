package grpcproxy

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"gateway/internal/metrics"
)

// TestCallThatBackendRefusedIsAnsweredByAnother covers every way in which a backend can say that it has not seen a call.
func TestCallThatBackendRefusedIsAnsweredByAnother(t *testing.T) {
	body := make([]byte, 100<<10)
	for name, refuse := range map[string]func(p *rawPeer, stream uint32){
		"REFUSED_STREAM": func(p *rawPeer, stream uint32) { _ = p.WriteRSTStream(stream, http2.ErrCodeRefusedStream) },
		"GOAWAY":         func(p *rawPeer, stream uint32) { _ = p.WriteGoAway(stream-1, http2.ErrCodeNo, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var refused atomic.Int64
			refusing := rawBackend(t, func(p *rawPeer) {
				_ = p.WriteWindowUpdate(0, 1<<30)
				p.until(func(f http2.Frame) bool {
					if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
						refused.Add(1)
						refuse(p, f.Header().StreamID)
					}
					return false
				})
			}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
			good := startService(t, service{unary: func(_ context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
				return &testgrpc.SimpleResponse{Payload: r.Payload}, nil
			}})
			client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, everything(refusing, good))))
			for refused.Load() < 3 {
				r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: body}})
				if err != nil {
					t.Fatal(err)
				}
				if len(r.Payload.Body) != len(body) {
					t.Fatalf("the second backend got %d bytes of %d", len(r.Payload.Body), len(body))
				}
			}
		})
	}
}

// TestRefusedCallWaitsForATargetThatIsBeingConnected has the other target say nothing before the call was refused.
func TestRefusedCallWaitsForATargetThatIsBeingConnected(t *testing.T) {
	const enough = 100 // more refusals than there may be
	refused := make(chan struct{}, enough)
	refusing := rawBackend(t, func(p *rawPeer) {
		p.until(func(f http2.Frame) bool {
			if is[*http2.MetaHeadersFrame](f) {
				_ = p.WriteRSTStream(f.Header().StreamID, http2.ErrCodeRefusedStream)
				refused <- struct{}{}
			}
			return false
		})
	})
	l := listen(t)
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, everything(refusing, l.Addr().String())), grpc.WithDisableRetry()))
	answered := make(chan error, 1)
	go func() {
		_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
		answered <- err
	}()
	<-refused
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, named("late"))
	serve(t, server, l)
	if err := <-answered; err != nil || len(refused) > 0 {
		t.Errorf("got %v, after %d more refusals", err, len(refused))
	}
}

func TestTargetThatCannotBeReachedCostsNoCall(t *testing.T) {
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, everything(nobody(t), startService(t, named("good"))))))
	for range 20 {
		if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBackendWithShortConnectionAgeCostsNoCall(t *testing.T) {
	t.Parallel()
	backend := startService(t, named("b"), grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 20 * time.Millisecond, MaxConnectionAgeGrace: patience,
	}))
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, everything(backend))))
	var wg sync.WaitGroup
	for end := time.Now().Add(agedFor); time.Now().Before(end); {
		for range 8 {
			wg.Go(func() {
				if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestLostBackendIsNamed(t *testing.T) {
	for name, serve := range map[string]func(p *rawPeer){
		"before the response": func(p *rawPeer) { p.until(headersOn(1)) },
		"in the response": func(p *rawPeer) {
			p.until(headersOn(1))
			_ = p.respond(1, false, ":status", "200", "content-type", "application/grpc")
			_ = p.WriteData(1, false, make([]byte, messageHeaderBytes))
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, everything(rawBackend(t, serve)))))
			_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
			if got := status.Convert(err); got.Code() != codes.Unavailable || !strings.Contains(got.Message(), `backend "b"`) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestBackendThatBreaksTheProtocol(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want    codes.Code
		violate func(p *rawPeer)
	}{
		"garbage":          {codes.Unavailable, func(p *rawPeer) { _, _ = p.conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")) }},
		"HPACK garbage":    {codes.Unavailable, func(p *rawPeer) { _ = p.WriteRawFrame(http2.FrameHeaders, 4, 1, []byte{0xff, 0xff, 0xff}) }},
		"idle stream":      {codes.Unavailable, func(p *rawPeer) { _ = p.WriteData(99, false, nil) }},
		"window overflow":  {codes.Unavailable, func(p *rawPeer) { _ = p.WriteWindowUpdate(0, windowMax) }},
		"push":             {codes.Unavailable, func(p *rawPeer) { _ = p.WriteRawFrame(http2.FramePushPromise, 4, 1, make([]byte, 4)) }},
		"no status":        {codes.Internal, func(p *rawPeer) { _ = p.respond(1, false, "content-type", "application/grpc") }},
		"upper-case field": {codes.Internal, func(p *rawPeer) { _ = p.respond(1, false, ":status", "200", "X", "y") }},
		"data first":       {codes.Internal, func(p *rawPeer) { _ = p.WriteData(1, true, nil) }},
		"1xx first":        {codes.OK, func(p *rawPeer) { _ = p.respond(1, false, ":status", "103"); _ = p.grpcOK(1) }},
		"1xx flood": {codes.Internal, func(p *rawPeer) {
			for range interimMax + 1 {
				_ = p.respond(1, false, ":status", "103")
			}
		}},
		"PING flood": {codes.Unavailable, func(p *rawPeer) {
			for p.WritePing(false, [8]byte{}) == nil {
			}
		}},
		"SETTINGS flood": {codes.Unavailable, func(p *rawPeer) {
			for p.WriteSettings() == nil {
			}
		}},
		"CONTINUATION flood": {codes.Unavailable, func(p *rawPeer) {
			for err := p.WriteRawFrame(http2.FrameHeaders, 0, 1, nil); err == nil; {
				err = p.WriteContinuation(1, false, make([]byte, 1000))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a flood takes as long as lingerWait
			bad := rawBackend(t, func(p *rawPeer) {
				p.until(headersOn(1))
				c.violate(p)
				p.until(func(http2.Frame) bool { return false })
			})
			o := everything(bad)
			o.Metrics = metrics.New()
			o.Routes = append(o.Routes, Route{Pattern: "/grpc.testing.TestService/*", To: []Weighted{{Backend: "good"}}})
			o.Backends = append(o.Backends, Backend{Name: "good", Targets: []string{startService(t, named("good"))}})
			address := startProxy(t, o)
			hurt := neighbour(t, address)
			p := rawCaller(t, address)
			p.must(p.call(1, true))
			p.wantStatus(1, map[codes.Code]string{codes.OK: "0", codes.Internal: "13", codes.Unavailable: "14"}[c.want])
			hurt()
			if n := counted(t, o.Metrics.GRPC.Handled.WithLabelValues("*", "*", c.want.String())); n != 1 {
				t.Errorf("%v calls were counted as %v", n, c.want)
			}
			ended := 0.0
			for _, reason := range []string{"backend_protocol", "nuisance", "headers"} {
				ended += counted(t, o.Metrics.GRPC.Abuses.WithLabelValues(reason))
			}
			if (c.want == codes.Unavailable) != (ended == 1) {
				t.Errorf("%v connections were counted as ended for what the backend did", ended)
			}
		})
	}
}

func TestCallsWaitForAFreeStream(t *testing.T) {
	const calls = 50
	backend := startService(t, named("b"), grpc.MaxConcurrentStreams(2))
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, everything(backend))))
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestCallerThatIsGoneEndsItsCalls(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan struct{})
	address := startProxy(t, everything(startService(t, service{bidi: func(s testgrpc.TestService_FullDuplexCallServer) error {
		close(entered)
		<-s.Context().Done()
		close(ended)
		return nil
	}})))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := newRawPeer(t, conn)
	_, err = conn.Write([]byte(http2.ClientPreface))
	p.must(err)
	p.must(p.WriteSettings())
	p.must(p.respond(1, false, ":method", "POST", ":scheme", "http", ":path", "/grpc.testing.TestService/FullDuplexCall",
		":authority", "x", "content-type", "application/grpc"))
	<-entered
	_ = conn.Close()
	<-ended
}
