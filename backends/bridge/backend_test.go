package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"gateway/internal/zmtp"
	demov1 "gateway/proto/demo/v1"
	gatewayv1 "gateway/proto/gateway/v1"
)

// descriptors are what protoc writes of the greeter.
func descriptors(t testing.TB) Types {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{fileOf(demov1.File_demo_v1_greeter_proto)}}
	types, err := Descriptors([]byte(encoded(set)))
	must(t, err)
	return types
}

// answering lets a bound REP answer each request with what reply makes of it.
func answering(t testing.TB, rep peer, reply func(frames []string) []string) {
	t.Helper()
	var answers sync.WaitGroup
	answers.Go(func() {
		for m := (&zmtp.Message{}); rep.Recv(context.Background(), m) == nil; {
			frames := make([]string, m.Len())
			for i := range frames {
				frames[i] = string(m.Part(i))
			}
			out := &zmtp.Message{}
			for _, f := range reply(frames) {
				out.Append([]byte(f))
			}
			_ = rep.Send(context.Background(), out) // who asked may have gone
		}
	})
	t.Cleanup(func() {
		rep.kill()
		answers.Wait()
	})
}

// greets is what the old service does.
func greets(frames []string) []string {
	var r demov1.HelloRequest
	if len(frames) != 1 || proto.Unmarshal([]byte(frames[0]), &r) != nil {
		return []string{"", encoded(status.New(codes.InvalidArgument, "no request").Proto())}
	}
	if r.Name == "refused" {
		return []string{"", encoded(status.New(codes.FailedPrecondition, "not today").Proto())}
	}
	return []string{reply(r.Name)}
}

// oldService is a bound REP that greets.
func oldService(t testing.TB) (endpoint string) {
	t.Helper()
	rep, endpoint := bound(t, zmtp.REP)
	answering(t, rep, greets)
	return endpoint
}

