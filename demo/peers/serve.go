package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	demov1 "gateway/proto/demo/v1"
)

const (
	serveDrain           = 2 * time.Second // for the calls in flight when a server is told to stop
	serveStreamsMax      = 1000            // calls at a time on one connection
	serverStreamReplies  = 3               // of SayHelloServerStream
	clientStreamNamesMax = 1000            // of SayHelloClientStream
)

// Serve serves a gRPC Greeter on l, which it closes, until ctx ends; with the health service and reflection, so that
// grpcurl and the gateway can ask it.
func Serve(ctx context.Context, l net.Listener, name string, report Report) error {
	server := grpc.NewServer(grpc.MaxConcurrentStreams(serveStreamsMax))
	demov1.RegisterGreeterServer(server, &greeter{name: name, report: report})
	checks := health.NewServer()
	checks.SetServingStatus(demov1.Greeter_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	healthv1.RegisterHealthServer(server, checks)
	reflection.Register(server)

	ended := make(chan error, 1)
	report(Event{Peer: name, Kind: Listening, Text: l.Addr().String()})
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	checks.Shutdown()
	cut := time.AfterFunc(serveDrain, server.Stop)
	defer cut.Stop()
	server.GracefulStop()
	if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}

// greeter implements the service.
type greeter struct {
	demov1.UnimplementedGreeterServer
	name   string
	report Report
}

func (g *greeter) greet(name string) *demov1.HelloReply {
	return &demov1.HelloReply{Message: "Hello, " + name + "!", ServedBy: g.name}
}

func (g *greeter) received(request *demov1.HelloRequest) {
	g.report(Event{Peer: g.name, Kind: Received, From: request.GetName(), Text: "asks for a greeting"})
}

func (g *greeter) SayHello(_ context.Context, request *demov1.HelloRequest) (*demov1.HelloReply, error) {
	g.received(request)
	return g.greet(request.GetName()), nil
}

func (g *greeter) SayHelloServerStream(request *demov1.HelloRequest, stream demov1.Greeter_SayHelloServerStreamServer) error {
	g.received(request)
	for range serverStreamReplies {
		if err := stream.Send(g.greet(request.GetName())); err != nil {
			return err
		}
	}
	return nil
}

func (g *greeter) SayHelloClientStream(stream demov1.Greeter_SayHelloClientStreamServer) error {
	var names []string
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(g.greet(strings.Join(names, ", ")))
		}
		if err != nil {
			return err
		}
		g.received(request)
		if len(names) == clientStreamNamesMax {
			return status.Errorf(codes.ResourceExhausted, "at most %d names", clientStreamNamesMax)
		}
		names = append(names, request.GetName())
	}
}

func (g *greeter) SayHelloBidiStream(stream demov1.Greeter_SayHelloBidiStreamServer) error {
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		g.received(request)
		if err := stream.Send(g.greet(request.GetName())); err != nil {
			return err
		}
	}
}
