package pair

// Rules of this file.
//
// Locking: mu guards the rooms, the table of pairs, the sources and every place. Nothing that may block is done under it. What
// a peer does by itself (its tap, its timer) comes in through a function that takes mu and then looks whether the peer is
// still in the room: whoever has taken it out owns it.
//
// Ends: each offered connection is counted in running from Offer until its done has returned. A pair is in pairs from the
// moment at which the two were taken out of the room until both have ended, or until one of them goes back there.

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"gateway/backends/relay"
	"gateway/internal/zmtp"
)

// Role is what an offered connection is.
type Role int8

// The roles.
const (
	Client Role = iota
	Worker      // it speaks ZMTP
	Agent       // a slot of an agent, which has sent its magic
)

// String gives the role as it stands in a metric's label.
func (r Role) String() string {
	return [...]string{"client", "worker", "agent"}[r]
}

// Rendezvous is where the clients and the workers of one block meet. It is safe for concurrent use.
type Rendezvous struct {
	options Options
	meters  meters
	group   relay.Group
	gating  crowd
	born    time.Time

	closing  context.Context // done when a shutdown begins
	close    context.CancelFunc
	stopping context.Context // done when a shutdown waits no longer
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	counts  counts
	rooms   map[zmtp.Mechanism]*room // one without a gate, under ""; with a gate one for each mechanism
	pairs   map[string]*pairing      // by the address of the client's socket
	drained chan struct{}            // closed when the last pair ends after the stop
	sources sources
}

// New makes a Rendezvous. Nothing runs before the first Offer.
func New(o Options) *Rendezvous {
	r := &Rendezvous{options: o.withDefaults(), born: time.Now(), rooms: map[zmtp.Mechanism]*room{}, pairs: map[string]*pairing{}}
	r.meters = newMeters(r.options.Metrics, r.options.Block)
	r.counts = counts{waitingMax: r.options.WaitingMax, parkedMax: r.options.ParkedMax}
	r.gating.max = r.options.GatingMax
	r.stopping, r.stop = context.WithCancel(context.Background())
	r.closing, r.close = context.WithCancel(context.Background())
	mechanisms := r.options.Mechanisms
	if len(mechanisms) == 0 {
		mechanisms = []zmtp.Mechanism{""}
	}
	for _, m := range mechanisms {
		r.rooms[m] = newRoom(&r.counts, r.options.Affinity != AffinityNone)
	}
	return r
}

// gated tells whether clients have to show a first command.
func (r *Rendezvous) gated() bool { return len(r.options.Mechanisms) > 0 }

// Offer takes over a connection and returns at once. What was read from it before (relay.Prefixed) counts as sent after it
// came. done is called exactly once, after the connection was closed.
func (r *Rendezvous) Offer(role Role, c net.Conn, done func(Outcome)) {
	answered, flow := answeredOf(c), relay.FlowOf(c, "") // newPeer takes c apart
	p := newPeer(c, done)
	if !r.enter() {
		p.finish(Outcome{End: Stopped, Err: ErrStopped})
		return
	}
	p.done = r.accounted(role, done)
	keepAlive(p.conn)
	switch role {
	case Worker:
		w := &worker{peer: p, name: p.host(), stages: r.stages()}
		if !r.gated() {
			r.place(w)
			return
		}
		go r.greet(w)
	case Agent:
		go r.enlist(&worker{peer: p, agent: true})
	default:
		cl := &client{peer: p, answered: answered, flow: flow}
		switch {
		case !r.gated():
			r.admit(cl)
		case r.failing(cl):
			r.refuse(cl, Outcome{End: Failing, Err: errFailing})
		default:
			go r.gate(cl)
		}
	}
}

// enter counts a connection in, unless the Rendezvous is shut down; its done, from accounted, counts it out.
func (r *Rendezvous) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.running.Add(1)
	}
	return !r.stopped
}

// accounted is done, with all that has to be counted at the end.
func (r *Rendezvous) accounted(role Role, done func(Outcome)) func(Outcome) {
	return func(o Outcome) {
		r.meters.ended(role, o.End)
		done(o)
		r.running.Done()
	}
}

func (r *Rendezvous) stages() []stage {
	after := r.options.RetireAfter
	if after > 0 {
		after = retireAge(after, rand.Float64())
	}
	return stagesOf(after)
}

