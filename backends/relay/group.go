package relay

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Group is a set of relays that are counted, shown and ended together: those of a backend, say. The zero value is an empty
// group. A Group must not be copied.
type Group struct {
	mu     sync.Mutex
	links  *link // all that have not called done yet
	flows  map[terms]*flow
	last   *flow // that a relay was started in: the next one's is the same, as a rule
	live   int
	closed bool
	empty  chan struct{} // closed when live falls to 0; made by a Shutdown that waits

	portableOnly bool // for tests: no event loops
}

// link is what both engines keep of one relay.
type link struct {
	group      *Group
	prev, next *link

	engine interface {
		cancel() // ends the relay soon; any goroutine may call it, also after the end
		addrs() (a, b net.Addr)
	}
	done   func(Stats, error)
	flow   *flow // shared with others of the group
	course course
	watch  lookout
	moved  [2]atomic.Int64 // bytes delivered, by way
}

// total is what the watch looks at.
func (l *link) total() int64 { return l.moved[aToB].Load() + l.moved[bToA].Load() }

// finish reports the end. The engine calls it once, after it has closed both connections, some time ago.
func (l *link) finish(ago time.Duration) {
	l.done(Stats{
		AToB:   l.moved[aToB].Load(),
		BToA:   l.moved[bToA].Load(),
		First:  l.course.first,
		Reason: l.course.reason,
		Ago:    ago,
	}, l.course.err)
	l.group.remove(l)
}

// Relay is like the function Relay; the relay belongs to the group.
func (g *Group) Relay(a, b net.Conn, limits Limits, done func(Stats, error)) {
	g.RelayFlow(Flow{}, a, b, limits, done)
}

// RelayFlow is Relay for a relay that is shown as part of a flow.
func (g *Group) RelayFlow(f Flow, a, b net.Conn, limits Limits, done func(Stats, error)) {
	shared := g.enter(terms{f, limits.withDefaults()})
	aPrefix, a := detach(a)
	bPrefix, b := detach(b)
	if g.portableOnly || !startOnLoop(g, a, b, aPrefix, bPrefix, shared, done) {
		startPortable(g, a, b, bytes.Clone(aPrefix), bytes.Clone(bPrefix), shared, done) // its goroutines have them for longer
	}
}

// add enters a relay that is about to start; false means that the group is shut down already.
func (g *Group) add(l *link) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.group = g
	l.next = g.links
	if l.next != nil {
		l.next.prev = l
	}
	g.links = l
	g.live++
	return !g.closed
}

func (g *Group) remove(l *link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		g.links = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	}
	l.prev, l.next = nil, nil
	l.flow.leave(l)
	g.live--
	if g.live == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// Live tells how many relays of the group have not ended.
func (g *Group) Live() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.live
}

// Live is a relay that has not ended, as it stands.
type Live struct {
	A, B       net.Addr // the two peers; nil when it has just ended
	AToB, BToA int64    // bytes delivered so far
}

// Snapshot gives up to limit relays of the group, the youngest first.
func (g *Group) Snapshot(limit int) []Live {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Live, 0, max(0, min(limit, g.live)))
	for l := g.links; l != nil && len(all) < limit; l = l.next {
		a, b := l.engine.addrs()
		all = append(all, Live{A: a, B: b, AToB: l.moved[aToB].Load(), BToA: l.moved[bToA].Load()})
	}
	return all
}

// Shutdown waits until the group has no relay left, or until ctx is done. Then it cuts those that are left: nothing more is
// delivered than what was read before, both peers get FIN, and a second later at most both connections are closed. It
// returns, when every done has returned, how many it cut. Relays that are started after a cut are cut at once.
func (g *Group) Shutdown(ctx context.Context) (cut int) {
	select {
	case <-g.drained():
	case <-ctx.Done():
	}
	g.mu.Lock()
	g.closed = true
	left := make([]*link, 0, g.live)
	for l := g.links; l != nil; l = l.next {
		left = append(left, l)
	}
	g.mu.Unlock()
	for _, l := range left {
		l.engine.cancel()
	}
	<-g.drained()
	return len(left)
}

// drained gives a channel that is closed when the group is empty.
func (g *Group) drained() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.empty == nil {
		empty := make(chan struct{})
		if g.live == 0 {
			close(empty)
			return empty
		}
		g.empty = empty
	}
	return g.empty
}
