//go:build libzmq

package bridge

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"gateway/internal/zmtp"
	demov1 "gateway/proto/demo/v1"
	gatewayv1 "gateway/proto/gateway/v1"
)

// The tests of this file put the bridge between the real libzmq and grpc-go.

// largeBytes leaves of 16 MiB what a message needs around it.
const largeBytes = 16<<20 - 100

// zsocket is a libzmq socket; prepare sets its options.
func zsocket(t testing.TB, kind zmq.Type, prepare ...func(*zmq.Socket) error) *zmq.Socket {
	t.Helper()
	z, err := zmq.NewSocket(kind)
	must(t, err)
	t.Cleanup(func() { _ = z.Close() }) // some tests have closed it
	must(t, z.SetLinger(0), z.SetRcvtimeo(requestsWait), z.SetSndtimeo(requestsWait))
	for _, p := range prepare {
		must(t, p(z))
	}
	return z
}

func zbound(t testing.TB, kind zmq.Type, prepare ...func(*zmq.Socket) error) (z *zmq.Socket, endpoint string) {
	t.Helper()
	z = zsocket(t, kind, prepare...)
	must(t, z.Bind("tcp://127.0.0.1:*"))
	endpoint, err := z.GetLastEndpoint()
	must(t, err)
	return z, endpoint
}

func zconnected(t testing.TB, kind zmq.Type, endpoint string, prepare ...func(*zmq.Socket) error) *zmq.Socket {
	t.Helper()
	z := zsocket(t, kind, prepare...)
	must(t, z.Connect(endpoint))
	return z
}

func zsend(t testing.TB, z *zmq.Socket, frames ...string) {
	t.Helper()
	if _, err := z.SendMessage(frames); err != nil {
		t.Fatalf("libzmq sends: %v", err)
	}
}

func zrecv(t testing.TB, z *zmq.Socket) []string {
	t.Helper()
	frames, err := z.RecvMessage(0)
	if err != nil {
		t.Fatalf("libzmq receives: %v", err)
	}
	return frames
}

// security is how both sides of a test are secured.
type security struct {
	access Access                  // of an inlet
	client func(*zmq.Socket) error // of its client
	ours   zmtp.Security           // of a backend
	server func(*zmq.Socket) error // of its service
}

func nothing(*zmq.Socket) error { return nil }

// eachSecurity runs a test with NULL and with CURVE.
func eachSecurity(t *testing.T, run func(t *testing.T, s security)) {
	server, client := newKeys(t), newKeys(t)
	t.Run("NULL", func(t *testing.T) { run(t, security{client: nothing, server: nothing}) })
	t.Run("CURVE", func(t *testing.T) {
		run(t, security{
			access: Access{Secret: &server.Secret, Clients: map[zmtp.PublicKey]bool{client.Public: true}},
			client: func(z *zmq.Socket) error {
				return errors.Join(z.SetCurveServerkey(server.Public.String()), z.SetCurvePublickey(client.Public.String()), z.SetCurveSecretkey(client.Secret.Z85()))
			},
			ours: zmtp.CurveClient{Server: server.Public, Pair: client},
			server: func(z *zmq.Socket) error {
				return errors.Join(z.SetCurveServer(1), z.SetCurveSecretkey(server.Secret.Z85()))
			},
		})
	})
}

// bodies are of every size.
var bodies = []string{"", "x", strings.Repeat("y", 1000), strings.Repeat("z", 1<<20), strings.Repeat("L", largeBytes)}

func TestLibzmqAsksGRPC(t *testing.T) {
	calls := startGreeter(t, &greeter{})
	eachSecurity(t, func(t *testing.T, s security) {
		in := startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: calls, Access: s.access})
		req := zconnected(t, zmq.REQ, in.endpoint, s.client)
		for _, body := range bodies {
			zsend(t, req, request(body))
			want(t, zrecv(t, req), reply(body))
		}
		in = startInlet(t, zmtp.ROUTER, Plan{Method: sayHello, Calls: calls, Access: s.access})
		dealer := zconnected(t, zmq.DEALER, in.endpoint, s.client)
		for _, envelope := range [][]string{nil, {""}, {"id", ""}, {"hop2", "hop1", ""}} {
			zsend(t, dealer, append(envelope, request("x"))...)
			want(t, zrecv(t, dealer), append(envelope, reply("x"))...)
		}
		in = startInlet(t, zmtp.ROUTER, Plan{Method: bidiHellos, Stream: true, Calls: calls, Access: s.access})
		dealer = zconnected(t, zmq.DEALER, in.endpoint, s.client)
		for i := range 20 {
			zsend(t, dealer, request(fmt.Sprint(i)))
		}
		for i := range 20 {
			want(t, zrecv(t, dealer), reply(fmt.Sprint(i)))
		}
	})
}

