package pair

import (
	"container/heap"
	"container/list"
	"errors"
)

// This file decides who meets whom. It does no I/O and knows no clock: who calls it says that a time is over. A room is not
// safe for concurrent use; the Rendezvous guards it.
//
// Rules:
//
//   - No client waits while a worker is free, except beside its favourite.
//   - A client that was not served at once waits in one of two places: beside its favourite (identity.wanted), for that
//     identity alone, or in the queue, for any worker. In both, whoever came first is first; between the two as well.
//   - A worker is free (in identity.free) or busy (counted in identity.busy) from park until ended.

// ErrFull tells that as many wait as may.
var ErrFull = errors.New("pair: no room to wait")

// counts bound what waits in all rooms of one Rendezvous together.
type counts struct {
	waiting, waitingMax int
	parked, parkedMax   int
}

type room struct {
	counts     *counts
	affinity   bool // a client has a favourite
	identities map[string]*identity
	free       freeHeap  // identities with a free worker, the one to take from first
	queue      list.List // of *client
	arrivals   uint64
}

// identity is a worker as its operator knows it: an agent's name, or the address of a machine.
type identity struct {
	name   string
	hash   uint64
	free   list.List // of *worker, the one to take first
	wanted list.List // of *client
	busy   int       // workers that have a client
	// elsewhere is how many clients its agent serves besides, by what it last said: those of other gateways.
	elsewhere int
	index     int    // in room.free, -1 while it has no free worker
	idled     uint64 // how often it was left without a worker
}

// workerPlace is what the room knows of a worker.
type workerPlace struct {
	identity *identity
	seq      uint64
	fading   bool          // it will most likely be gone in less than a second
	element  *list.Element // in identity.free; nil while it is not there
}

// clientPlace is what the room knows of a client.
type clientPlace struct {
	key     uint64 // hash of what it is recognised by
	seq     uint64
	settled bool // it takes any worker, its favourite or not
	line    *list.List
	element *list.Element // in line; nil while it does not wait
	wants   *identity     // whose wanted line is; nil in the queue
}

func newRoom(c *counts, affinity bool) *room {
	return &room{counts: c, affinity: affinity, identities: map[string]*identity{}}
}

// arrive gives a client its worker, or lets it wait: then the worker is nil. A client that comes back, since its worker was
// dead, has its old place in the line.
func (r *room) arrive(c *client) (*worker, error) {
	if c.place.seq == 0 {
		c.place.seq = r.next()
	}
	if w := r.choose(c); w != nil {
		return w, nil
	}
	if r.counts.waiting >= r.counts.waitingMax {
		return nil, ErrFull
	}
	r.wait(c)
	return nil, nil
}

// park gives a worker its client, or keeps the worker: then the client is nil.
func (r *room) park(w *worker, name string) (*client, error) {
	id := r.know(name)
	if c := r.first(id); c != nil {
		r.leave(c)
		w.place.identity = id
		id.busy++
		return c, nil
	}
	if r.counts.parked >= r.counts.parkedMax {
		if id.unused() && id.wanted.Len() == 0 {
			delete(r.identities, name) // nothing is known of it but its name
		}
		return nil, ErrFull
	}
	if w.place.seq == 0 {
		w.place.seq = r.next()
	}
	w.place.identity = id
	w.place.element = id.insert(w)
	r.counts.parked++
	r.fix(id)
	return nil, nil
}

// insert puts a worker among the free ones. The freshest stands in front, since libzmq gives up on a connection that is not
// answered; a worker that comes back, since its client had left, finds its old place.
func (id *identity) insert(w *worker) *list.Element {
	for e := id.free.Front(); e != nil && !w.place.fading; e = e.Next() {
		if o := e.Value.(*worker); o.place.fading || o.place.seq < w.place.seq {
			return id.free.InsertBefore(w, e)
		}
	}
	return id.free.PushBack(w)
}

// fade tells that a free worker will soon be gone; it is then taken last.
func (r *room) fade(w *worker) {
	w.place.fading = true
	w.place.identity.free.MoveToBack(w.place.element)
	r.fix(w.place.identity)
}

// outlive tells that a worker is there though it should be gone: it has no timer, and is as good as one can be.
func (r *room) outlive(w *worker) {
	w.place.fading = false
	w.place.identity.free.MoveToFront(w.place.element)
	r.fix(w.place.identity)
}

// withdraw takes a free worker out of the room. False: it was not there, because it has a client by now.
func (r *room) withdraw(w *worker) bool {
	if w.place.element == nil {
		return false
	}
	w.place.identity.free.Remove(w.place.element)
	w.place.element = nil
	r.counts.parked--
	r.fix(w.place.identity)
	return true
}

// ended tells that a worker is not busy any more. Whether it is gone for good or free again is told by park.
func (r *room) ended(w *worker) {
	w.place.identity.busy--
	r.fix(w.place.identity)
}

// leave takes a client out of its line. False: it was in none, because it has a worker by now.
func (r *room) leave(c *client) bool {
	if c.place.element == nil {
		return false
	}
	c.place.line.Remove(c.place.element)
	c.place.line, c.place.element, c.place.wants = nil, nil, nil
	r.counts.waiting--
	return true
}

