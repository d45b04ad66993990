package grpcproxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

func TestCallsSplitByWeight(t *testing.T) {
	t.Parallel()
	const calls = splitCalls
	o := Options{
		Routes: []Route{{Pattern: "*", To: []Weighted{{"old", 90}, {"new", 10}}}},
		Backends: []Backend{
			{Name: "old", Targets: []string{startService(t, named("old"))}},
			{Name: "new", Targets: []string{startService(t, named("new"))}},
		},
	}
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o)))
	got := map[string]int{}
	for range calls {
		r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
		if err != nil {
			t.Fatal(err)
		}
		got[r.ServerId]++
	}
	if n := got["new"]; n < calls/10-calls/100 || n > calls/10+calls/100 {
		t.Errorf("new got %d of %d calls, its weight is 10 of 100", n, calls)
	}
	t.Logf("figure: a weight of 10 of 100 got %d of %d calls", got["new"], calls)
}

func TestMostSpecificRouteWins(t *testing.T) {
	o := Options{Routes: []Route{
		{Pattern: "*", To: []Weighted{{Backend: "rest"}}},
		{Pattern: "/grpc.testing.TestService/*", To: []Weighted{{Backend: "service"}}},
		{Pattern: "/grpc.testing.TestService/UnaryCall", To: []Weighted{{Backend: "method"}}},
	}}
	for _, name := range []string{"rest", "service", "method"} {
		s := named(name)
		o.Backends = append(o.Backends, Backend{Name: name, Targets: []string{startService(t, s)}})
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Shutdown(testContext(t)) }()
	for method, want := range map[string]string{
		"/grpc.testing.TestService/UnaryCall": "method",
		"/grpc.testing.TestService/EmptyCall": "service",
		"/grpc.testing.TestServiceTwo/Call":   "rest",
		"/":                                   "rest",
		"":                                    "rest",
	} {
		if got := p.table.Load().find(method, nil).pick().Name; got != want {
			t.Errorf("%q goes to %s, want %s", method, got, want)
		}
	}
}

func TestCallWithoutRouteIsUnimplemented(t *testing.T) {
	o := everything(startService(t, named("b")))
	o.Routes[0].Pattern = "/other.Service/*"
	_, err := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o))).UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
	if got := status.Convert(err); got.Code() != codes.Unimplemented || !strings.Contains(got.Message(), "/grpc.testing.TestService/UnaryCall") {
		t.Errorf("got %v", err)
	}
}

// TestMethodWithoutASlashGoesNowhere has a caller try to get past the rules of a service: some servers know the method all the same.
func TestMethodWithoutASlashGoesNowhere(t *testing.T) {
	o := everything(startService(t, named("b")))
	o.Routes = append(o.Routes, Route{Pattern: "/grpc.testing.TestService/*", ConcurrentMax: 1, To: o.Routes[0].To})
	proxy, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	p := rawCaller(t, serveProxy(t, proxy))
	p.must(p.respond(1, true, ":method", "POST", ":scheme", "http", ":path", "grpc.testing.TestService/UnaryCall",
		"content-type", "application/grpc"))
	p.wantStatus(1, "12")
	if n := proxy.Status().Backends[0].Started; n != 0 {
		t.Errorf("the backend got %d calls", n)
	}
}

func TestUnreachableBackendIsNamed(t *testing.T) {
	o := everything(nobody(t))
	_, err := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o))).UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
	if got := status.Convert(err); got.Code() != codes.Unavailable || !strings.Contains(got.Message(), `backend "b"`) {
		t.Errorf("got %v", err)
	}
}

func TestBackendComesBackAfterRestart(t *testing.T) {
	l := listenApart(t)
	first := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(first, named("first"))
	go func() { _ = first.Serve(l) }()
	client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, everything(l.Addr().String()))))
	if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	first.Stop()
	again, err := net.Listen("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	second := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(second, named("second"))
	serve(t, second, again)
	eventually(t, "a call is answered by the second server", func() bool {
		r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
		return err == nil && r.ServerId == "second"
	})
}

