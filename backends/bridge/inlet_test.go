package bridge

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"gateway/internal/zmtp"
	demov1 "gateway/proto/demo/v1"
)

func TestOldClientIsAnsweredByTheNewService(t *testing.T) {
	in := startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: startGreeter(t, &greeter{})})
	req := connected(t, zmtp.REQ, in.endpoint)
	for _, name := range []string{"anna", "", strings.Repeat("x", 1<<20)} {
		req.send(request(name))
		want(t, req.recv(), reply(name))
	}
}

func TestDealerKeepsItsEnvelopeAndItsOrder(t *testing.T) {
	in := startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: startGreeter(t, &greeter{})})
	dealer := connected(t, zmtp.DEALER, in.endpoint)
	for i := range 20 {
		dealer.send(fmt.Sprint("id", i), "hop", "", request(fmt.Sprint(i)))
	}
	for i := range 20 {
		want(t, dealer.recv(), fmt.Sprint("id", i), "hop", "", reply(fmt.Sprint(i)))
	}
}

func TestRouterAnswersWhoeverIsReadyFirst(t *testing.T) {
	release := make(chan struct{})
	in := startInlet(t, zmtp.ROUTER, Plan{Method: sayHello, Calls: startGreeter(t, &greeter{
		hello: func(ctx context.Context, r *demov1.HelloRequest) (*demov1.HelloReply, error) {
			if r.Name == "slow" {
				<-release
			}
			return hello(r.Name), nil
		},
	})})
	dealer := connected(t, zmtp.DEALER, in.endpoint)
	dealer.send("1", "", request("slow"))
	dealer.send("2", "", request("quick"))
	want(t, dealer.recv(), "2", "", reply("quick"))
	close(release)
	want(t, dealer.recv(), "1", "", reply("slow"))
	dealer.send(request("bare")) // no envelope: none comes back
	want(t, dealer.recv(), reply("bare"))
}

func TestEveryRequestGetsAnAnswerWhateverGoesWrong(t *testing.T) {
	calls := startGreeter(t, &greeter{hello: func(ctx context.Context, r *demov1.HelloRequest) (*demov1.HelloReply, error) {
		switch r.Name {
		case "refused":
			return nil, status.Error(codes.FailedPrecondition, "not \x01 today ü")
		case "slow":
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return hello(r.Name), nil
	}})
	nobody := callsTo(t, "127.0.0.1:1")
	for name, c := range map[string]struct {
		plan  Plan
		frame []string
		code  codes.Code
		text  string
	}{
		"the service refuses":   {Plan{Method: sayHello, Calls: calls}, []string{request("refused")}, codes.FailedPrecondition, "not \x01 today ü"},
		"it takes too long":     {Plan{Method: sayHello, Calls: calls, Timeout: 50 * time.Millisecond}, []string{request("slow")}, codes.DeadlineExceeded, ""},
		"nobody is there":       {Plan{Method: sayHello, Calls: nobody}, []string{request("x")}, codes.Unavailable, ""},
		"no such method":        {Plan{Method: "/demo.v1.Greeter/Nope", Calls: calls}, []string{request("x")}, codes.Unimplemented, "Nope"},
		"two frames":            {Plan{Method: sayHello, Calls: calls}, []string{request("x"), "more"}, codes.InvalidArgument, "2 frames: the payload is one frame"},
		"no JSON":               {Plan{Method: sayHello, Calls: calls, Payload: JSON, Types: Reflection(calls)}, []string{"{"}, codes.InvalidArgument, "not the JSON of a demo.v1.HelloRequest"},
		"JSON without types":    {Plan{Method: sayHello, Calls: calls, Payload: JSON}, []string{"{}"}, codes.Internal, "needs descriptors"},
		"JSON of no service":    {Plan{Method: "/no.Such/Method", Calls: calls, Payload: JSON, Types: Reflection(calls)}, []string{"{}"}, codes.Internal, "reflection"},
		"JSON of no method":     {Plan{Method: "/demo.v1.Greeter/Nope", Calls: calls, Payload: JSON, Types: Reflection(calls)}, []string{"{}"}, codes.Internal, "Nope"},
		"a reply of other type": {Plan{Method: sayHello, Calls: calls, Payload: Envelope}, []string{"no", "greeting"}, codes.Internal, ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := connected(t, zmtp.REQ, startInlet(t, zmtp.REP, c.plan).endpoint)
			if name == "a reply of other type" {
				req.send(c.frame...)
				if got := req.recv(); len(got) != 1 { // field 1 of HelloReply is what Multipart has its frames in
					t.Errorf("got %q", got)
				}
				return
			}
			for range 2 {
				req.send(c.frame...)
				wantStatus(t, req.recv(), c.code, c.text)
			}
		})
	}
}

