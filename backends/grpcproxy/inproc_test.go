package grpcproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"gateway/internal/inproc"
)

// inprocDialer connects the engine to a server within the process.
type inprocDialer struct{ *inproc.Listener }

func (d inprocDialer) DialContext(ctx context.Context) (net.Conn, error) { return d.Dial(ctx) }

// startInproc serves within the process, by a proxy whose backend is there too, and returns how to reach it.
func startInproc(t *testing.T, service testgrpc.TestServiceServer) (*Proxy, *inproc.Listener) {
	t.Helper()
	back := inproc.Listen()
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	testgrpc.RegisterTestServiceServer(server, service)
	serve(t, server, back)
	o := everything()
	o.Backends[0].Dial = inprocDialer{back}
	o.MessageBytesMax = 64 << 20
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	serveProxy(t, p)
	front := inproc.Listen()
	served := make(chan error, 1)
	go func() { served <- p.Serve(front) }()
	t.Cleanup(func() {
		front.Close()
		<-served
	})
	return p, front
}

func connectInproc(t *testing.T, l *inproc.Listener) *grpc.ClientConn {
	t.Helper()
	return connect(t, "passthrough:///inproc", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.Dial(ctx) }))
}

func TestInteropWithinTheProcess(t *testing.T) {
	t.Parallel()
	_, front := startInproc(t, interop.NewTestServer())
	for name, run := range interopCases {
		t.Run(name, func(t *testing.T) {
			conn := connectInproc(t, front)
			run(testContext(t), conn, testgrpc.NewTestServiceClient(conn))
		})
	}
}

func TestLargeMessagesWithinTheProcessArriveWhole(t *testing.T) {
	t.Parallel()
	_, front := startInproc(t, interop.NewTestServer())
	client := testgrpc.NewTestServiceClient(connectInproc(t, front))
	const size = 16 << 20 // more than any window, and than one turn of writing
	got, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{
		ResponseSize: size, Payload: &testgrpc.Payload{Body: bytes.Repeat([]byte{1}, size)},
	}, grpc.MaxCallRecvMsgSize(64<<20))
	if err != nil || len(got.Payload.Body) != size {
		t.Fatalf("%d bytes of %d: %v", len(got.GetPayload().GetBody()), size, err)
	}
}

func TestBrokenProtocolWithinTheProcessEndsTheConnection(t *testing.T) {
	t.Parallel()
	p, front := startInproc(t, interop.NewTestServer())
	conn, err := front.Dial(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("this is no preface of HTTP/2, and 24 bytes at least")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("read to the end: %v", err)
	}
	conn.Close()
	eventually(t, "the connection is forgotten", func() bool { return p.Status().Callers == 0 })
}
