package bridge

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"google.golang.org/grpc"

	"gateway/internal/zmtp"
	demov1 "gateway/proto/demo/v1"
)

func TestStopEndsTheStreamOfPushedMessagesWell(t *testing.T) {
	g := &greeter{}
	in := startInlet(t, zmtp.PULL, Plan{Method: clientHellos, Stream: true, Calls: startGreeter(t, g)})
	push := connected(t, zmtp.PUSH, in.endpoint)
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprint(i))
		push.send(request(names[i]))
	}
	eventually(t, "all have come", func() bool { return counterValue(t, in.counts.in) == float64(len(names)) })
	if cut := in.Shutdown(testContext(t)); cut != 0 {
		t.Errorf("%d cut", cut)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Equal(g.poured, names) {
		t.Errorf("the stream of %d messages ended with %d", len(names), len(g.poured))
	}
}

// TestStopLetsTheServiceAnswerADealersStream has a service that answers once it has all that the client sends.
func TestStopLetsTheServiceAnswerADealersStream(t *testing.T) {
	const messages = 10
	came := make(chan struct{}, messages)
	in := startInlet(t, zmtp.ROUTER, Plan{Method: bidiHellos, Stream: true, Calls: startGreeter(t, &greeter{
		bidi: func(s grpc.BidiStreamingServer[demov1.HelloRequest, demov1.HelloReply]) error {
			var names []string
			for {
				r, err := s.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return err
				}
				names = append(names, r.Name)
				came <- struct{}{}
			}
			for _, name := range names {
				if err := s.Send(hello(name)); err != nil {
					return err
				}
			}
			return nil
		},
	})})
	dealer := connected(t, zmtp.DEALER, in.endpoint)
	for i := range messages {
		dealer.send(request(fmt.Sprint(i)))
	}
	for range messages {
		<-came
	}
	done := make(chan int, 1)
	go func() { done <- in.Shutdown(testContext(t)) }()
	for i := range messages {
		want(t, dealer.recv(), reply(fmt.Sprint(i)))
	}
	want(t, dealer.recv(), "", "")
	if cut := <-done; cut != 0 {
		t.Errorf("%d cut", cut)
	}
}