func TestJSONAndEnvelopeAreTranscoded(t *testing.T) {
	calls := startGreeter(t, &greeter{hello: func(_ context.Context, r *demov1.HelloRequest) (*demov1.HelloReply, error) {
		return &demov1.HelloReply{Message: r.Name, ServedBy: "ü"}, nil
	}})
	req := connected(t, zmtp.REQ, startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: calls, Payload: JSON, Types: Reflection(calls)}).endpoint)
	req.send(`{"name": "anna"}`)
	var got demov1.HelloReply
	if frames := req.recv(); len(frames) != 1 || protojson.Unmarshal([]byte(frames[0]), &got) != nil ||
		!proto.Equal(&got, &demov1.HelloReply{Message: "anna", ServedBy: "ü"}) {
		t.Errorf("got %q", frames)
	}
	req = connected(t, zmtp.REQ, startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: calls, Payload: Envelope}).endpoint)
	req.send("one frame is HelloRequest's name")
	want(t, req.recv(), "one frame is HelloRequest's name")
}

func TestServiceLearnsWhoTheClientIs(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	calls := startGreeter(t, &greeter{hello: func(ctx context.Context, r *demov1.HelloRequest) (*demov1.HelloReply, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
		return hello(r.Name), nil
	}})
	server, client := newKeys(t), newKeys(t)
	in := startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: calls, Access: Access{Secret: &server.Secret}})
	req := connected(t, zmtp.REQ, in.endpoint, zmtp.CurveClient{Server: server.Public, Pair: client})
	req.send(request("x"))
	req.recv()
	md := <-seen
	for key, value := range map[string]string{mdBlock: "block", mdKey: client.Public.String(), mdClient: "127.0.0.1"} {
		if got := md.Get(key); !slices.Equal(got, []string{value}) {
			t.Errorf("%s is %q, want %q", key, got, value)
		}
	}
}

func TestClientOnAUnixSocketHasNoAddress(t *testing.T) {
	seen := make(chan []string, 1)
	calls := startGreeter(t, &greeter{hello: func(ctx context.Context, r *demov1.HelloRequest) (*demov1.HelloReply, error) {
		seen <- metadata.ValueFromIncomingContext(ctx, mdClient)
		return hello(r.Name), nil
	}})
	l := listenUnix(t, filepath.Join(t.TempDir(), "s"))
	in := serveInletOn(t, l, InletOptions{Name: "block", Socket: zmtp.REP}, Plan{Method: sayHello, Calls: calls})
	req := connected(t, zmtp.REQ, in.endpoint)
	req.send(request("x"))
	want(t, req.recv(), reply("x"))
	if got := <-seen; len(got) > 0 {
		t.Errorf("its address is %q", got)
	}
}

