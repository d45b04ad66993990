//go:build libzmq

package bridge

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"gateway/internal/zmtp"
	demov1 "gateway/proto/demo/v1"
)

// The tests of this file carry messages of every shape and size by every pattern, NULL and CURVE.

// bytesCodec carries messages as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// startEcho serves every method, each message with itself, and returns what calls it.
func startEcho(t testing.TB) *Calls {
	t.Helper()
	server := grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		for {
			var data []byte
			if err := s.RecvMsg(&data); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if err := s.SendMsg(data); err != nil {
				return err
			}
		}
	}))
	return serveCalls(t, server)
}

func TestMultipartOfLibzmqReachesGRPCWhole(t *testing.T) {
	calls := startEcho(t)
	eachSecurity(t, func(t *testing.T, s security) {
		for _, socket := range []zmtp.SocketType{zmtp.REP, zmtp.ROUTER} {
			in := startInlet(t, socket, Plan{Method: "/echo.Echo/Call", Payload: Envelope, Calls: calls, Access: s.access})
			req := zconnected(t, zmq.REQ, in.endpoint, s.client)
			for _, frames := range [][]string{{"x"}, {""}, {"", ""}, {"a", "", "b"}, {"", "a", ""}, {strings.Repeat("m", 1<<20), "", "end"}} {
				zsend(t, req, frames...)
				want(t, zrecv(t, req), frames...)
			}
		}
	})
}

func TestEverySizeOfLibzmqReachesGRPCByEveryPattern(t *testing.T) {
	eachSecurity(t, func(t *testing.T, s security) {
		g := &greeter{stream: func(_ *demov1.HelloRequest, news grpc.ServerStreamingServer[demov1.HelloReply]) error {
			for _, body := range bodies {
				if err := news.Send(hello(body)); err != nil {
					return err
				}
			}
			<-news.Context().Done()
			return nil
		}}
		calls := startGreeter(t, g)
		in := startInlet(t, zmtp.ROUTER, Plan{Method: bidiHellos, Stream: true, Calls: calls, Access: s.access})
		dealer := zconnected(t, zmq.DEALER, in.endpoint, s.client)
		for _, body := range bodies {
			zsend(t, dealer, request(body))
			want(t, zrecv(t, dealer), reply(body))
		}
		in = startInlet(t, zmtp.PUB, Plan{Method: serverHellos, TopicField: 1, Calls: calls, Access: s.access})
		sub := zconnected(t, zmq.SUB, in.endpoint, s.client, func(z *zmq.Socket) error { return z.SetSubscribe("top") })
		for _, body := range bodies {
			want(t, zrecv(t, sub), "top", reply(body))
		}
		in = startInlet(t, zmtp.PULL, Plan{Method: clientHellos, Stream: true, Calls: calls, Access: s.access})
		push := zconnected(t, zmq.PUSH, in.endpoint, s.client)
		for _, body := range bodies {
			zsend(t, push, request(body))
		}
		must(t, push.SetLinger(patience), push.Close())
		eventually(t, "all that was pushed arrived", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return slices.Equal(g.poured, bodies)
		})
	})
}

func TestEverySizeOfGRPCReachesLibzmqByEveryPattern(t *testing.T) {
	large := grpc.MaxCallRecvMsgSize(64 << 20)
	sizes := slices.Clone(bodies)
	sizes[len(sizes)-1] = sizes[len(sizes)-1][idBytes:] // which an id takes
	eachSecurity(t, func(t *testing.T, s security) {
		router, endpoint := zbound(t, zmq.ROUTER, s.server)
		_, conn := startBackend(t, BackendOptions{Socket: zmtp.DEALER, Endpoints: []string{endpoint}, Security: s.ours})
		talk, err := demov1.NewGreeterClient(conn).SayHelloBidiStream(testContext(t), large)
		must(t, err)
		for _, body := range sizes {
			must(t, talk.Send(&demov1.HelloRequest{Name: body}))
			zsend(t, router, zrecv(t, router)...) // a request is a reply's first field
			if got, err := talk.Recv(); err != nil || got.Message != body {
				t.Fatalf("a stream's %d bytes: %.80v, %v", len(body), got, err)
			}
		}
		pull, endpoint := zbound(t, zmq.PULL, s.server)
		_, conn = startBackend(t, BackendOptions{Socket: zmtp.PUSH, Endpoints: []string{endpoint}, Security: s.ours})
		push, err := demov1.NewGreeterClient(conn).SayHelloClientStream(testContext(t))
		must(t, err)
		for _, body := range sizes {
			must(t, push.Send(&demov1.HelloRequest{Name: body}))
			want(t, zrecv(t, pull), request(body))
		}
		_, err = push.CloseAndRecv()
		must(t, err)
		xpub, endpoint := zbound(t, zmq.XPUB, s.server)
		_, conn = startBackend(t, BackendOptions{Socket: zmtp.SUB, Endpoints: []string{endpoint}, Security: s.ours})
		news, err := demov1.NewGreeterClient(conn).SayHelloServerStream(testContext(t), &demov1.HelloRequest{}, large)
		must(t, err)
		want(t, zrecv(t, xpub), "\x01")
		for i, body := range sizes {
			zsend(t, xpub, fmt.Sprint("topic ", i), request(body))
			if got, err := news.Recv(); err != nil || got.Message != body {
				t.Fatalf("%d published bytes: %.80v, %v", len(body), got, err)
			}
		}
	})
}
