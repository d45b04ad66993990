package gateway

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"gateway/sniff"
)

// flowsMax bounds the flows that are kept account of.
const flowsMax = 512

// Flow is a way that connections take from a listener to what serves them.
type Flow struct {
	Listener string
	Protocol string
	To       string // a block's name, ServerGRPC, ServerHTTP, or Held
}

// Held is where ZMTP clients are that no block takes.
const Held = "held"

// FlowStatus is what a flow has carried.
type FlowStatus struct {
	Flow
	Open    int64 // connections that have not ended
	Started int64 // all there were
	In, Out int64 // bytes from clients and to them
}

// flow keeps the account of a Flow.
type flow struct {
	Flow
	open, started, in, out atomic.Int64
}

// flows are those of all connections but the ones that a Carrier takes.
type flows struct {
	mu  sync.Mutex
	all map[Flow]*flow
}

// enter counts a connection. Where there are too many flows one without connections makes place; if all have some, what comes
// is counted without a name.
func (f *flows) enter(key Flow) *flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.all[key]
	if one == nil && len(f.all) >= flowsMax && !f.forget() {
		key = Flow{}
		one = f.all[key]
	}
	if one == nil {
		one = &flow{Flow: key}
		if f.all == nil {
			f.all = map[Flow]*flow{}
		}
		f.all[key] = one
	}
	one.open.Add(1)
	one.started.Add(1)
	return one
}

// forget drops a flow without connections. It reports false if there is none.
func (f *flows) forget() bool {
	for key, one := range f.all {
		if one.open.Load() == 0 {
			delete(f.all, key)
			return true
		}
	}
	return false
}

// Flows tells what went where, but for connections that a Carrier took.
func (s *Server) Flows() []FlowStatus {
	s.flows.mu.Lock()
	defer s.flows.mu.Unlock()
	all := make([]FlowStatus, 0, len(s.flows.all))
	for _, f := range s.flows.all {
		all = append(all, FlowStatus{f.Flow, f.open.Load(), f.started.Load(), f.in.Load(), f.out.Load()})
	}
	slices.SortFunc(all, func(a, b FlowStatus) int {
		return cmp.Or(cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.To, b.To))
	})
	return all
}

// counted has the bytes of a connection counted, and its flow kept account of.
func (v *visit) counted(c *sniff.Conn, to string) *countedConn {
	v.flow = v.server.flows.enter(Flow{v.listener, v.protocol, to})
	counted := &countedConn{Conn: c.Conn, flow: v.flow}
	ahead := int64(len(c.Prefix()))
	counted.in.Store(ahead)
	v.flow.in.Add(ahead)
	c.Conn = counted
	return counted
}
