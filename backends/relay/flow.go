package relay

import (
	"cmp"
	"net"
	"slices"
)

// flowsMax bounds the flows that a group keeps account of.
const flowsMax = 512

// Flow is a way that relays take through the gateway: all that have it are shown as one.
type Flow struct {
	Listener string // where the client came in
	Protocol string // what it speaks
	Target   string // where it was connected to
}

// FlowOf is the flow of a client that is relayed to a target: the listener and the protocol are what the connection tells.
func FlowOf(client net.Conn, target string) Flow {
	f := Flow{Target: target}
	if c, ok := client.(interface {
		Listener() string
		Protocol() string
	}); ok {
		f.Listener, f.Protocol = c.Listener(), c.Protocol()
	}
	return f
}

// FlowStatus is what a flow has carried.
type FlowStatus struct {
	Flow
	Open       int   // relays that have not ended
	Started    int64 // all there were
	AToB, BToA int64 // bytes delivered, those of relays that have not ended included
}

// terms are what relays that share a flow agree on.
type terms struct {
	flow   Flow
	limits Limits
}

// flow keeps the account of a Flow, and the limits: a relay needs no memory of its own for either. The group's mutex guards
// it, but for the limits, which do not change.
type flow struct {
	terms
	open    int
	started int64
	moved   [2]int64 // by relays that have ended
}

// enter finds the flow of a relay that is about to start. Where there are too many, one without relays makes place; if all
// have some, what comes is shown without a name.
func (g *Group) enter(t terms) *flow {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.last
	if f == nil || f.terms != t {
		f = g.flows[t]
	}
	if f == nil && len(g.flows) >= flowsMax && !g.forgetFlow() {
		t.flow = Flow{}
		f = g.flows[t]
	}
	if f == nil {
		f = &flow{terms: t}
		if g.flows == nil {
			g.flows = map[terms]*flow{}
		}
		g.flows[t] = f
	}
	g.last = f
	f.open++
	f.started++
	return f
}

// forgetFlow drops a flow that has no relay. It reports false if there is none.
func (g *Group) forgetFlow() bool {
	for t, f := range g.flows {
		if f.open == 0 {
			delete(g.flows, t)
			g.last = nil // it may be this one
			return true
		}
	}
	return false
}

// leave accounts for a relay that has ended.
func (f *flow) leave(l *link) {
	f.open--
	f.moved[aToB] += l.moved[aToB].Load()
	f.moved[bToA] += l.moved[bToA].Load()
}

// Flows tells what each flow has carried. It looks at every relay, so that none has to tell while it moves bytes.
func (g *Group) Flows() []FlowStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make(map[Flow]*FlowStatus, len(g.flows))
	for t, f := range g.flows { // with other limits it is the same flow
		s := all[t.flow]
		if s == nil {
			s = &FlowStatus{Flow: t.flow}
			all[t.flow] = s
		}
		s.Open += f.open
		s.Started += f.started
		s.AToB += f.moved[aToB]
		s.BToA += f.moved[bToA]
	}
	for l := g.links; l != nil; l = l.next {
		s := all[l.flow.terms.flow]
		s.AToB += l.moved[aToB].Load()
		s.BToA += l.moved[bToA].Load()
	}
	sorted := make([]FlowStatus, 0, len(all))
	for _, s := range all {
		sorted = append(sorted, *s)
	}
	slices.SortFunc(sorted, func(a, b FlowStatus) int {
		return cmp.Or(cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Target, b.Target))
	})
	return sorted
}
