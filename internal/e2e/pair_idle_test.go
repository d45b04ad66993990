//go:build libzmq

package e2e

import (
	"fmt"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

const idleClients = 20

// Workers that wait longer than libzmq's handshake timer lets them come and go for ever. Whoever connects meanwhile is served,
// and tries again once at most; where workers are retired before that, never.
func TestClientsOfLongIdleWorkersAreServed(t *testing.T) {
	for _, retire := range []string{"0s", idleRetire} {
		t.Run("max_wait="+retire, func(t *testing.T) {
			t.Parallel()
			g := pairGateway(t, fmt.Sprintf("max_wait = %q", retire))
			for i := range idleClients {
				zmqEcho(t, zmq.DEALER, fmt.Sprint(i), func(s *zmq.Socket) {
					if idleHandshakeTimer != 0 {
						must(t, s.SetHandshakeIvl(idleHandshakeTimer))
					}
					must(t, s.Connect(g.door()))
				})
			}
			g.parked(idleClients)
			time.Sleep(idleFor) // what the test is about: a time in which nothing happens
			for range idleClients {
				client := zmqSocket(t, zmq.DEALER)
				must(t, client.Connect("tcp://"+g.addr("public")))
				if _, lost := askUntilServed(t, client); lost > idleLostMax {
					t.Errorf("a client waited for %d x %v", lost, answerWait)
				}
				time.Sleep(idlePace) // so that clients meet workers of every age
			}
			pairs := g.metric("gateway_pair_paired_total")
			t.Logf("figure: %v pairs for %d clients, %v retired", pairs, idleClients, g.metric("gateway_pair_retired_total"))
			if pairs > 2*idleClients || retire != "0s" && pairs != idleClients {
				t.Errorf("%v pairs for %d clients", pairs, idleClients)
			}
		})
	}
}
