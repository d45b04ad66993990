package grpcproxy

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"gateway/internal/metrics"
)

// TestBackendThatSendsMoreThanItMay is told so, and the caller gets what was sent before.
func TestBackendThatSendsMoreThanItMay(t *testing.T) {
	told := make(chan struct{})
	backend := rawBackend(t, func(p *rawPeer) {
		p.until(headersOn(1))
		_ = p.respond(1, false, ":status", "200", "content-type", "application/grpc")
		message := make([]byte, frameBytesMax)
		message[3], message[4] = (frameBytesMax-messageHeaderBytes)>>8, (frameBytesMax-messageHeaderBytes)&0xff
		for range streamWindow/frameBytesMax + 1 {
			_ = p.WriteData(1, false, message)
		}
		p.wantReset(1, http2.ErrCodeFlowControl)
		close(told)
	})
	p := rawCaller(t, startProxy(t, everything(backend)), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.must(p.call(1, true))
	<-told
	p.must(p.WriteWindowUpdate(0, 1<<20))
	p.must(p.WriteWindowUpdate(1, 1<<20))
	received := 0
	p.until(func(f http2.Frame) bool {
		if d, ok := f.(*http2.DataFrame); ok {
			received += len(d.Data())
		}
		return received == streamWindow
	})
	p.wantStatus(1, "13")
}

func TestCallerThatSendsMoreThanItMay(t *testing.T) {
	for name, c := range map[string]struct {
		frames int
		want   func(p *rawPeer)
	}{
		"on a stream": {streamWindow/frameBytesMax + 1, func(p *rawPeer) { p.wantReset(1, http2.ErrCodeFlowControl) }},
	} {
		t.Run(name, func(t *testing.T) {
			backend := rawBackend(t, func(p *rawPeer) { p.until(func(http2.Frame) bool { return false }) },
				http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			p := rawCaller(t, startProxy(t, everything(backend)))
			p.must(p.call(1, false))
			for range c.frames {
				p.must(p.WriteData(1, false, make([]byte, frameBytesMax)))
			}
			c.want(p)
		})
	}
}

// TestStoppedReaderStallsNobodyElse has one stream that is not read, while others on the same two connections go on.
func TestStoppedReaderStallsNobodyElse(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte{1}, 1<<20)
	o := everything(startService(t, service{
		bidi: func(s testgrpc.TestService_FullDuplexCallServer) error {
			for {
				if err := s.Send(&testgrpc.StreamingOutputCallResponse{Payload: &testgrpc.Payload{Body: body}}); err != nil {
					return err
				}
			}
		},
		unary: named("b").unary,
	}))
	o.Metrics = metrics.New()
	address := startProxy(t, o)
	client := testgrpc.NewTestServiceClient(connect(t, address))
	stalled, err := client.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stalled.Recv(); err != nil { // and never again
		t.Fatal(err)
	}
	for range 200 {
		if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	isHeldBack(t, o)
}

// isHeldBack waits until it is counted that something waits for a slow reader.
func isHeldBack(t *testing.T, o Options) {
	t.Helper()
	eventually(t, "what waits for the reader is counted", func() bool { return counted(t, o.Metrics.GRPC.Buffered) > 0 })
}

// TestSocketThatIsNotReadStallsNobodyElse is the same with a whole connection that is not read.
func TestSocketThatIsNotReadStallsNobodyElse(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte{1}, 1<<20)
	o := everything(startService(t, service{
		bidi: func(s testgrpc.TestService_FullDuplexCallServer) error {
			for {
				if err := s.Send(&testgrpc.StreamingOutputCallResponse{Payload: &testgrpc.Payload{Body: body}}); err != nil {
					return err
				}
			}
		},
		unary: named("b").unary,
	}))
	o.Metrics = metrics.New()
	address := startProxy(t, o)
	p := rawCaller(t, address, http2.Setting{ID: http2.SettingInitialWindowSize, Val: windowMax})
	p.must(p.WriteWindowUpdate(0, windowMax-windowDefault))
	for stream := uint32(1); stream < 40; stream += 2 {
		p.must(p.respond(stream, false, ":method", "POST", ":scheme", "http", ":path",
			"/grpc.testing.TestService/FullDuplexCall", ":authority", "x", "content-type", "application/grpc"))
	}
	client := testgrpc.NewTestServiceClient(connect(t, address))
	for range 200 {
		if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	isHeldBack(t, o)
}

// TestManyStreamsOnOneConnection holds streamsMany calls open at once, while a neighbour calls.
func TestManyStreamsOnOneConnection(t *testing.T) {
	var entered sync.WaitGroup
	entered.Add(streamsMany)
	leave := make(chan struct{})
	o := everything(startService(t, service{bidi: func(testgrpc.TestService_FullDuplexCallServer) error {
		entered.Done()
		<-leave
		return nil
	}, unary: named("b").unary}))
	o.StreamsMax, o.Metrics = streamsMany, metrics.New()
	address := startProxy(t, o)
	client := testgrpc.NewTestServiceClient(connect(t, address))
	var all sync.WaitGroup
	for range streamsMany {
		all.Go(func() {
			s, err := client.FullDuplexCall(testContext(t))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := s.Recv(); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
	entered.Wait()
	neighbour(t, address)()
	started := counted(t, o.Metrics.GRPC.Started.WithLabelValues("*", "*"))
	close(leave)
	all.Wait()
	if started <= streamsMany {
		t.Errorf("%v calls were counted as started, %d were open and a neighbour called", started, streamsMany)
	}
}

func TestStreamOverTheLimitIsRefused(t *testing.T) {
	o := everything(rawBackend(t, func(p *rawPeer) { p.until(func(http2.Frame) bool { return false }) }))
	o.StreamsMax = 2
	p := rawCaller(t, startProxy(t, o))
	p.must(p.call(1, false))
	p.must(p.call(3, false))
	p.must(p.call(5, false))
	p.wantReset(5, http2.ErrCodeRefusedStream)
	p.must(p.WriteRSTStream(1, http2.ErrCodeCancel))
	p.must(p.call(7, false))
	p.must(p.call(9, false))
	p.wantReset(9, http2.ErrCodeRefusedStream)
}

// TestBuffersStayWithinTheLimit stalls more streams than the budget can hold back, and then makes one more call.
func TestBuffersStayWithinTheLimit(t *testing.T) {
	const bufferBytesMax = 1 << 20
	o := everything(startService(t, service{
		bidi: func(s testgrpc.TestService_FullDuplexCallServer) error {
			for {
				if err := s.Send(&testgrpc.StreamingOutputCallResponse{Payload: &testgrpc.Payload{Body: make([]byte, 1<<16)}}); err != nil {
					return err
				}
			}
		},
		unary: named("b").unary,
	}))
	o.BufferBytesMax = bufferBytesMax
	proxy, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- proxy.Serve(l) }()
	p := rawCaller(t, l.Addr().String(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for stream := uint32(1); stream < 40; stream += 2 {
		p.must(p.respond(stream, false, ":method", "POST", ":scheme", "http", ":path",
			"/grpc.testing.TestService/FullDuplexCall", ":authority", "x", "content-type", "application/grpc"))
	}
	most := int64(0)
	eventually(t, "a call has been ended for want of buffers", func() bool {
		s := proxy.Status()
		most = max(most, s.BufferedBytes)
		return s.Backends[0].Started == 20 && s.Backends[0].Active < 20
	})
	if slack := int64(2 * frameBytesMax); most > bufferBytesMax+slack {
		t.Errorf("%d bytes were held back, the limit is %d", most, bufferBytesMax)
	}
	conn := connect(t, l.Addr().String())
	if _, err := testgrpc.NewTestServiceClient(conn).UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
		t.Errorf("a call that needs no buffers: %v", err)
	}
	_ = conn.Close()
	_ = p.conn.Close()
	if err := proxy.Shutdown(testContext(t)); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if n := proxy.Status().BufferedBytes; n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
}