func TestStatusThatNobodyKnowsIsCountedAsUnknown(t *testing.T) {
	account := new(Meter).Service("block")
	in := serveInlet(t, InletOptions{Name: "block", Socket: zmtp.REP, Service: account}, Plan{Method: sayHello, Calls: startGreeter(t, &greeter{
		hello: func(context.Context, *demov1.HelloRequest) (*demov1.HelloReply, error) {
			return nil, status.Error(4711, "made up")
		},
	})})
	req := connected(t, zmtp.REQ, in.endpoint)
	req.send(request("x"))
	if got := req.recv(); len(got) != 2 || got[0] != "" || !strings.Contains(got[1], "made up") {
		t.Errorf("got %q", got)
	}
	if calls := account.status("block").Calls; len(calls) != 1 || calls["Unknown"] != 1 {
		t.Errorf("counted %v", calls)
	}
}

func newKeys(t testing.TB) zmtp.KeyPair {
	t.Helper()
	pair, err := zmtp.GenerateKeyPair()
	must(t, err)
	return pair
}

func TestOnlyThoseComeInWhoMay(t *testing.T) {
	calls := startGreeter(t, &greeter{})
	server, known, stranger := newKeys(t), newKeys(t), newKeys(t)
	curve := Access{Secret: &server.Secret, Clients: map[zmtp.PublicKey]bool{known.Public: true}}
	plain := Access{Users: map[string]string{"anna": "secret"}}
	for name, c := range map[string]struct {
		access   Access
		security zmtp.Security
		why      error // nil: it comes in
	}{
		"a known key":              {curve, zmtp.CurveClient{Server: server.Public, Pair: known}, nil},
		"an unknown key":           {curve, zmtp.CurveClient{Server: server.Public, Pair: stranger}, errKey},
		"a client without CURVE":   {curve, zmtp.Null{}, errMechanism},
		"a user":                   {plain, zmtp.PlainClient{User: "anna", Password: "secret"}, nil},
		"a wrong password":         {plain, zmtp.PlainClient{User: "anna", Password: "Secret"}, errUser},
		"an unknown user":          {plain, zmtp.PlainClient{User: "bert"}, errUser},
		"PLAIN where NULL may":     {Access{}, zmtp.PlainClient{User: "anna", Password: "secret"}, errMechanism},
		"NULL where NULL may":      {Access{}, zmtp.Null{}, nil},
		"a client of other socket": {Access{}, nil, zmtp.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			in := startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: calls, Access: c.access})
			if c.security == nil {
				connected(t, zmtp.PUSH, in.endpoint)
			} else if req := connected(t, zmtp.REQ, in.endpoint, c.security); c.why == nil {
				req.send(request("x"))
				want(t, req.recv(), reply("x"))
				return
			}
			if o := <-in.outcomes; o.Result != "handshake failed" || !errors.Is(o.Err, c.why) {
				t.Errorf("got %+v, want %v", o, c.why)
			}
		})
	}
}

func TestPushedMessagesBecomeCalls(t *testing.T) {
	got := make(chan string, 100)
	calls := startGreeter(t, &greeter{hello: func(_ context.Context, r *demov1.HelloRequest) (*demov1.HelloReply, error) {
		got <- r.Name
		if r.Name == "3" {
			return nil, status.Error(codes.Internal, "not this one")
		}
		return &demov1.HelloReply{}, nil
	}})
	push := connected(t, zmtp.PUSH, startInlet(t, zmtp.PULL, Plan{Method: sayHello, Calls: calls}).endpoint)
	for i := range 10 {
		push.send(request(fmt.Sprint(i)))
	}
	must(t, push.Close(testContext(t)))
	for i := range 10 {
		if name := <-got; name != fmt.Sprint(i) {
			t.Errorf("call %d has %q", i, name)
		}
	}
}

func TestPushedMessagesBecomeOneStream(t *testing.T) {
	g := &greeter{}
	push := connected(t, zmtp.PUSH, startInlet(t, zmtp.PULL, Plan{Method: clientHellos, Stream: true, Calls: startGreeter(t, g)}).endpoint)
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprint(i))
		push.send(request(names[i]))
	}
	must(t, push.Close(testContext(t)))
	eventually(t, "the stream has ended with all names", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return slices.Equal(g.poured, names)
	})
	if g.open != 1 {
		t.Errorf("%d streams", g.open)
	}
}

