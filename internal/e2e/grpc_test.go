package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// grpcServer is grpc-go's own interop server.
func grpcServer(t *testing.T) (addr string) {
	t.Helper()
	return grpcServerOn(t, "127.0.0.1")
}

func grpcServerOn(t *testing.T, host string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

// grpcCalls runs some of grpc-go's interop cases against addr; the proxy's own tests run them all.
func grpcCalls(t *testing.T, addr string) {
	t.Helper()
	grpcCallsBy(t, addr, insecure.NewCredentials())
}

func grpcCallsBy(t *testing.T, addr string, by credentials.TransportCredentials) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(by))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := testgrpc.NewTestServiceClient(conn)
	interop.DoEmptyUnaryCall(ctx, client)
	interop.DoLargeUnaryCall(ctx, client)
	interop.DoClientStreaming(ctx, client)
	interop.DoServerStreaming(ctx, client)
	interop.DoPingPong(ctx, client)
	interop.DoCustomMetadata(ctx, client)
	interop.DoStatusCodeAndMessage(ctx, client)
}

// TestClientThatWaitsForSettingsGetsThem says what gRPC over Java and C-core say first, and no more until they are answered.
func TestClientThatWaitsForSettingsGetsThem(t *testing.T) {
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
backend "interop" { grpc = [%q] }
grpc "*" {
  to "interop" {}
}
`, grpcServer(t)))
	c, err := net.Dial("tcp", g.addr("public"))
	must(t, err)
	defer c.Close()
	_, err = io.WriteString(c, http2.ClientPreface)
	must(t, err, c.SetReadDeadline(time.Now().Add(patience)))
	frame, err := http2.NewFramer(io.Discard, c).ReadFrame()
	if _, ok := frame.(*http2.SettingsFrame); !ok || err != nil {
		t.Errorf("the gateway's first frame is %v, %v", frame, err)
	}
}
