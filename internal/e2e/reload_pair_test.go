//go:build libzmq

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// TestReloadKeepsParkedWorkersAndQueuedClients reloads again and again, every third time a broken file, while workers wait for
// clients at one block and clients wait for workers at another.
func TestReloadKeepsParkedWorkersAndQueuedClients(t *testing.T) {
	config := func(variant int) string {
		return fmt.Sprintf(`
listen "127.0.0.1:0" {
  name            = "public"
  max_connections = %d
}
relay "queue" {
  match { source = ["127.0.1.0/24"] }
  workers { listen = "127.0.0.1:0" }
  wait = "5m"
}
relay "vault" {
  workers { listen = "127.0.0.1:0" }
}
admin { listen = "127.0.0.1:0" }
drain_timeout = "1s"
`, 20000+variant)
	}
	g := startGateway(t, config(0))
	addr := g.addr("public")
	for i := range queuedPeers {
		zmqEcho(t, zmq.DEALER, fmt.Sprintf("worker-%d", i), func(s *zmq.Socket) { must(t, s.Connect(g.door())) })
	}
	g.parked(queuedPeers)
	queued := make([]*zmq.Socket, queuedPeers)
	for i := range queued {
		queued[i] = zmqSocket(t, zmq.DEALER)
		must(t, queued[i].Connect("tcp://127.0.1.1:0;"+addr))
		send(t, queued[i], fmt.Sprintf("queued-%d", i))
	}
	waiting := func(n int) {
		t.Helper()
		eventually(t, zmqTimeout, fmt.Sprintf("%d clients wait", n), func() bool { return g.metric("gateway_pair_waiting") == float64(n) })
	}
	waiting(queuedPeers)

	start := time.Now()
	g.reloadAgainAndAgain(config)
	waiting(queuedPeers)
	g.parked(queuedPeers)
	if n := g.metric("gateway_accepted_total"); n != 2*queuedPeers {
		t.Errorf("%v connections came, want %d: somebody was cut, and came again", n, 2*queuedPeers)
	}
	for i := range queuedPeers { // each of those who waited is served now
		client := zmqSocket(t, zmq.DEALER)
		must(t, client.Connect("tcp://"+addr))
		text := fmt.Sprintf("late-%d", i)
		send(t, client, text)
		if got := recv(t, client)[0]; !strings.HasSuffix(got, " "+text) {
			t.Errorf("got %q for %q", got, text)
		}
	}
	door := "tcp://" + g.addr("queue/workers")
	for i := range queuedPeers {
		zmqEcho(t, zmq.DEALER, fmt.Sprintf("late-worker-%d", i), func(s *zmq.Socket) { must(t, s.Connect(door)) })
	}
	for i, client := range queued {
		if got, text := recv(t, client)[0], fmt.Sprintf("queued-%d", i); !strings.HasSuffix(got, " "+text) {
			t.Errorf("got %q for %q", got, text)
		}
	}
	t.Logf("figure: %d reloads in %.1f s over %d parked workers and %d queued clients, all served in the end",
		reloads, time.Since(start).Seconds(), queuedPeers, queuedPeers)
}

// reloadAgainAndAgain takes up one variant of a configuration after the other; every third is broken.
func (g *gatewayProcess) reloadAgainAndAgain(config func(variant int) string) {
	g.t.Helper()
	for i := 1; i <= reloads; i++ {
		want, text := http.StatusOK, config(i)
		if i%3 == 0 {
			want, text = http.StatusUnprocessableEntity, strings.Replace(text, "relay", "rely", 1)
		}
		g.replace(text)
		if code, body := g.post("/reload"); code != want {
			g.t.Fatalf("reload %d was answered %d %s", i, code, body)
		}
	}
}