// admit brings a client into the room.
func (r *Rendezvous) admit(c *client) {
	r.mu.Lock()
	if r.stopped {
		r.mu.Unlock()
		c.finish(Outcome{End: Stopped, Err: ErrStopped})
		return
	}
	if time.Since(c.arrived) >= r.options.Wait { // it is here again, because its worker was dead
		r.mu.Unlock()
		r.refuse(c, Outcome{End: NoWorker, Err: ErrNoWorker})
		return
	}
	c.place.key = r.keyOf(c)
	room := r.rooms[c.mechanism]
	w, err := room.arrive(c)
	switch {
	case err != nil:
		r.mu.Unlock()
		r.refuse(c, Outcome{End: Full, Err: err})
		return
	case w != nil:
		r.pair(room, c, w)
	default:
		c.tap.open(func() { r.clientLeft(c) })
		c.timer = time.AfterFunc(r.patience(c), func() { r.clientDue(c) })
	}
	r.show()
	r.mu.Unlock()
}

// keyOf is by what a client is recognised.
func (r *Rendezvous) keyOf(c *client) uint64 {
	if r.options.Affinity == AffinityIdentity && c.identity != "" {
		return hashText("identity:" + c.identity)
	}
	return hashText("source:" + c.source.String())
}

// patience is how long a waiting client's timer runs: first for its favourite, then for any worker.
func (r *Rendezvous) patience(c *client) time.Duration {
	waited := time.Since(c.arrived)
	if c.place.wants != nil && r.options.AffinityWait < r.options.Wait {
		return r.options.AffinityWait - waited
	}
	return r.options.Wait - waited
}

// clientLeft is the tap's news.
func (r *Rendezvous) clientLeft(c *client) {
	r.mu.Lock()
	waited := r.rooms[c.mechanism].leave(c)
	if waited {
		c.stopTimer()
		r.show()
	}
	r.mu.Unlock()
	if waited {
		c.tap.close()
		c.finish(Outcome{End: Left})
	}
}

// clientDue is the timer's news.
func (r *Rendezvous) clientDue(c *client) {
	r.mu.Lock()
	if c.place.element == nil {
		r.mu.Unlock()
		return
	}
	room := r.rooms[c.mechanism]
	if time.Since(c.arrived) < r.options.Wait {
		if w := room.settle(c); w != nil {
			r.pair(room, c, w)
		} else {
			c.timer.Reset(r.patience(c))
		}
		r.show()
		r.mu.Unlock()
		return
	}
	room.leave(c)
	r.show()
	r.mu.Unlock()
	c.tap.close()
	r.refuse(c, Outcome{End: NoWorker, Err: ErrNoWorker})
}

// place brings a worker into the room.
func (r *Rendezvous) place(w *worker) {
	r.mu.Lock()
	if r.stopped {
		r.mu.Unlock()
		w.finish(Outcome{End: Stopped, Err: ErrStopped})
		return
	}
	room := r.rooms[w.mechanism]
	c, err := room.park(w, w.name)
	switch {
	case err != nil:
		r.mu.Unlock()
		w.finish(Outcome{End: Full, Err: err})
		return
	case c != nil:
		r.pair(room, c, w)
	default:
		w.tap.open(func() { r.workerLeft(w) })
		r.nextStage(w)
	}
	r.show()
	r.mu.Unlock()
}

// nextStage sets a parked worker's timer. mu is held.
func (r *Rendezvous) nextStage(w *worker) {
	if len(w.stages) > 0 {
		w.timer = time.AfterFunc(w.stages[0].age-time.Since(w.arrived), func() { r.workerDue(w) })
	}
}

// workerDue is the timer's news.
func (r *Rendezvous) workerDue(w *worker) {
	r.mu.Lock()
	if w.place.element == nil || len(w.stages) == 0 {
		r.mu.Unlock()
		return
	}
	room, due := r.rooms[w.mechanism], w.stages[0]
	if due.what != nil {
		w.stages = w.stages[1:]
		due.what(room, w)
		r.nextStage(w)
		r.mu.Unlock()
		return
	}
	room.withdraw(w)
	r.idle(room, w.place.identity)
	r.show()
	r.mu.Unlock()
	w.tap.close()
	r.meters.retired.Inc()
	w.finish(Outcome{End: Retired})
}

