package main

// What /status tells of the ways that connections take, and of those that were refused.

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"gateway/backends/relay"
	"gateway/internal/gateway"
	"gateway/internal/metrics"
	"gateway/sniff"
)

// flowStatus is one way that connections take: from a listener, by what they speak, to a block, and on to a target.
type flowStatus struct {
	Listener string `json:"listener"`
	Protocol string `json:"protocol"`
	Block    string `json:"block"`            // or "grpc", "http", "held"
	Target   string `json:"target,omitempty"` // of relays; where others go on to stands in grpc, sockjs and migration
	Open     int64  `json:"open"`
	Started  int64  `json:"started"`
	In       int64  `json:"in_bytes"`  // from clients
	Out      int64  `json:"out_bytes"` // to them
}

// flows tells what went where. Relays that earlier configurations named are not among them.
func (i *instance) flows(g *generation) []flowStatus {
	all := []flowStatus{}
	for _, r := range g.config.Relays {
		var relayed []relay.FlowStatus
		if b := g.relays[r.Name]; b != nil {
			relayed = b.Flows()
		} else if m := g.meetings[r.Name]; m != nil {
			relayed = m.Flows()
		}
		for _, f := range relayed {
			all = append(all, flowStatus{f.Listener, f.Protocol, r.Name, f.Target, int64(f.Open), f.Started, f.AToB, f.BToA})
		}
	}
	for _, f := range i.server.Flows() {
		served := f.To == gateway.ServerGRPC || f.To == gateway.ServerHTTP || f.To == gateway.Held || g.inlets[f.To] != nil
		if served || f.Open > 0 {
			all = append(all, flowStatus{Listener: f.Listener, Protocol: f.Protocol, Block: f.To, Open: f.Open, Started: f.Started, In: f.In, Out: f.Out})
		}
	}
	return all[:min(len(all), statusRowsMax)]
}

// refusedStatus is how many connections were turned away.
type refusedStatus struct {
	By     string `json:"by,omitempty"` // a listener's or a block's name
	Reason string `json:"reason"`
	Count  int64  `json:"count"`
}

// refusing gathers what counts those who were turned away: it is counted there, once.
func refusing(m *metrics.Metrics) prometheus.Gatherer {
	r := prometheus.NewRegistry()
	r.MustRegister(m.Refused, m.SniffSeconds, m.Pair.Refused, m.SockJS.Refused)
	return r
}

// unrecognised are the results of sniffing that turn a connection away, and are not counted elsewhere.
var unrecognised = []string{sniff.Unmatched.String(), sniff.TimedOut.String(), sniff.Closed.String()}

// refusals tells how many connections were turned away, and why; the most frequent first.
func (i *instance) refusals() (all []refusedStatus) {
	families, err := i.refusing.Gather()
	if err != nil {
		i.log.Debug("some metrics cannot be read", "error", err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			r := refusedStatus{Count: int64(m.GetCounter().GetValue())}
			for _, label := range m.GetLabel() {
				switch label.GetName() {
				case "listener", "block":
					r.By = label.GetValue()
				case "reason":
					r.Reason = label.GetValue()
				case "result":
					r.Reason = label.GetValue()
					r.Count = int64(m.GetHistogram().GetSampleCount())
				}
			}
			if recognised := m.Histogram != nil && !slices.Contains(unrecognised, r.Reason); r.Count > 0 && !recognised {
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, func(a, b refusedStatus) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.By, b.By), cmp.Compare(a.Reason, b.Reason))
	})
	return all[:min(len(all), statusRowsMax)]
}
