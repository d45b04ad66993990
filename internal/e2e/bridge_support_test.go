//go:build libzmq

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"

	spb "google.golang.org/genproto/googleapis/rpc/status"

	demov1 "gateway/proto/demo/v1"
)

// namedGreeter is a gRPC service that greets and says who did.
type namedGreeter struct {
	demov1.UnimplementedGreeterServer
	name string
}

func (g namedGreeter) greet(name string) *demov1.HelloReply {
	return &demov1.HelloReply{Message: "Hello, " + name, ServedBy: g.name}
}

func (g namedGreeter) SayHello(_ context.Context, r *demov1.HelloRequest) (*demov1.HelloReply, error) {
	return g.greet(r.Name), nil
}

func (g namedGreeter) SayHelloBidiStream(s grpc.BidiStreamingServer[demov1.HelloRequest, demov1.HelloReply]) error {
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(g.greet(r.Name)); err != nil {
			return err
		}
	}
}

func (g namedGreeter) SayHelloServerStream(r *demov1.HelloRequest, s grpc.ServerStreamingServer[demov1.HelloReply]) error {
	if err := s.Send(g.greet(r.Name)); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

// startGreeter serves a namedGreeter at an address, with reflection.
func startGreeter(t *testing.T, name, address string) (addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must(t, err)
	s := grpc.NewServer()
	demov1.RegisterGreeterServer(s, namedGreeter{name: name})
	reflection.Register(s)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String(), s.Stop
}

// oldGreeter is a libzmq REP that greets as a namedGreeter does.
func oldGreeter(t *testing.T, name string, prepare ...func(*zmq.Socket)) (endpoint string) {
	t.Helper()
	s, endpoint := bound(t, zmq.REP, prepare...)
	must(t, s.SetRcvtimeo(-1))
	stopped := make(chan struct{})
	quit, quitEnd := pair(t)
	go func() {
		defer close(stopped)
		poller := zmq.NewPoller()
		poller.Add(s, zmq.POLLIN)
		poller.Add(quit, zmq.POLLIN)
		for {
			ready, err := poller.Poll(-1)
			if err != nil {
				return
			}
			for _, p := range ready {
				if p.Socket == quit {
					return
				}
				frames, err := s.RecvMessageBytes(0)
				var r demov1.HelloRequest
				if err != nil || len(frames) != 1 || proto.Unmarshal(frames[0], &r) != nil {
					s.SendMessage("", encoded(&spb.Status{Code: int32(codes.InvalidArgument), Message: "no request"}))
					continue
				}
				s.SendMessage(encoded(namedGreeter{name: name}.greet(r.Name)))
			}
		}
	}()
	t.Cleanup(func() {
		quitEnd.SendMessage("")
		<-stopped
	})
	return endpoint
}

// pair is two libzmq sockets, for one goroutine to wake another that polls.
func pair(t *testing.T) (a, b *zmq.Socket) {
	t.Helper()
	a, b = zmqSocket(t, zmq.PAIR), zmqSocket(t, zmq.PAIR)
	name := fmt.Sprintf("inproc://%p", a)
	must(t, a.Bind(name), b.Connect(name))
	return a, b
}

func encoded(m proto.Message) string {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(err) // a message of this file
	}
	return string(data)
}

func asks(name string) string { return encoded(&demov1.HelloRequest{Name: name}) }

// servedBy decodes a reply and returns who answered.
func servedBy(t *testing.T, frames []string, name string) string {
	t.Helper()
	var reply demov1.HelloReply
	if len(frames) != 1 || proto.Unmarshal([]byte(frames[0]), &reply) != nil || reply.Message != "Hello, "+name {
		t.Fatalf("%q was answered %.100q", name, frames)
	}
	return reply.ServedBy
}

// asksAs is a REQ client of the gateway.
func asksAs(t *testing.T, g *gatewayProcess, prepare ...func(*zmq.Socket)) *zmq.Socket {
	t.Helper()
	s := zmqSocket(t, zmq.REQ)
	for _, p := range prepare {
		p(s)
	}
	must(t, s.Connect("tcp://"+g.addr("public")))
	return s
}

func ask(t *testing.T, req *zmq.Socket, name string) (by string) {
	t.Helper()
	send(t, req, asks(name))
	return servedBy(t, recv(t, req), name)
}

// callsOf is a gRPC client of the gateway.
func callsOf(t *testing.T, g *gatewayProcess) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+g.addr("public"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// bridgeConfig is a gateway with a listener and an admin, and these blocks.
func bridgeConfig(blocks string, args ...any) string {
	return "listen \"127.0.0.1:0\" { name = \"public\" }\nadmin { listen = \"127.0.0.1:0\" }\n" + fmt.Sprintf(blocks, args...)
}