func TestLibzmqPushesAndSubscribesToGRPC(t *testing.T) {
	eachSecurity(t, func(t *testing.T, s security) {
		g := &greeter{}
		calls := startGreeter(t, g)
		in := startInlet(t, zmtp.PULL, Plan{Method: clientHellos, Stream: true, Calls: calls, Access: s.access})
		push := zconnected(t, zmq.PUSH, in.endpoint, s.client)
		for i := range 100 {
			zsend(t, push, request(fmt.Sprint(i)))
		}
		must(t, push.SetLinger(patience), push.Close())
		eventually(t, "all arrived", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return len(g.poured) == 100
		})
		in = startInlet(t, zmtp.PUB, Plan{Method: serverHellos, TopicField: 1, Calls: calls, Access: s.access})
		sub := zconnected(t, zmq.SUB, in.endpoint, s.client, func(z *zmq.Socket) error { return z.SetSubscribe("top") })
		for i := range 3 {
			want(t, zrecv(t, sub), "top", reply(fmt.Sprint("top", i)))
		}
	})
}

func TestGRPCAsksLibzmq(t *testing.T) {
	eachSecurity(t, func(t *testing.T, s security) {
		for _, socket := range []zmtp.SocketType{zmtp.REQ, zmtp.DEALER} {
			rep, endpoint := zbound(t, zmq.REP, s.server)
			_, conn := startBackend(t, BackendOptions{Socket: socket, Endpoints: []string{endpoint}, Security: s.ours})
			served := make(chan error, 1)
			frames := [][]byte{[]byte("a"), {}, []byte(strings.Repeat("m", 100_000)), {}}
			go func() { served <- echo(rep, len(bodies)+1) }()
			client := gatewayv1.NewBridgeClient(conn)
			for _, body := range bodies {
				if socket == zmtp.DEALER && len(body) == largeBytes {
					body = body[:largeBytes-idBytes]
				}
				got, err := client.Request(testContext(t), &gatewayv1.Multipart{Frames: [][]byte{[]byte(body)}}, grpc.MaxCallRecvMsgSize(64<<20))
				if err != nil || len(got.Frames) != 1 || string(got.Frames[0]) != body {
					t.Fatalf("%d bytes: got %.80v, %v", len(body), got, err)
				}
			}
			got, err := client.Request(testContext(t), &gatewayv1.Multipart{Frames: frames})
			if err != nil || !proto.Equal(got, &gatewayv1.Multipart{Frames: frames}) {
				t.Errorf("multipart: %.80v, %v", got, err)
			}
			must(t, <-served)
		}
	})
}

