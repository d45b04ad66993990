//go:build libzmq

package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

const (
	lossPercent = 5 // of packets, each way
	lossPairs   = 5 // libzmq clients, and as many workers
	lossStreams = 5
	lossWait    = 2 * time.Minute // for all traffic; retransmissions take their time
)

// lossConfig has what is relayed and called on the backends' link, where the workers come from too.
func lossConfig(target, calls string) string {
	return fmt.Sprintf(`
listen "%s:0" { name = "public" }
listen "%s:0" { name = "pairs" }
relay "vault" {
  match { listen = ["pairs"] }
  workers {
    listen = "%s:0"
    source = ["203.0.113.0/24"]
  }
}
relay "messages" {
  match { listen = ["public"] }
  dial = [%q]
}
backend "interop" { grpc = [%q] }
grpc "*" {
  to "interop" {}
}
drain_timeout = "1s"
`, clientLink.gateway, clientLink.gateway, backendLink.gateway, target, calls)
}

// TestNothingIsLostOrCrossedWhenPacketsAre has ZeroMQ, relayed and paired, and gRPC over links that lose packets.
func TestNothingIsLostOrCrossedWhenPacketsAre(t *testing.T) {
	n := newNetwork(t)
	pull := zmqSocket(t, zmq.PULL)
	must(t, pull.Bind("tcp://"+backendLink.outside+":*"))
	target, err := pull.GetLastEndpoint()
	must(t, err)
	g := n.startGateway(lossConfig(target, grpcServerOn(t, backendLink.outside)))
	for i := range lossPairs {
		zmqEcho(t, zmq.DEALER, fmt.Sprintf("worker-%d", i), func(s *zmq.Socket) { must(t, s.Connect(g.door())) })
	}
	g.parked(lossPairs)
	n.lose(lossPercent)

	var all sync.WaitGroup
	start := time.Now()
	push := zmqSocket(t, zmq.PUSH)
	must(t, push.SetSndtimeo(lossWait), pull.SetRcvtimeo(lossWait), push.Connect("tcp://"+g.addr("public")))
	all.Go(func() {
		for i := range lossMessages {
			if _, err := push.SendMessage("head", "", i); err != nil {
				t.Errorf("push %d: %v", i, err)
				return
			}
		}
	})
	all.Go(func() {
		for i := range lossMessages {
			m, err := pull.RecvMessage(0)
			if err != nil || len(m) != 3 || m[2] != fmt.Sprint(i) {
				t.Errorf("message %d came as %q, %v", i, m, err)
				return
			}
		}
	})
	for i := range lossPairs {
		client := zmqSocket(t, zmq.DEALER)
		must(t, client.SetRcvtimeo(lossWait), client.Connect("tcp://"+g.addr("pairs")))
		all.Go(func() {
			if err := askInOrder(client, fmt.Sprintf("client-%d", i), lossRequests); err != nil {
				t.Error(err)
			}
		})
	}
	var replies atomic.Int64
	for i := range lossStreams {
		all.Go(func() {
			if err := pingPong(t.Context(), g.addr("public"), 100+i, lossCalls, &replies); err != nil {
				t.Errorf("stream %d: %v", i, err)
			}
		})
	}
	all.Wait()
	in, out := n.dropped()
	if in == 0 || out == 0 {
		t.Errorf("%d packets to the gateway and %d from it were lost: nothing was tested", in, out)
	}
	if pairs := g.metric("gateway_pair_paired_total"); pairs != lossPairs {
		t.Errorf("%v pairs for %d clients", pairs, lossPairs)
	}
	t.Logf("figure: %d %% of packets lost, %d to the gateway and %d from it; %d messages, %d paired requests and %d replies on streams in %.1f s, each as sent",
		lossPercent, in, out, lossMessages, lossPairs*lossRequests, replies.Load(), time.Since(start).Seconds())
}

// pingPong has a stream of its own connection whose replies are of a size that no other stream asks for.
func pingPong(ctx context.Context, addr string, size, rounds int, replies *atomic.Int64) error {
	ctx, cancel := context.WithTimeout(ctx, lossWait)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for range rounds {
		if err := stream.Send(&testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: int32(size)}}}); err != nil {
			return err
		}
		reply, err := stream.Recv()
		if err != nil {
			return err
		}
		if got := len(reply.GetPayload().GetBody()); got != size {
			return fmt.Errorf("a reply has %d bytes, want %d", got, size)
		}
		replies.Add(1)
	}
	return stream.CloseSend()
}
