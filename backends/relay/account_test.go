package relay

import (
	"fmt"
	"io"
	"net"
	"testing"
)

// arrived is a connection that knows where it came in.
type arrived struct{ net.Conn }

func (arrived) Listener() string { return "public" }
func (arrived) Protocol() string { return "zmtp" }

// startFlow starts a relay of a flow; what is written to the client comes out at the worker.
func startFlow(t *testing.T, g *Group, f Flow) (client, worker net.Conn, ended chan Stats) {
	t.Helper()
	client, a := net.Pipe()
	worker, b := net.Pipe()
	ended = make(chan Stats, 1)
	g.RelayFlow(f, a, b, Limits{}, func(s Stats, _ error) { ended <- s })
	t.Cleanup(func() {
		client.Close()
		worker.Close()
	})
	return client, worker, ended
}

func TestFlowTellsWhatOpenAndEndedRelaysHaveCarried(t *testing.T) {
	var g Group
	f := FlowOf(arrived{}, "tcp://w:1")
	for n := range 2 {
		client, worker, ended := startFlow(t, &g, f)
		go client.Write([]byte("hello"))
		if _, err := io.ReadFull(worker, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		want := FlowStatus{Flow{"public", "zmtp", "tcp://w:1"}, 1, int64(n + 1), int64(5 * (n + 1)), 0}
		eventually(t, fmt.Sprintf("the open relay is told: %+v", want), func() bool { return fmt.Sprint(g.Flows()) == fmt.Sprint([]FlowStatus{want}) })
		client.Close()
		worker.Close()
		<-ended
		want.Open = 0
		eventually(t, fmt.Sprintf("the ended relay is told: %+v", want), func() bool { return fmt.Sprint(g.Flows()) == fmt.Sprint([]FlowStatus{want}) })
	}
}

func TestFlowsOfManyTargetsStayBounded(t *testing.T) {
	var g Group
	client, _, _ := startFlow(t, &g, Flow{Target: "stays"})
	for n := range 2 * flowsMax {
		g.enter(terms{Flow{Target: fmt.Sprint("worker ", n)}, Limits{}}).open = 0
	}
	all := g.Flows()
	if len(all) > flowsMax || all[0].Target != "stays" || all[0].Open != 1 {
		t.Errorf("%d flows, the first is %+v", len(all), all[0])
	}
	for n := range 2 * flowsMax {
		g.enter(terms{Flow{Target: fmt.Sprint("busy ", n)}, Limits{}})
	}
	if all = g.Flows(); len(all) > flowsMax+1 || all[0].Target != "" || all[0].Open < flowsMax {
		t.Errorf("%d flows, the first is %+v", len(all), all[0])
	}
	client.Close()
}