// echo answers so many requests.
func echo(rep *zmq.Socket, n int) error {
	for range n {
		frames, err := rep.RecvMessageBytes(0)
		if err == nil {
			_, err = rep.SendMessage(frames)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestGRPCPushesAndSubscribesToLibzmq(t *testing.T) {
	eachSecurity(t, func(t *testing.T, s security) {
		pull, endpoint := zbound(t, zmq.PULL, s.server)
		_, conn := startBackend(t, BackendOptions{Socket: zmtp.PUSH, Endpoints: []string{endpoint}, Security: s.ours})
		stream, err := demov1.NewGreeterClient(conn).SayHelloClientStream(testContext(t))
		must(t, err)
		for i := range 100 {
			must(t, stream.Send(&demov1.HelloRequest{Name: fmt.Sprint(i)}))
		}
		_, err = stream.CloseAndRecv()
		must(t, err)
		for i := range 100 {
			want(t, zrecv(t, pull), request(fmt.Sprint(i)))
		}
		xpub, endpoint := zbound(t, zmq.XPUB, s.server)
		_, conn = startBackend(t, BackendOptions{Socket: zmtp.SUB, Endpoints: []string{endpoint}, Security: s.ours, TopicField: 1})
		news, err := demov1.NewGreeterClient(conn).SayHelloServerStream(testContext(t), &demov1.HelloRequest{Name: "news"})
		must(t, err)
		want(t, zrecv(t, xpub), "\x01news")
		zsend(t, xpub, "other", "x")
		zsend(t, xpub, "news.de", reply("a"))
		if got, err := news.Recv(); err != nil || got.Message != hello("a").Message {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestLibzmqReachesLibzmqUnchanged(t *testing.T) {
	eachSecurity(t, func(t *testing.T, s security) {
		rep, endpoint := zbound(t, zmq.REP, s.server)
		in := startInlet(t, zmtp.ROUTER, Plan{Access: s.access, Forward: []Upstream{{Name: "service", Endpoints: []string{endpoint}, Security: s.ours}}})
		req := zconnected(t, zmq.REQ, in.endpoint, s.client)
		shapes := [][]string{{"x"}, {""}, {"", ""}, {"a", "", "b"}, {strings.Repeat("L", largeBytes-100)}}
		served := make(chan error, 1)
		go func() { served <- echo(rep, len(shapes)) }()
		for _, frames := range shapes {
			zsend(t, req, frames...)
			want(t, zrecv(t, req), frames...)
		}
		must(t, <-served)
	})
}

func TestHundredLibzmqClientsAskAtOnce(t *testing.T) {
	in := startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: startGreeter(t, &greeter{})})
	var all sync.WaitGroup
	for i := range 100 {
		req := zconnected(t, zmq.REQ, in.endpoint)
		all.Go(func() {
			for j := range 20 {
				name := fmt.Sprint(i, "/", j)
				_, errSent := req.SendMessage(request(name))
				got, err := req.RecvMessage(0)
				if err != nil || errSent != nil || len(got) != 1 || got[0] != reply(name) {
					t.Errorf("%s got %q: %v %v", name, got, errSent, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestHeartbeatingLibzmqClientStays(t *testing.T) {
	in := startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: startGreeter(t, &greeter{})})
	req := zconnected(t, zmq.REQ, in.endpoint, func(z *zmq.Socket) error {
		return errors.Join(z.SetHeartbeatIvl(10*time.Millisecond), z.SetHeartbeatTimeout(heartbeatFor*3/4))
	})
	zsend(t, req, request("x"))
	zrecv(t, req)
	select {
	case o := <-in.outcomes:
		t.Fatalf("it left: %+v", o)
	case <-time.After(heartbeatFor):
	}
	zsend(t, req, request("y"))
	want(t, zrecv(t, req), reply("y"))
}

// TestManyRequestsAreAnsweredOnceEachWay asks through the bridge in both directions and looks at the memory.
func TestManyRequestsAreAnsweredOnceEachWay(t *testing.T) {
	in := startInlet(t, zmtp.REP, Plan{Method: sayHello, Calls: startGreeter(t, &greeter{})})
	var all sync.WaitGroup
	for i := range lanesEach {
		req := zconnected(t, zmq.REQ, in.endpoint)
		all.Go(func() {
			for j := range requests / lanesEach {
				name := fmt.Sprint(i, "/", j)
				_, errSent := req.SendMessage(request(name))
				got, err := req.RecvMessage(0)
				if err != nil || errSent != nil || len(got) != 1 || got[0] != reply(name) {
					t.Errorf("%s got %.80q: %v %v", name, got, errSent, err)
					return
				}
			}
		})
	}
	rep, endpoint := zbound(t, zmq.REP)
	served := make(chan error, 1)
	go func() { served <- echo(rep, requests) }()
	_, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{endpoint}})
	client := gatewayv1.NewBridgeClient(conn)
	var early uint64
	for i := range lanesEach {
		all.Go(func() {
			for j := range requests / lanesEach {
				body := fmt.Append(nil, i, "/", j)
				got, err := client.Request(t.Context(), &gatewayv1.Multipart{Frames: [][]byte{body}})
				if err != nil || len(got.Frames) != 1 || string(got.Frames[0]) != string(body) {
					t.Errorf("%s got %v, %v", body, got, err)
					return
				}
				if i == 0 && j == requests/lanesEach/10 {
					early = heapBytes()
				}
			}
		})
	}
	all.Wait()
	must(t, <-served)
	late := heapBytes()
	if late > early+8<<20 {
		t.Errorf("the heap grew from %d to %d bytes", early, late)
	}
	t.Logf("figure: %d requests each way, each answered once; heap %d KiB after a tenth of them, %d KiB in the end", requests, early>>10, late>>10)
}

func heapBytes() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
