//go:build libzmq

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	zmq "github.com/pebbe/zmq4"
)

// TestManyClientsAndWorkersDoNotCross has as many clients as workers, all at once: every reply comes back to the client that
// asked, whole and in order, and from one worker for as long as the client is connected.
func TestManyClientsAndWorkersDoNotCross(t *testing.T) {
	authenticate(t)
	for _, m := range securities(newCurveKeys(t)) {
		for _, gate := range []string{"", fmt.Sprintf("match { mechanism = [%q] }", m.name)} {
			name := m.name
			if gate != "" {
				name += "Gated"
			}
			t.Run(name, func(t *testing.T) {
				g := pairGateway(t, "", gate)
				for i := range pairedPeers {
					zmqEcho(t, zmq.DEALER, fmt.Sprintf("worker-%d", i), func(s *zmq.Socket) {
						m.worker(t, s)
						must(t, s.Connect(g.door()))
					})
				}
				var all sync.WaitGroup
				for i := range pairedPeers {
					client := zmqSocket(t, zmq.DEALER)
					m.client(t, client)
					must(t, client.Connect("tcp://"+g.addr("public")))
					all.Go(func() {
						if err := askInOrder(client, fmt.Sprintf("client-%d", i), pairedRequests); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if n := g.metric("gateway_pair_paired_total"); n != pairedPeers {
					t.Errorf("%v pairs for %d clients", n, pairedPeers)
				}
			})
		}
	}
}

// askInOrder sends multipart requests, some in flight at a time, and wants each answer in its turn.
func askInOrder(client *zmq.Socket, who string, requests int) error {
	const inFlight = 10
	filler := strings.Repeat("f", 500)
	var worker string
	for i := range requests + inFlight {
		if i < requests {
			if _, err := client.SendMessage(who, i, "", filler, fmt.Sprintf("%s/%d", who, i)); err != nil {
				return fmt.Errorf("%s: send %d: %w", who, i, err)
			}
		}
		answered := i - inFlight
		if answered < 0 {
			continue
		}
		m, err := client.RecvMessage(0)
		if err != nil {
			return fmt.Errorf("%s: after %d of %d answers: %w", who, answered, requests, err)
		}
		tag, echo, _ := strings.Cut(m[len(m)-1], " ")
		if worker == "" {
			worker = tag
		}
		want := fmt.Sprintf("%s/%d", who, answered)
		if len(m) != 5 || m[0] != who || m[3] != filler || echo != want || tag != worker {
			return fmt.Errorf("%s got %.200q of %s, want %s of %s", who, m, tag, want, worker)
		}
	}
	return nil
}

// pairPattern is the pattern that patterns lacks.
var pairPattern = pattern{"Pair", zmq.PAIR, zmq.PAIR, false, func(t *testing.T, client, worker *zmq.Socket) {
	for _, m := range messages {
		send(t, client, m...)
		want(t, recv(t, worker), m...)
		send(t, worker, m...)
		want(t, recv(t, client), m...)
	}
}}

// TestEveryPatternUnderEveryMechanismIsPaired runs each pattern, workers connecting in, behind a gate and without one.
func TestEveryPatternUnderEveryMechanismIsPaired(t *testing.T) {
	authenticate(t)
	var config strings.Builder
	config.WriteString("listen \"127.0.0.1:0\" { name = \"public\" }\nadmin { listen = \"127.0.0.1:0\" }\n")
	type scene struct {
		pattern
		security
		block, source string
	}
	var scenes []scene
	for _, m := range securities(newCurveKeys(t)) {
		for _, gated := range []bool{false, true} {
			for _, p := range append([]pattern{pairPattern}, patterns...) {
				if p.curve {
					continue // the mechanism is ours to choose
				}
				s := scene{p, m, fmt.Sprintf("%s-%s-%v", m.name, p.name, gated), fmt.Sprintf("127.0.2.%d", len(scenes)+1)}
				gate := ""
				if gated {
					gate = fmt.Sprintf("\n    mechanism = [%q]", m.name)
				}
				fmt.Fprintf(&config, "relay %q {\n  match {\n    source = [\"%s/32\"]%s\n  }\n  workers { listen = \"127.0.0.1:0\" }\n}\n", s.block, s.source, gate)
				scenes = append(scenes, s)
			}
		}
	}
	g := startGateway(t, config.String())
	t.Run("at once", func(t *testing.T) {
		for _, s := range scenes {
			t.Run(s.block, func(t *testing.T) {
				t.Parallel()
				worker := zmqSocket(t, s.pattern.worker)
				s.security.worker(t, worker)
				must(t, worker.Connect("tcp://"+g.addr(s.block+"/workers")))
				client := zmqSocket(t, s.pattern.client)
				s.security.client(t, client)
				must(t, client.Connect(fmt.Sprintf("tcp://%s:0;%s", s.source, g.addr("public"))))
				s.run(t, client, worker)
			})
		}
	})
}