func TestCallsSpreadOverTargets(t *testing.T) {
	for _, balance := range []string{"", "round_robin", "least_request"} {
		t.Run(balance, func(t *testing.T) {
			o := everything(startService(t, named("one")), startService(t, named("two")))
			o.Backends[0].Balance = balance
			client := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o)))
			got := map[string]int{}
			eventually(t, "both targets have answered", func() bool {
				r, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
				if err != nil {
					t.Fatal(err)
				}
				got[r.ServerId]++
				return len(got) == 2
			})
		})
	}
}

func TestTargetsOtherThanTCP(t *testing.T) {
	socket, err := net.Listen("unix", filepath.Join(t.TempDir(), "b.sock"))
	if err != nil {
		t.Fatal(err)
	}
	memory := bufconn.Listen(1 << 16)
	for name, b := range map[string]Backend{
		"unix":      {Targets: []string{"unix://" + socket.Addr().String()}},
		"dns":       {Targets: []string{"dns:///" + startService(t, named("dns"))}},
		"in memory": {Dial: dialFunc(memory.DialContext)},
	} {
		t.Run(name, func(t *testing.T) {
			for on, l := range map[string]net.Listener{"unix": socket, "in memory": memory} {
				if on == name {
					server := grpc.NewServer()
					testgrpc.RegisterTestServiceServer(server, named(name))
					serve(t, server, l)
				}
			}
			o := everything()
			b.Name = "b"
			o.Backends[0] = b
			r, err := testgrpc.NewTestServiceClient(connect(t, startProxy(t, o))).UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
			if err != nil || r.ServerId != name {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
}

func TestPlainHTTP2IsToldToSpeakGRPC(t *testing.T) {
	address := startProxy(t, everything(startService(t, named("b"))))
	response, err := plainHTTP2(t).Post("http://"+address+"/grpc.testing.TestService/UnaryCall",
		"application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusUnsupportedMediaType || !strings.Contains(string(text), "application/json") {
		t.Errorf("got %d, %q, %v", response.StatusCode, text, err)
	}
}

func TestShutdownLetsCallsFinish(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	backend := startService(t, service{unary: func(context.Context, *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
		close(entered)
		<-leave
		return &testgrpc.SimpleResponse{ServerId: "done"}, nil
	}})
	p, err := New(everything(backend))
	if err != nil {
		t.Fatal(err)
	}
	l := listenApart(t)
	served := make(chan error, 1)
	go func() { served <- p.Serve(l) }()
	client := testgrpc.NewTestServiceClient(connect(t, l.Addr().String()))
	called := make(chan error, 1)
	go func() {
		_, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{})
		called <- err
	}()
	<-entered
	if active := p.Status().Backends[0].Active; active != 1 {
		t.Errorf("status tells of %d active calls", active)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- p.Shutdown(testContext(t)) }()
	eventually(t, "the port is closed", func() bool {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(leave)
	if err := <-called; err != nil {
		t.Errorf("the call in flight failed: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for want, o := range map[string]Options{
		`there is no backend "b"`:        {Routes: []Route{{Pattern: "*", To: []Weighted{{Backend: "b"}}}}},
		`grpc route "*": given twice`:    {Routes: append(everything("x:1").Routes, everything("x:1").Routes...), Backends: everything("x:1").Backends},
		`grpc route "*": names no`:       {Routes: []Route{{Pattern: "*"}}},
		`grpc route "a.B/c": a pattern`:  {Routes: []Route{{Pattern: "a.B/c"}}},
		`grpc route "/a/b/c": a pattern`: {Routes: []Route{{Pattern: "/a/b/c"}}},
		`has the weight -1`:              {Routes: []Route{{Pattern: "*", To: []Weighted{{"b", -1}}}}, Backends: everything("x:1").Backends},
		`backend "b": has no target`:     {Backends: []Backend{{Name: "b"}}},
		`backend "b": given twice`:       {Backends: append(everything("x:1").Backends, everything("x:1").Backends...)},
		`there is no balance "rnd"`:      {Backends: []Backend{{Name: "b", Targets: []string{"x:1"}, Balance: "rnd"}}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