// workerLeft is the tap's news.
func (r *Rendezvous) workerLeft(w *worker) {
	r.mu.Lock()
	room := r.rooms[w.mechanism]
	parked := room.withdraw(w)
	if parked {
		w.stopTimer()
		r.idle(room, w.place.identity)
		r.show()
	}
	r.mu.Unlock()
	if parked {
		w.tap.close()
		w.finish(Outcome{End: Left})
	}
}

// idle lets an identity be forgotten some time after its last worker. mu is held.
func (r *Rendezvous) idle(room *room, id *identity) {
	if !id.unused() {
		return
	}
	if len(room.identities) > identitiesMax {
		r.forget(room, id)
		return
	}
	id.idled++
	turn := id.idled
	time.AfterFunc(identityGrace, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if id.idled == turn {
			r.forget(room, id)
		}
	})
}

// forget lets the clients of an identity that is gone choose again. mu is held.
func (r *Rendezvous) forget(room *room, id *identity) {
	stranded, _ := room.forget(id)
	for _, c := range stranded {
		if w, err := room.arrive(c); err == nil && w != nil { // there is room: it was in the room
			r.pair(room, c, w)
		} else {
			c.timer.Reset(r.patience(c))
		}
	}
	r.show()
}

// refuse ends a client that gets no worker. Those that would come back at once for the same end are held.
func (r *Rendezvous) refuse(c *client, o Outcome) {
	switch o.End {
	case Full, Mechanism, FirstWords, Failing:
		r.hold(&c.peer, o)
	default:
		c.finish(o)
	}
}

// hold keeps a peer silent until it leaves, the holder has no more place for it, or a shutdown begins.
func (r *Rendezvous) hold(p *peer, o Outcome) {
	stop := context.AfterFunc(r.closing, func() { p.conn.Close() })
	r.options.Hold(p.conn, func() {
		stop()
		p.finish(o)
	})
}

// Live tells how many pairs there are.
func (r *Rendezvous) Live() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pairs)
}

// Shutdown ends at once who waits, and waits for the pairs until ctx is done; then it cuts those that are left and tells how
// many they were: what was read from them is still delivered, see relay.Group. It returns when every done has.
func (r *Rendezvous) Shutdown(ctx context.Context) (cut int) {
	r.mu.Lock()
	r.stopped = true
	waiting := r.evict()
	r.show()
	drained := make(chan struct{})
	if len(r.pairs) == 0 {
		close(drained)
	} else {
		r.drained = drained
	}
	r.mu.Unlock()
	r.gating.close()
	r.close()
	for _, p := range waiting {
		p.tap.close()
		p.finish(Outcome{End: Stopped, Err: ErrStopped})
	}
	select {
	case <-drained:
	case <-ctx.Done():
		cut = r.Live()
	}
	r.stop()
	over, cancel := context.WithCancel(ctx)
	cancel()
	r.group.Shutdown(over)
	r.running.Wait()
	return cut
}

// evict takes everybody out of the rooms. mu is held.
func (r *Rendezvous) evict() (all []*peer) {
	for _, room := range r.rooms {
		for _, id := range room.identities {
			for id.free.Len() > 0 {
				w := id.best()
				room.withdraw(w)
				w.stopTimer()
				all = append(all, &w.peer)
			}
			for id.wanted.Len() > 0 {
				all = append(all, r.evictClient(room, id.wanted.Front().Value.(*client)))
			}
		}
		for room.queue.Len() > 0 {
			all = append(all, r.evictClient(room, room.queue.Front().Value.(*client)))
		}
	}
	return all
}

func (r *Rendezvous) evictClient(room *room, c *client) *peer {
	room.leave(c)
	c.stopTimer()
	return &c.peer
}

// show sets the gauges. mu is held.
func (r *Rendezvous) show() {
	r.meters.parked.Set(float64(r.counts.parked))
	r.meters.waiting.Set(float64(r.counts.waiting))
	r.meters.pairs.Set(float64(len(r.pairs)))
}

// now is the time since the Rendezvous was made.
func (r *Rendezvous) now() time.Duration { return time.Since(r.born) }