// settle tells that a client has waited long enough for its favourite: it gets the next in rank that is free, or waits for
// any worker.
func (r *room) settle(c *client) *worker {
	r.leave(c)
	c.place.settled = true
	if w := r.choose(c); w != nil {
		return w
	}
	r.wait(c)
	return nil
}

// forget removes an identity that has no worker, free or busy, and gives the clients that wanted it; they are in no line
// any more. False: it has a worker again.
func (r *room) forget(id *identity) (stranded []*client, gone bool) {
	if !id.unused() || r.identities[id.name] != id {
		return nil, false
	}
	delete(r.identities, id.name)
	for e := id.wanted.Front(); e != nil; e = id.wanted.Front() {
		c := e.Value.(*client)
		r.leave(c)
		stranded = append(stranded, c)
	}
	return stranded, true
}

func (id *identity) unused() bool { return id.free.Len() == 0 && id.busy == 0 }

// load is how many clients the identity serves.
func (id *identity) load() int { return id.busy + id.elsewhere }

// best is the free worker to take first.
func (id *identity) best() *worker { return id.free.Front().Value.(*worker) }

// choose takes the best free worker for a client: its favourite's, or, without affinity or favourite, one of the least loaded
// identity. It gives nil when there is none, or when the client has to wait for its favourite.
func (r *room) choose(c *client) *worker {
	if !r.affinity {
		if len(r.free) == 0 {
			return nil
		}
		return r.take(r.free[0])
	}
	c.place.wants = nil
	favourite, fallback := r.rank(c.place.key)
	switch {
	case favourite == nil:
		return nil
	case favourite == fallback:
		return r.take(favourite)
	case !c.place.settled:
		c.place.wants = favourite
		return nil
	case fallback != nil:
		return r.take(fallback)
	}
	return nil
}

// rank gives the first identity in the order of a client's preference, and the first that has a free worker; one that will
// soon be gone counts only where there is no other.
func (r *room) rank(key uint64) (favourite, fallback *identity) {
	better := func(a, b *identity) bool {
		if a == nil || b == nil {
			return b == nil
		}
		sa, sb := score(key, a.hash), score(key, b.hash)
		return sa > sb || sa == sb && a.name < b.name
	}
	var fading *identity
	for _, id := range r.identities {
		if better(id, favourite) {
			favourite = id
		}
		switch {
		case id.free.Len() == 0:
		case id.best().place.fading:
			if better(id, fading) {
				fading = id
			}
		case better(id, fallback):
			fallback = id
		}
	}
	if fallback == nil {
		fallback = fading
	}
	return favourite, fallback
}

// take makes the identity's best free worker busy.
func (r *room) take(id *identity) *worker {
	w := id.best()
	r.withdraw(w)
	id.busy++
	r.fix(id)
	return w
}

// first is the client that a free worker of this identity goes to.
func (r *room) first(id *identity) *client {
	var first *client
	for _, line := range []*list.List{&r.queue, &id.wanted} {
		if e := line.Front(); e != nil {
			if c := e.Value.(*client); first == nil || c.place.seq < first.place.seq {
				first = c
			}
		}
	}
	return first
}

// wait puts a client into its line, behind all that came before it.
func (r *room) wait(c *client) {
	c.place.line = &r.queue
	if c.place.wants != nil {
		c.place.line = &c.place.wants.wanted
	}
	r.counts.waiting++
	for e := c.place.line.Back(); e != nil; e = e.Prev() {
		if e.Value.(*client).place.seq < c.place.seq {
			c.place.element = c.place.line.InsertAfter(c, e)
			return
		}
	}
	c.place.element = c.place.line.PushFront(c)
}

// know gives the identity of that name.
func (r *room) know(name string) *identity {
	id := r.identities[name]
	if id == nil {
		id = &identity{name: name, hash: hashText(name), index: -1}
		r.identities[name] = id
	}
	return id
}

func (r *room) next() uint64 {
	r.arrivals++
	return r.arrivals
}

// fix puts an identity that has changed into its place among those with free workers.
func (r *room) fix(id *identity) {
	switch has := id.free.Len() > 0; {
	case has && id.index < 0:
		heap.Push(&r.free, id)
	case has:
		heap.Fix(&r.free, id.index)
	case id.index >= 0:
		heap.Remove(&r.free, id.index)
	}
}

// freeHeap orders the identities that have a free worker: first those whose worker will live, then the least loaded, then the
// one with the freshest worker.
type freeHeap []*identity

func (h freeHeap) Len() int { return len(h) }

func (h freeHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	switch wa, wb := a.best(), b.best(); {
	case wa.place.fading != wb.place.fading:
		return wb.place.fading
	case a.load() != b.load():
		return a.load() < b.load()
	default:
		return wa.place.seq > wb.place.seq
	}
}

func (h freeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *freeHeap) Push(x any) {
	id := x.(*identity)
	id.index = len(*h)
	*h = append(*h, id)
}

func (h *freeHeap) Pop() any {
	old := *h
	last := len(old) - 1
	id := old[last]
	old[last], id.index = nil, -1
	*h = old[:last]
	return id
}