func TestDealerTalksOverAStream(t *testing.T) {
	in := startInlet(t, zmtp.ROUTER, Plan{Method: bidiHellos, Stream: true, Calls: startGreeter(t, &greeter{})})
	for _, envelope := range [][]string{nil, {""}, {"id", ""}} {
		framed := func(frames ...string) []string { return append(slices.Clone(envelope), frames...) }
		dealer := connected(t, zmtp.DEALER, in.endpoint)
		for range 2 { // a stream that ended can begin again
			for i := range 5 {
				dealer.send(framed(request(fmt.Sprint(i)))...)
				want(t, dealer.recv(), framed(reply(fmt.Sprint(i)))...)
			}
			dealer.send(framed("", "")...) // that was all
			want(t, dealer.recv(), framed("", "")...)
		}
		dealer.send(framed(request("x"))...)
		dealer.recv()
		dealer.send(framed(request("x"), "more")...)
		wantStatus(t, dealer.recv(), codes.InvalidArgument, "2 frames", envelope...)
	}
}

func TestStreamThatTheServiceEndsIsEndedForTheDealer(t *testing.T) {
	in := startInlet(t, zmtp.ROUTER, Plan{Method: bidiHellos, Stream: true, Calls: startGreeter(t, &greeter{
		bidi: func(s grpc.BidiStreamingServer[demov1.HelloRequest, demov1.HelloReply]) error {
			if _, err := s.Recv(); err != nil {
				return err
			}
			return status.Error(codes.ResourceExhausted, "enough")
		},
	})})
	dealer := connected(t, zmtp.DEALER, in.endpoint)
	for range 3 {
		dealer.send(request("x"))
		wantStatus(t, dealer.recv(), codes.ResourceExhausted, "enough")
	}
}

func TestSubscriberGetsAStreamForEachTopic(t *testing.T) {
	cancelled := make(chan string, 10)
	in := startInlet(t, zmtp.PUB, Plan{Method: serverHellos, TopicField: 1, Calls: startGreeter(t, &greeter{
		stream: func(r *demov1.HelloRequest, s grpc.ServerStreamingServer[demov1.HelloReply]) error {
			if err := s.Send(hello(r.Name)); err != nil {
				return err
			}
			<-s.Context().Done()
			cancelled <- r.Name
			return nil
		},
	})})
	sub := connected(t, zmtp.SUB, in.endpoint)
	must(t, sub.Subscribe([]byte("a")))
	want(t, sub.recv(), "a", reply("a"))
	must(t, sub.Subscribe([]byte("bc")), sub.Subscribe([]byte("bc")))
	want(t, sub.recv(), "bc", reply("bc"))
	must(t, sub.Cancel([]byte("a")))
	if topic := <-cancelled; topic != "a" {
		t.Errorf("the stream of %q was cancelled", topic)
	}
	sub.kill()
	if topic := <-cancelled; topic != "bc" {
		t.Errorf("the stream of %q was cancelled", topic)
	}
}

func TestStreamThatCannotBeReachedIsAskedForAgain(t *testing.T) {
	tries := make(chan struct{}, 10)
	in := startInlet(t, zmtp.PUB, Plan{Method: serverHellos, TopicField: 1, Calls: startGreeter(t, &greeter{
		stream: func(r *demov1.HelloRequest, s grpc.ServerStreamingServer[demov1.HelloReply]) error {
			if tries <- struct{}{}; len(tries) < 3 {
				return status.Error(codes.Unavailable, "not yet")
			}
			return s.Send(hello(r.Name))
		},
	})})
	sub := connected(t, zmtp.SUB, in.endpoint)
	must(t, sub.Subscribe([]byte("a")))
	want(t, sub.recv(), "a", reply("a"))
}

