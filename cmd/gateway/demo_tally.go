package main

import (
	"fmt"
	"sync"

	"gateway/demo/peers"
)

// The demo's servers.
const (
	demoPull    = "pull"
	demoGreeter = "greeter"
)

// tally counts what the demo's clients sent and what became of it.
type tally struct {
	mu      sync.Mutex
	clients []*clientCount
}

type clientCount struct {
	name, is string
	calls    bool // each message must be answered too
	sent     int
	arrived  int // told by the server
	answered int
	last     int // the last number that arrived; a PUSH must arrive in order
	astray   int // arrived twice, out of order, or without having been sent
}

func newTally(clients []demoClient) *tally {
	t := &tally{}
	for _, c := range clients {
		t.clients = append(t.clients, &clientCount{name: c.name, is: c.is, calls: c.is != zmqPush})
	}
	return t
}

func (t *tally) add(e peers.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	who := e.Peer
	if e.Kind == peers.Received {
		who = e.From
	}
	for _, c := range t.clients {
		if c.name == who {
			c.add(e)
		}
	}
}

func (c *clientCount) add(e peers.Event) {
	switch e.Kind {
	case peers.Sent:
		c.sent++
	case peers.Answered:
		c.answered++
	case peers.Received:
		if !c.calls && e.Seq <= c.last {
			c.astray++
			return
		}
		c.arrived++
		c.last = e.Seq
	}
}

// complete tells whether everything that c sent arrived, once. A call that had to be repeated may arrive more than once.
func (c *clientCount) complete() bool {
	if c.calls {
		return c.answered == c.sent && c.arrived >= c.sent
	}
	return c.arrived == c.sent && c.astray == 0
}

// rows is what the summary shows.
func (t *tally) rows() []clientCount {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := make([]clientCount, len(t.clients))
	for i, c := range t.clients {
		rows[i] = *c
	}
	return rows
}

// verdict sums up, and tells whether everything that was sent arrived.
func (t *tally) verdict() (text string, complete bool) {
	messages, calls, missing := 0, 0, 0
	complete = true
	for _, c := range t.rows() {
		arrived := c.arrived
		if c.calls {
			arrived = min(c.answered, c.arrived)
		}
		missing += max(0, c.sent-arrived)
		if c.is == grpcCalls || c.is == grpcStream {
			calls += c.sent
		} else {
			messages += c.sent
		}
		complete = complete && c.complete()
	}
	switch {
	case complete:
		return fmt.Sprintf("Everything that was sent arrived: %d ZeroMQ messages and %d gRPC calls over one port.", messages, calls), true
	case missing == 0:
		return "Messages arrived twice or out of order: the gateway or a peer is broken.", false
	}
	return fmt.Sprintf("%d of %d messages and calls are missing: what a peer lost it told above.", missing, messages+calls), false
}
