//go:build libzmq

package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// answerWait is how long askUntilServed waits before it asks again.
const answerWait = 100 * time.Millisecond

// askUntilServed sends numbered requests until one is answered, as a client does whose last ones were in flight when its worker
// died. It gives the tag of who answered, and how many got no answer.
func askUntilServed(t *testing.T, client *zmq.Socket) (tag string, lost int) {
	t.Helper()
	must(t, client.SetRcvtimeo(answerWait))
	defer client.SetRcvtimeo(zmqTimeout)
	for deadline := time.Now().Add(zmqTimeout); time.Now().Before(deadline); lost++ {
		text := fmt.Sprintf("request %d", lost)
		send(t, client, text)
		for {
			m, err := client.RecvMessage(0)
			if err != nil {
				break
			}
			if tag, echo, _ := strings.Cut(m[0], " "); echo == text {
				return tag, lost
			}
		}
	}
	t.Fatal("no worker answers any more")
	return "", 0
}

// askOnce sends one request, which nothing may lose, and gives the tag of who answered it.
func askOnce(t *testing.T, client *zmq.Socket) (tag string) {
	t.Helper()
	send(t, client, "once")
	for { // before it may come late answers of others
		tag, echo, _ := strings.Cut(recv(t, client)[0], " ")
		if echo == "once" {
			return tag
		}
	}
}

func curveClient(t *testing.T, keys curveKeys, endpoint string) *zmq.Socket {
	t.Helper()
	client := zmqSocket(t, zmq.DEALER)
	keys.client(t, client)
	must(t, client.Connect(endpoint))
	return client
}

// within fails unless what happens does so in time.
func within(t *testing.T, limit time.Duration, what string, happens func()) {
	t.Helper()
	start := time.Now()
	happens()
	if took := time.Since(start); took > limit {
		t.Errorf("%s took %v, want at most %v", what, took, limit)
	}
}

func TestClientOfKilledWorkerMeetsAnother(t *testing.T) {
	keys := newCurveKeys(t)
	g := pairGateway(t, "", curveOnly)
	orders := func(tag string) echoOrders { return echoOrders{Tag: tag, Endpoint: g.door(), Keys: keys.text()} }
	workers := map[string]*process{"one": startPeer(t, orders("one"))}
	g.parked(1)
	client := curveClient(t, keys, "tcp://"+g.addr("public"))
	if got := askOnce(t, client); got != "one" {
		t.Fatalf("served by %q", got)
	}
	workers["two"] = startPeer(t, orders("two"))
	g.parked(1)
	workers["one"].kill()
	within(t, freedWithin, "the client's way to the second worker", func() {
		g.waitLog(`result="worker (reset|eof|write_failed)"`, freedWithin)
		if tag, _ := askUntilServed(t, client); tag != "two" {
			t.Errorf("served by %q", tag)
		}
	})
}

func TestWorkerOfKilledClientIsFree(t *testing.T) {
	keys := newCurveKeys(t)
	g := pairGateway(t, "", curveOnly)
	zmqEcho(t, zmq.DEALER, "worker", func(s *zmq.Socket) {
		keys.worker(t, s)
		must(t, s.Connect(g.door()))
	})
	client := startPeer(t, echoOrders{Client: true, Endpoint: "tcp://" + g.addr("public"), Keys: keys.text()})
	if got := client.ask("hello", zmqTimeout); got != "worker hello" {
		t.Fatalf("got %q", got)
	}
	client.kill()
	within(t, freedWithin, "the worker's way back", func() { g.parked(1) })
	next := curveClient(t, keys, "tcp://"+g.addr("public"))
	if got := askOnce(t, next); got != "worker" {
		t.Errorf("served by %q", got)
	}
}

func TestClientOfKilledAgentMeetsAnother(t *testing.T) {
	keys := newCurveKeys(t)
	g := pairGateway(t, "agents = true", curveOnly)
	agents := map[string]*process{}
	for _, name := range []string{"one", "two"} {
		endpoint := boundEcho(t, name, func(s *zmq.Socket) { keys.worker(t, s) })
		agents[name] = startAgent(t, g, name, endpoint, "-slots", "2")
	}
	g.parked(4)
	client := curveClient(t, keys, "tcp://"+g.addr("public"))
	first, _ := askUntilServed(t, client)
	agents[first].kill()
	within(t, freedWithin, "the client's way to the second agent", func() {
		if tag, _ := askUntilServed(t, client); tag == first {
			t.Errorf("served by %q, which was killed", tag)
		}
	})
	g.parked(1)
}

// A stopped agent lets its clients end first.
func TestDrainingAgentServesItsClientsToTheEnd(t *testing.T) {
	g := pairGateway(t, "agents = true")
	a := startAgent(t, g, "one", boundEcho(t, "one", func(*zmq.Socket) {}), "-slots", "2")
	client := zmqSocket(t, zmq.DEALER)
	must(t, client.Connect("tcp://"+g.addr("public")))
	askUntilServed(t, client)
	g.parked(1)
	must(t, a.cmd.Process.Signal(syscall.SIGTERM))
	g.parked(0)
	if got := askOnce(t, client); got != "one" {
		t.Errorf("served by %q while draining", got)
	}
	must(t, client.Close())
	must(t, a.cmd.Wait())
	if !strings.Contains(a.log.String(), "msg=stopped cut=0") {
		t.Errorf("the agent's log:\n%s", a.log.tail(10))
	}
}

// boundEcho is a worker that binds.
func boundEcho(t *testing.T, tag string, prepare func(*zmq.Socket)) (endpoint string) {
	t.Helper()
	zmqEcho(t, zmq.ROUTER, tag, func(s *zmq.Socket) {
		prepare(s)
		must(t, s.Bind("tcp://127.0.0.1:*"))
		var err error
		endpoint, err = s.GetLastEndpoint()
		must(t, err)
	})
	return strings.TrimRight(endpoint, "\x00")
}