func TestSlowSubscriberHoldsNobodyUp(t *testing.T) {
	const messages = 2000
	in := startInlet(t, zmtp.PUB, Plan{Method: serverHellos, TopicField: 1, QueueMessagesMax: 10, Calls: startGreeter(t, &greeter{
		stream: func(r *demov1.HelloRequest, s grpc.ServerStreamingServer[demov1.HelloReply]) error {
			m := hello(strings.Repeat("x", 10_000))
			for range messages {
				if err := s.Send(m); err != nil {
					return err
				}
			}
			return s.Send(&demov1.HelloReply{Message: "end"})
		},
	})})
	c, err := zmtp.Dial(testContext(t), "tcp", strings.TrimPrefix(in.endpoint, "tcp://"), zmtp.Options{SocketType: zmtp.SUB})
	must(t, err)
	defer c.Close()
	must(t, c.Subscribe(testContext(t), []byte("t")))
	eventually(t, "messages are dropped", func() bool {
		return counterValue(t, in.counts.dropped.WithLabelValues("slow subscriber")) > 0
	})
}

func TestClientThatLeavesTakesItsCallWithIt(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	in := startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: startGreeter(t, &greeter{
		hello: func(ctx context.Context, _ *demov1.HelloRequest) (*demov1.HelloReply, error) {
			close(begun)
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		},
	})})
	req := connected(t, zmtp.REQ, in.endpoint)
	req.send(request("x"))
	<-begun
	req.kill()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if o := <-in.outcomes; o.Messages != 1 || o.Result != "client left" {
		t.Errorf("got %+v", o)
	}
}

func TestClientThatReadsNothingHoldsNobodyElseUp(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	in := startInlet(t, zmtp.ROUTER, Plan{Method: sayHello, QueueMessagesMax: 4, Calls: startGreeter(t, &greeter{
		hello: func(context.Context, *demov1.HelloRequest) (*demov1.HelloReply, error) { return hello(big), nil },
	})})
	deaf, err := zmtp.Dial(testContext(t), "tcp", strings.TrimPrefix(in.endpoint, "tcp://"), zmtp.Options{SocketType: zmtp.DEALER})
	must(t, err)
	defer deaf.Close()
	m := zmtp.NewMessage([]byte(request("x")))
	stuck, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for deaf.Send(stuck, m) == nil {
		}
	}()
	other := connected(t, zmtp.DEALER, in.endpoint)
	for range 50 {
		other.send(request("x"))
		want(t, other.recv(), reply(big))
	}
}

func TestShutdownAnswersWhatWasAsked(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	in := startInlet(t, zmtp.ROUTER, Plan{Method: sayHello, Calls: startGreeter(t, &greeter{
		hello: func(_ context.Context, r *demov1.HelloRequest) (*demov1.HelloReply, error) {
			begun <- struct{}{}
			<-release
			return hello(r.Name), nil
		},
	})})
	dealer := connected(t, zmtp.DEALER, in.endpoint)
	dealer.send(request("early"))
	<-begun
	done := make(chan int, 1)
	go func() { done <- in.Shutdown(testContext(t)) }()
	var there *client
	in.mu.Lock()
	for there = range in.clients {
	}
	in.mu.Unlock()
	<-there.stopping
	dealer.send(request("late"))
	wantStatus(t, dealer.recv(), codes.Unavailable, "stopping")
	close(release)
	want(t, dealer.recv(), reply("early"))
	if cut := <-done; cut != 0 {
		t.Errorf("%d cut", cut)
	}
}

func TestNewPlanCountsForClientsThatAreThere(t *testing.T) {
	named := func(name string) *Calls {
		return startGreeter(t, &greeter{hello: func(context.Context, *demov1.HelloRequest) (*demov1.HelloReply, error) {
			return hello(name), nil
		}})
	}
	in := startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: named("old")})
	req := connected(t, zmtp.REQ, in.endpoint)
	req.send(request("x"))
	want(t, req.recv(), reply("old"))
	must(t, in.SetPlan(&Plan{Method: sayHello, Calls: named("new")}))
	req.send(request("x"))
	want(t, req.recv(), reply("new"))
}
