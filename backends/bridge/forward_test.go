package bridge

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"gateway/internal/zmtp"
)

// TestEightStepsOfAMessageThroughAProxy follows a question of a REQ to a REP and its answer back, frame by frame, as it is
// described in "What differentiates connected peers on a ZMTP point of view ?" (zeromq-dev, 10 February 2014). A DEALER
// shows the frames that a REQ hides, a ROUTER those that a REP handles.
func TestEightStepsOfAMessageThroughAProxy(t *testing.T) {
	server, endpoint := bound(t, zmtp.ROUTER)
	in := startInlet(t, zmtp.ROUTER, Plan{Forward: []Upstream{{Name: "server", Endpoints: []string{endpoint}}}})
	client, err := zmtp.Dial(testContext(t), "tcp", in.endpoint[len("tcp://"):], zmtp.Options{SocketType: zmtp.REQ, Identity: []byte("client 1")})
	must(t, err)
	defer client.Close()

	must(t, client.Send(t.Context(), zmtp.NewMessage(nil, []byte("request")))) // 1. client 1 sends: '' 'request'
	// 2. the proxy receives: <client 1> '' 'request'
	// 3. the proxy sends:    <client 1> '' 'request'
	got := server.recv() // 4. the server receives: <proxy> <client 1> '' 'request'
	want(t, got[1:], "client 1", "", "request")
	proxy := got[0]
	server.send(proxy, "client 1", "", "reply") // 5. the server replies: <proxy> <client 1> '' 'reply'
	// 6. the proxy receives: <client 1> '' 'reply'
	// 7. the proxy sends:    <client 1> '' 'reply'
	m := &zmtp.Message{}
	must(t, client.Recv(m)) // 8. client 1 receives: '' 'reply'
	if m.Len() != 2 || len(m.Part(0)) > 0 || string(m.Part(1)) != "reply" {
		t.Errorf("client 1 received %q", m.Parts())
	}
}

func TestForwardedRequestsFindTheirWayBack(t *testing.T) {
	rep1, endpoint1 := bound(t, zmtp.REP)
	rep2, endpoint2 := bound(t, zmtp.REP)
	for i, rep := range []peer{rep1, rep2} {
		answering(t, rep, func(frames []string) []string { return append(frames, fmt.Sprint("from ", i)) })
	}
	plan := Plan{Forward: []Upstream{
		{Name: "one", Endpoints: []string{endpoint1}, Weight: 3}, {Name: "two", Endpoints: []string{endpoint2}, Weight: 1},
	}}
	in := startInlet(t, zmtp.REP, plan)
	count := map[string]int{}
	var clients []peer
	for range 4 {
		clients = append(clients, connected(t, zmtp.REQ, in.endpoint))
	}
	ask := func(rounds int) {
		for i := range rounds {
			for j, req := range clients {
				question := fmt.Sprint(i, "/", j)
				req.send(question, "")
				got := req.recv()
				want(t, got[:2], question, "")
				count[got[2]]++
			}
		}
	}
	ask(25)
	if count["from 0"] != 75 || count["from 1"] != 25 {
		t.Errorf("weights 3 to 1 gave %v", count)
	}
	plan.Forward = []Upstream{{Name: "two", Endpoints: []string{endpoint2}}}
	must(t, in.SetPlan(&plan))
	clear(count)
	ask(5)
	if count["from 1"] != 20 {
		t.Errorf("the new plan gave %v", count)
	}
}

func TestForwardedPushAndPublications(t *testing.T) {
	pull, endpoint := bound(t, zmtp.PULL)
	in := startInlet(t, zmtp.PULL, Plan{Forward: []Upstream{{Name: "sink", Endpoints: []string{endpoint}}}})
	push := connected(t, zmtp.PUSH, in.endpoint)
	for i := range 100 {
		push.send(fmt.Sprint(i), "", "x")
	}
	for i := range 100 {
		want(t, pull.recv(), fmt.Sprint(i), "", "x")
	}

	pub, endpoint := bound(t, zmtp.PUB)
	in = startInlet(t, zmtp.PUB, Plan{Forward: []Upstream{{Name: "source", Endpoints: []string{endpoint}}}})
	sub := connected(t, zmtp.SUB, in.endpoint)
	must(t, sub.Subscribe([]byte("a")))
	got := make(chan []string, 1)
	go func() { got <- sub.recv() }()
	for {
		pub.send("b", "never")
		pub.send("a", "heard")
		select {
		case frames := <-got:
			want(t, frames, "a", "heard")
			return
		case <-time.After(time.Millisecond): // a subscription takes its time to arrive
		}
	}
}

func TestForwardedRequestWaitsForItsService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	rep, endpoint := boundTo(t, listenUnix(t, path), zmtp.REP)
	rep.leave()
	in := startInlet(t, zmtp.REP, Plan{Forward: []Upstream{{Name: "service", Endpoints: []string{endpoint}}}})
	req := connected(t, zmtp.REQ, in.endpoint)
	req.send("early")
	again, _ := boundTo(t, listenUnix(t, path), zmtp.REP)
	answering(t, again, func(frames []string) []string { return frames })
	want(t, req.recv(), "early")
}

func TestForwardedRequestThatWaitsGoesByTheNewPlan(t *testing.T) {
	rep, endpoint := bound(t, zmtp.REP)
	answering(t, rep, func(frames []string) []string { return frames })
	in := startInlet(t, zmtp.REP, Plan{Forward: []Upstream{{Name: "service", Endpoints: []string{"tcp://127.0.0.1:1"}}}})
	req := connected(t, zmtp.REQ, in.endpoint)
	req.send("early")
	eventually(t, "the request has come", func() bool { return counterValue(t, in.counts.in) == 1 })
	must(t, in.SetPlan(&Plan{Forward: []Upstream{{Name: "service", Endpoints: []string{endpoint}}}}))
	want(t, req.recv(), "early")
}