func TestNewClientIsAnsweredByTheOldService(t *testing.T) {
	for _, socket := range []zmtp.SocketType{zmtp.REQ, zmtp.DEALER} {
		t.Run(string(socket), func(t *testing.T) {
			_, conn := startBackend(t, BackendOptions{Socket: socket, Endpoints: []string{oldService(t), oldService(t)}})
			client := demov1.NewGreeterClient(conn)
			for _, name := range []string{"anna", "", strings.Repeat("x", 1<<20)} {
				got, err := client.SayHello(testContext(t), &demov1.HelloRequest{Name: name})
				if err != nil || !proto.Equal(got, hello(name)) {
					t.Fatalf("got %.80v, %v", got, err)
				}
			}
			if _, err := client.SayHello(testContext(t), &demov1.HelloRequest{Name: "zip"}, grpc.UseCompressor(gzip.Name)); err != nil {
				t.Errorf("compressed: %v", err)
			}
			_, err := client.SayHello(testContext(t), &demov1.HelloRequest{Name: "refused"})
			wantCode(t, err, codes.FailedPrecondition, "not today")
			_, err = gatewayv1.NewBridgeClient(conn).Push(testContext(t))
			must(t, err)
			got, err := gatewayv1.NewBridgeClient(conn).Request(testContext(t), &gatewayv1.Multipart{Frames: [][]byte{[]byte(request("raw"))}})
			if err != nil || len(got.Frames) != 1 || string(got.Frames[0]) != reply("raw") {
				t.Errorf("got %v, %v", got, err)
			}
			got, err = gatewayv1.NewBridgeClient(conn).Request(testContext(t), &gatewayv1.Multipart{Frames: [][]byte{nil, nil}})
			if err != nil || len(got.Frames) != 2 { // a status, but nobody looks for one here
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestCallsAreNotCrossed(t *testing.T) {
	for _, socket := range []zmtp.SocketType{zmtp.REQ, zmtp.DEALER} {
		t.Run(string(socket), func(t *testing.T) {
			b, conn := startBackend(t, BackendOptions{Socket: socket, Endpoints: []string{oldService(t), oldService(t)}})
			client := demov1.NewGreeterClient(conn)
			var calls sync.WaitGroup
			for caller := range callers {
				calls.Go(func() {
					for i := range callsEach {
						name := fmt.Sprint(caller, "/", i)
						got, err := client.SayHello(t.Context(), &demov1.HelloRequest{Name: name})
						if err != nil || got.Message != hello(name).Message {
							t.Errorf("%s got %v, %v", name, got, err)
							return
						}
					}
				})
			}
			calls.Wait()
			if s := b.Status(); s.InFlight != 0 || s.Peers < 2 || s.Peers > 2*lanesMax {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func TestDealerCarriesStreams(t *testing.T) {
	_, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{oldService(t)}})
	stream, err := demov1.NewGreeterClient(conn).SayHelloBidiStream(testContext(t))
	must(t, err)
	for i := range 10 {
		must(t, stream.Send(&demov1.HelloRequest{Name: fmt.Sprint(i)}))
		got, err := stream.Recv()
		if err != nil || got.Message != hello(fmt.Sprint(i)).Message {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	for range 5 {
		must(t, stream.Send(&demov1.HelloRequest{Name: "more"}))
	}
	must(t, stream.CloseSend())
	for range 5 {
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end after the last reply", err)
	}
}

func TestServiceEndsAStreamByAStatus(t *testing.T) {
	router, endpoint := bound(t, zmtp.ROUTER)
	_, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{endpoint}})
	stream, err := demov1.NewGreeterClient(conn).SayHelloBidiStream(testContext(t))
	must(t, err)
	must(t, stream.Send(&demov1.HelloRequest{Name: "x"}))
	got := router.recv() // name, id, empty, body
	for range 3 {
		router.send(got[0], got[1], "", reply("many"))
	}
	router.send(got[0], got[1], "", "", "")
	for range 3 {
		if r, err := stream.Recv(); err != nil || r.Message != hello("many").Message {
			t.Fatalf("got %v, %v", r, err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func TestCallsFailAsPromised(t *testing.T) {
	router, endpoint := bound(t, zmtp.ROUTER)
	go func() {
		for m := (&zmtp.Message{}); router.Recv(context.Background(), m) == nil; {
			reply := zmtp.NewMessage(m.Part(0), m.Part(1), nil)
			var r demov1.HelloRequest
			if err := proto.Unmarshal(m.Part(3), &r); err != nil {
				t.Error(err)
			}
			switch r.Name {
			case "silent":
				continue
			case "no delimiter":
				reply = zmtp.NewMessage(m.Part(0), m.Part(1), []byte("x"))
			case "no body":
			case "two frames":
				reply.Append([]byte("a"))
				reply.Append([]byte("b"))
			case "too large":
				reply.Append(make([]byte, 2<<20))
			}
			_ = router.Send(context.Background(), reply)
		}
	}()
	b, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{endpoint}, MessageBytesMax: 1 << 20})
	client := demov1.NewGreeterClient(conn)
	for _, c := range []struct {
		name string
		code codes.Code
		text string
	}{
		{"silent", codes.DeadlineExceeded, ""},
		{"no delimiter", codes.Internal, "envelope"},
		{"no body", codes.Internal, "without a body"},
		{"two frames", codes.Internal, "one frame"},
		{strings.Repeat("x", 1<<20+100), codes.ResourceExhausted, ""},
		{"too large", codes.ResourceExhausted, "1048576 bytes"}, // it ends the connection
	} {
		wait := patience
		if c.code == codes.DeadlineExceeded {
			wait = 100 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, err := client.SayHello(ctx, &demov1.HelloRequest{Name: c.name})
		cancel()
		wantCode(t, err, c.code, c.text)
	}
	for _, kind := range []zmtp.SocketType{zmtp.PUSH, zmtp.SUB, zmtp.REQ} {
		_, conn := startBackend(t, BackendOptions{Socket: kind, Endpoints: []string{endpoint}})
		stream, err := gatewayv1.NewBridgeClient(conn).Exchange(testContext(t))
		must(t, err)
		_, err = stream.Recv()
		wantCode(t, err, codes.Unimplemented, string(kind))
	}
	if b.Status().InFlight != 0 {
		t.Errorf("status %+v", b.Status())
	}
}

func TestCallerIsToldThatNobodyIsThere(t *testing.T) {
	for _, socket := range []zmtp.SocketType{zmtp.REQ, zmtp.DEALER, zmtp.PUSH, zmtp.SUB} {
		_, conn := startBackend(t, BackendOptions{Socket: socket, Endpoints: []string{"tcp://127.0.0.1:1"}})
		err := conn.Invoke(testContext(t), sayHello, &demov1.HelloRequest{}, &demov1.HelloReply{})
		if socket == zmtp.SUB {
			stream, errStream := demov1.NewGreeterClient(conn).SayHelloServerStream(testContext(t), &demov1.HelloRequest{})
			must(t, errStream)
			_, err = stream.Recv()
		}
		wantCode(t, err, codes.Unavailable, `cannot reach backend "service"`)
	}
}

func TestCallerIsToldThatTheKeyIsRefused(t *testing.T) {
	keys := newKeys(t)
	_, endpoint := bound(t, zmtp.ROUTER, zmtp.CurveServer{Secret: keys.Secret, Authenticate: func(zmtp.PublicKey) error { return errKey }})
	_, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{endpoint}, Security: zmtp.CurveClient{Server: keys.Public}})
	eventually(t, "UNAUTHENTICATED", func() bool {
		_, err := demov1.NewGreeterClient(conn).SayHello(testContext(t), &demov1.HelloRequest{})
		return status.Code(err) == codes.Unauthenticated
	})
}

func TestServiceThatIsLostAndComesBack(t *testing.T) {
	for _, socket := range []zmtp.SocketType{zmtp.REQ, zmtp.DEALER} {
		t.Run(string(socket), func(t *testing.T) {
			kind := map[zmtp.SocketType]zmtp.SocketType{zmtp.REQ: zmtp.REP, zmtp.DEALER: zmtp.ROUTER}[socket]
			path := filepath.Join(t.TempDir(), "s")
			service, endpoint := boundTo(t, listenUnix(t, path), kind)
			_, conn := startBackend(t, BackendOptions{Socket: socket, Endpoints: []string{endpoint}})
			client := demov1.NewGreeterClient(conn)
			failed := make(chan error, 1)
			var trailer metadata.MD
			go func() {
				_, err := client.SayHello(testContext(t), &demov1.HelloRequest{Name: "x"}, grpc.Trailer(&trailer))
				failed <- err
			}()
			service.recv()
			service.leave()
			err := <-failed
			wantCode(t, err, codes.Unavailable, "lost after the request was sent")
			if got := trailer.Get("grpc-retry-pushback-ms"); len(got) != 1 || got[0] != "-1" {
				t.Errorf("trailer %v", trailer)
			}
			again, _ := boundTo(t, listenUnix(t, path), zmtp.REP)
			answering(t, again, greets)
			eventually(t, "calls succeed again", func() bool {
				_, err := client.SayHello(testContext(t), &demov1.HelloRequest{Name: "x"})
				return err == nil
			})
		})
	}
}

func TestLateReplyAnswersNobody(t *testing.T) {
	for _, socket := range []zmtp.SocketType{zmtp.REQ, zmtp.DEALER} {
		t.Run(string(socket), func(t *testing.T) {
			router, endpoint := bound(t, zmtp.ROUTER)
			b, conn := startBackend(t, BackendOptions{Socket: socket, Endpoints: []string{endpoint}})
			client := demov1.NewGreeterClient(conn)
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() {
				_, err := client.SayHello(ctx, &demov1.HelloRequest{Name: "first"})
				failed <- err
			}()
			first := router.recv()
			cancel()
			wantCode(t, <-failed, codes.Canceled, "")
			eventually(t, "the call is over", func() bool { return b.Status().InFlight == 0 })
			late := &zmtp.Message{}
			for _, f := range append(first[:len(first)-1:len(first)-1], reply("late")) {
				late.Append([]byte(f))
			}
			_ = router.Send(testContext(t), late) // a REQ's connection is gone
			got := make(chan string, 1)
			go func() {
				r, _ := client.SayHello(testContext(t), &demov1.HelloRequest{Name: "second"})
				got <- r.GetMessage()
			}()
			second := router.recv()
			router.send(append(second[:len(second)-1], reply("second"))...)
			if message := <-got; message != hello("second").Message {
				t.Errorf("got %q", message)
			}
		})
	}
}

func TestHighWaterMarkOfCallsInFlight(t *testing.T) {
	router, endpoint := bound(t, zmtp.ROUTER)
	b, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{endpoint}, QueueMessagesMax: 3})
	client := demov1.NewGreeterClient(conn)
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() {
			if _, err := client.SayHello(testContext(t), &demov1.HelloRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "three calls are in flight", func() bool { return b.Status().InFlight == 3 })
	_, err := client.SayHello(testContext(t), &demov1.HelloRequest{})
	wantCode(t, err, codes.ResourceExhausted, "high-water mark of 3")
	for range 3 {
		got := router.recv()
		router.send(got[0], got[1], "", reply("x"))
	}
	calls.Wait()
}

func TestPayloadJSONReachesAServiceThatSpeaksIt(t *testing.T) {
	rep, endpoint := bound(t, zmtp.REP)
	answering(t, rep, func(frames []string) []string {
		if frames[0] == `{"name":"anna"}` {
			return []string{`{"message": "Hallo"}`}
		}
		return []string{"{"}
	})
	_, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{endpoint}, Payload: JSON, Types: descriptors(t)})
	client := demov1.NewGreeterClient(conn)
	got, err := client.SayHello(testContext(t), &demov1.HelloRequest{Name: "anna"})
	if err != nil || got.Message != "Hallo" {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = client.SayHello(testContext(t), &demov1.HelloRequest{Name: "bert"})
	wantCode(t, err, codes.Internal, "not the JSON of a demo.v1.HelloReply")
}

func TestPushedCallsReachTheWorkers(t *testing.T) {
	pull, endpoint := bound(t, zmtp.PULL)
	_, conn := startBackend(t, BackendOptions{Socket: zmtp.PUSH, Endpoints: []string{endpoint}})
	client := demov1.NewGreeterClient(conn)
	if got, err := client.SayHello(testContext(t), &demov1.HelloRequest{Name: "one"}); err != nil || !proto.Equal(got, &demov1.HelloReply{}) {
		t.Errorf("got %v, %v", got, err)
	}
	want(t, pull.recv(), request("one"))
	stream, err := client.SayHelloClientStream(testContext(t))
	must(t, err)
	for i := range 20 {
		must(t, stream.Send(&demov1.HelloRequest{Name: fmt.Sprint(i)}))
	}
	_, err = stream.CloseAndRecv()
	must(t, err)
	for i := range 20 {
		want(t, pull.recv(), request(fmt.Sprint(i)))
	}
	raw, err := gatewayv1.NewBridgeClient(conn).Push(testContext(t))
	must(t, err, raw.Send(&gatewayv1.Multipart{Frames: [][]byte{[]byte("a"), nil, []byte("c")}}))
	if got, err := raw.CloseAndRecv(); err != nil || got.Messages != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	want(t, pull.recv(), "a", "", "c")
}

func TestFullWorkersHoldStreamsAndRefuseCalls(t *testing.T) {
	pull, endpoint := bound(t, zmtp.PULL) // nobody takes what it gets
	b, conn := startBackend(t, BackendOptions{Socket: zmtp.PUSH, Endpoints: []string{endpoint}, QueueMessagesMax: 2})
	client := demov1.NewGreeterClient(conn)
	stream, err := client.SayHelloClientStream(testContext(t))
	must(t, err)
	const messages, size = 600, 100_000 // more than all queues and windows hold
	sent := make(chan error, 1)
	go func() {
		for range messages {
			if err := stream.Send(&demov1.HelloRequest{Name: strings.Repeat("x", size)}); err != nil {
				sent <- err
				return
			}
		}
		_, err := stream.CloseAndRecv()
		sent <- err
	}()
	eventually(t, "a call is refused", func() bool {
		_, err := client.SayHello(testContext(t), &demov1.HelloRequest{Name: strings.Repeat("y", size)})
		if err != nil {
			wantCode(t, err, codes.ResourceExhausted, "high-water mark")
		}
		return err != nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m := (&zmtp.Message{}); pull.Recv(context.Background(), m) == nil; {
		}
	}()
	must(t, <-sent)
	pull.kill()
	<-done
	if b.Status().InFlight != 0 {
		t.Errorf("status %+v", b.Status())
	}
}

func TestSubscribedCallsGetWhatIsPublished(t *testing.T) {
	pub, endpoint := bound(t, zmtp.PUB)
	_, conn := startBackend(t, BackendOptions{Socket: zmtp.SUB, Endpoints: []string{endpoint}, TopicField: 1})
	stream, err := demov1.NewGreeterClient(conn).SayHelloServerStream(testContext(t), &demov1.HelloRequest{Name: "news"})
	must(t, err)
	raw, err := gatewayv1.NewBridgeClient(conn).Subscribe(testContext(t), &gatewayv1.SubscribeRequest{Topics: [][]byte{[]byte("w")}})
	must(t, err)
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond): // a subscription takes its time to arrive
				pub.send("news.de", reply("a"))
				pub.send("weather", "", "rain")
				pub.send("other", "x")
			}
		}
	})
	for range 3 {
		if got, err := stream.Recv(); err != nil || got.Message != hello("a").Message {
			t.Fatalf("got %v, %v", got, err)
		}
		if got, err := raw.Recv(); err != nil || len(got.Frames) != 3 || string(got.Frames[2]) != "rain" {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	close(stop)
	publishing.Wait()
	empty, err := gatewayv1.NewBridgeClient(conn).Subscribe(testContext(t), &gatewayv1.SubscribeRequest{})
	must(t, err)
	_, err = empty.Recv()
	wantCode(t, err, codes.InvalidArgument, "topics")
}

func TestExchangeIsADealerOfTheCallersOwn(t *testing.T) {
	router, endpoint := bound(t, zmtp.ROUTER)
	_, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{endpoint}})
	ctx, cancel := context.WithCancel(testContext(t))
	stream, err := gatewayv1.NewBridgeClient(conn).Exchange(ctx)
	must(t, err, stream.Send(&gatewayv1.Multipart{Frames: [][]byte{[]byte("hello"), nil}}))
	got := router.recv()
	want(t, got[1:], "hello", "")
	for range 3 { // whenever it likes
		router.send(got[0], "", "event", "")
		if m, err := stream.Recv(); err != nil || len(m.Frames) != 3 || string(m.Frames[1]) != "event" {
			t.Fatalf("got %v, %v", m, err)
		}
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	stream, err = gatewayv1.NewBridgeClient(conn).Exchange(testContext(t))
	must(t, err, stream.Send(&gatewayv1.Multipart{Frames: [][]byte{[]byte("x")}}))
	router.recv()
	router.kill()
	_, err = stream.Recv()
	wantCode(t, err, codes.Unavailable, "lost")
}
