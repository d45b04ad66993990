//go:build libzmq

package e2e

import (
	"fmt"
	"strings"
	"testing"

	zmq "github.com/pebbe/zmq4"
)

const (
	affinitySources    = 20
	affinityAgents     = 5
	affinityReconnects = 200
)

// meets connects from a source address, and tells which worker answered.
func meets(t *testing.T, g *gatewayProcess, source int) string {
	t.Helper()
	return meetsAt(t, g.addr("public"), source)
}

func meetsAt(t *testing.T, addr string, source int) string {
	t.Helper()
	client := zmqSocket(t, zmq.DEALER)
	must(t, client.Connect(fmt.Sprintf("tcp://127.0.5.%d:0;%s", source+1, addr)))
	send(t, client, "who?")
	tag := recv(t, client)[0]
	must(t, client.Close())
	return tag
}

func TestSameClientMeetsTheSameAgent(t *testing.T) {
	gateways := []*gatewayProcess{pairGateway(t, "agents = true", `affinity = "source"`), pairGateway(t, "agents = true", `affinity = "source"`)}
	workers := make([]string, affinityAgents)
	agents := make([][]*process, affinityAgents)
	start := func(i int) {
		for _, g := range gateways {
			agents[i] = append(agents[i], startAgent(t, g, fmt.Sprintf("agent-%d", i), workers[i], "-slots", "4"))
		}
	}
	for i := range affinityAgents {
		workers[i] = boundEcho(t, fmt.Sprintf("agent-%d", i), func(*zmq.Socket) {})
		start(i)
	}
	for _, g := range gateways {
		g.parked(4 * affinityAgents)
	}

	home, used := map[int]string{}, map[string]bool{}
	for i := range affinityReconnects {
		source := i % affinitySources
		tag := meets(t, gateways[i/affinitySources%2], source) // by turns: both choose alike
		if home[source] == "" {
			home[source] = tag
		}
		used[tag] = true
		if tag != home[source] {
			t.Fatalf("source %d met %s, before %s", source, tag, home[source])
		}
	}
	if len(used) < affinityAgents-1 {
		t.Errorf("%d of %d agents are used", len(used), affinityAgents)
	}

	// One agent goes: its clients move, each to its own first fallback, and nobody else does.
	lost := home[0]
	var number int
	_, err := fmt.Sscanf(lost, "agent-%d", &number)
	must(t, err)
	for _, a := range agents[number] {
		a.kill()
	}
	for _, g := range gateways {
		g.parked(4 * (affinityAgents - 1))
	}
	for source := range affinitySources {
		first, second := meets(t, gateways[0], source), meets(t, gateways[1], source)
		if first != second || first == lost || home[source] != lost && first != home[source] {
			t.Errorf("source %d, at home with %s, met %s and %s when %s was gone", source, home[source], first, second, lost)
		}
	}
	start(number)
	for _, g := range gateways {
		g.parked(4 * affinityAgents)
	}
	for source := range affinitySources {
		if tag := meets(t, gateways[source%2], source); tag != home[source] {
			t.Errorf("source %d did not come back from %s to %s", source, tag, home[source])
		}
	}
}

// TestClientsBehindAProxyMeetTheirOwnAgents has HAProxy in front: affinity goes by the clients' addresses, not by the proxy's.
func TestClientsBehindAProxyMeetTheirOwnAgents(t *testing.T) {
	config := strings.Replace(pairConfig("agents = true", `affinity = "source"`), `{ name = "public" }`,
		"{\n  name = \"public\"\n  proxy_protocol { trust = [\"127.0.0.1/32\"] }\n}", 1)
	g := startGateway(t, config)
	front := haproxy(t, fmt.Sprintf("listen in\n mode tcp\n bind fd@%%d\n server gateway %s send-proxy-v2\n", g.addr("public")))
	for i := range affinityAgents {
		startAgent(t, g, fmt.Sprintf("agent-%d", i), boundEcho(t, fmt.Sprintf("agent-%d", i), func(*zmq.Socket) {}), "-slots", "4")
	}
	g.parked(4 * affinityAgents)
	home, used := map[int]string{}, map[string]bool{}
	for i := range 3 * affinitySources {
		source := i % affinitySources
		tag := meetsAt(t, front, source)
		if home[source] == "" {
			home[source] = tag
		}
		used[tag] = true
		if tag != home[source] {
			t.Errorf("source %d met %s, before %s", source, tag, home[source])
		}
	}
	if len(used) < affinityAgents-1 {
		t.Errorf("%d of %d agents are used: all clients count as one", len(used), affinityAgents)
	}
}
