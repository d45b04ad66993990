//go:build libzmq

package e2e

import (
	"os/exec"
	"regexp"
	"testing"

	zmq "github.com/pebbe/zmq4"
)

// TestStatusShowsWorkersClientsAndPairs asks as a person does, with `gateway status`.
func TestStatusShowsWorkersClientsAndPairs(t *testing.T) {
	keys := newCurveKeys(t)
	g := pairGateway(t, "agents = true", curveOnly)
	waiting := curveClient(t, keys, "tcp://"+g.addr("public"))
	eventually(t, zmqTimeout, "the client waits", func() bool { return g.metric("gateway_pair_waiting") == 1 })
	show := func(exprs ...string) {
		t.Helper()
		out, err := exec.Command(binary, "status", "-admin", g.addr("admin")).CombinedOutput()
		must(t, err)
		for _, expr := range exprs {
			if !regexp.MustCompile(expr).Match(out) {
				t.Errorf("no %s in:\n%s", expr, out)
			}
		}
	}
	show(`parked 0 +waiting 1 +paired 0`, `(?m)^relays vault pairing clients\naddress +mechanism +waits\n127\.0\.0\.1:\d+ +CURVE +\d`)
	endpoint := boundEcho(t, "one", func(s *zmq.Socket) { keys.worker(t, s) })
	startAgent(t, g, "agent-one", endpoint, "-slots", "2")
	askUntilServed(t, waiting)
	g.parked(1)
	show(`parked 1 +waiting 0 +paired 1`, `agent-one +1 +1`, `127\.0\.0\.1:\d+ +agent-one +true +CURVE`,
		`(?m)^client +worker +name +since +in +out +handshake\n127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+ +agent-one .* done`)
	for _, sample := range []string{
		`gateway_pair_paired_total{block="vault"} 1`, `gateway_pair_open{block="vault"} 1`, `gateway_pair_wait_seconds_count{block="vault"} 1`,
	} {
		if !regexp.MustCompile(regexp.QuoteMeta(sample)).MatchString(g.get("/metrics")) {
			t.Errorf("no %s in the metrics", sample)
		}
	}
}
