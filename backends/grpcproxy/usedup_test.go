package grpcproxy

import (
	"testing"

	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// TestCallsGoOnWhenAConnectionIsUsedUp has a connection to a backend run out of stream ids, under a stream that goes on.
func TestCallsGoOnWhenAConnectionIsUsedUp(t *testing.T) {
	t.Parallel()
	s := named("b")
	s.bidi = func(stream testgrpc.TestService_FullDuplexCallServer) error {
		for {
			if _, err := stream.Recv(); err != nil {
				return nil // the caller has said all
			}
			if err := stream.Send(&testgrpc.StreamingOutputCallResponse{}); err != nil {
				return err
			}
		}
	}
	p, err := New(everything(startService(t, s)))
	if err != nil {
		t.Fatal(err)
	}
	client := testgrpc.NewTestServiceClient(connect(t, serveProxy(t, p)))
	stream, err := client.FullDuplexCall(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	echo := func() {
		t.Helper()
		if err := stream.Send(&testgrpc.StreamingOutputCallRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	echo()
	ready := p.backends[0].set.Load().targets[0].ready.Load
	first := (*ready())[0]
	first.mu.Lock()
	first.nextID = streamIDMax - 2
	first.mu.Unlock()
	for i := range 4 { // the connection has ids for two
		if _, err := client.UnaryCall(testContext(t), &testgrpc.SimpleRequest{}); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	echo()
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection is closed after its last stream", func() bool {
		now := *ready()
		return len(now) == 1 && now[0] != first
	})
}
