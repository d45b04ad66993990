package relay

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The event loops: one a processor, each a goroutine with an epoll set of its own. A loop's goroutine runs while the loop
// has pairs, and a little longer, or watches listening sockets; its two descriptors stay open once it has been used.

const (
	eventsMax = 128 // taken at once

	// busyEvents at once make a loop ask for more without telling the scheduler that it may wait.
	busyEvents = 4

	// yieldEvery is how often a loop lets other goroutines run. Go's scheduler interrupts who has not done so for 10 ms, and
	// then watches all processors every 20 microseconds for a while.
	yieldEvery = 5 * time.Millisecond

	// lettersKept bounds the inbox whose memory is used again.
	lettersKept = 64

	// lingerMilliseconds is how long a loop without pairs waits for the next one.
	lingerMilliseconds = 50
)

type loop struct {
	epoll, wake int  // descriptors
	spare       bool // GOMAXPROCS counts it; the lock of loops guards it

	mu      sync.Mutex // guards what follows
	running bool
	pairs   int // registered and not ended
	doors   map[int32]*door
	inbox   []letter
	emptied []letter // the one before, empty: its memory is used again
	ids     []int32  // free ones
	idNext  int32
	ended   []ending // closed, not yet reported

	mail     atomic.Bool  // inbox is not empty
	nextLook atomic.Int64 // when the loop will wake by itself, on its clock; math.MaxInt64: never

	// The loop's goroutine alone touches what follows.
	byID      []*pair
	alive     int // pairs in byID
	deadlines deadlines
	ready     *pair // a queue of those that have something to do
	readyLast *pair
	buffer    *chunk // what is read goes here first
	late      lateness
	events    [eventsMax]unix.EpollEvent
	busy      bool          // there will be more events by the time that the last ones are served
	yielded   time.Duration // when it last let others run
}

// letter is what other goroutines tell a loop about a pair.
type letter struct {
	pair   *pair
	event  event
	reason error         // of refused
	due    time.Duration // of registered: its first look; math.MaxInt64 for none
}

type event uint8

const (
	registered event = iota
	refused          // its descriptors can not be watched
	cancelled
)

// wakeID is the id of the loop's own descriptor among the events.
const wakeID = -1

// loops are made when they are first needed, one a processor.
var loops struct {
	sync.Mutex
	all  []*loop
	max  int
	turn int
}

// nextLoop deals the pairs out, one loop after the other.
//
// Each loop that gets pairs adds one to GOMAXPROCS. While a loop waits in epoll_wait it occupies a processor of Go's scheduler for some time,
// and without a spare one the scheduler's monitor takes that away and gives it back thousands of times a second: that alone
// would cost a tenth of a busy gateway's CPU time.
func nextLoop() (*loop, error) {
	loops.Lock()
	defer loops.Unlock()
	if err := growLoops(len(loops.all) + 1); err != nil {
		return nil, err
	}
	loops.turn++
	l := loops.all[loops.turn%len(loops.all)]
	if !l.spare {
		l.spare = true
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	return l, nil
}

// allLoops gives one loop a processor.
func allLoops() ([]*loop, error) {
	loops.Lock()
	defer loops.Unlock()
	err := growLoops(math.MaxInt)
	return loops.all[:len(loops.all):len(loops.all)], err
}

// growLoops makes loops until there are as many as wanted, or as there are processors. It needs the lock, and fails if there
// is no loop at all.
func growLoops(wanted int) error {
	if loops.max == 0 {
		loops.max = runtime.GOMAXPROCS(0)
	}
	for len(loops.all) < min(wanted, loops.max) {
		l, err := newLoop()
		if err != nil {
			if len(loops.all) == 0 {
				return err
			}
			return nil
		}
		loops.all = append(loops.all, l)
	}
	return nil
}

func newLoop() (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, err
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: wakeID}
	if err := watch(epoll, unix.EPOLL_CTL_ADD, int32(wake), &event); err != nil {
		unix.Close(epoll)
		unix.Close(wake)
		return nil, err
	}
	return &loop{epoll: epoll, wake: wake}, nil
}

// born is where the loops' clock starts.
var born = time.Now()

func now() time.Duration { return time.Since(born) }

// register gives a pair to the loop. What happens on its descriptors wakes the loop when there is something to do.
func (l *loop) register(p *pair) {
	p.sockets[aToB].armed, p.sockets[bToA].armed = p.backlog[bToA] != nil, p.backlog[aToB] != nil
	masks := [2]uint32{mask(p.sockets[aToB]), mask(p.sockets[bToA])}
	due := time.Duration(math.MaxInt64)
	if interval := p.watch.set(p.course.bound(&p.flow.limits), p.total()); interval > 0 {
		due = now() + interval
	}

	l.mu.Lock()
	l.pairs++
	if n := len(l.ids); n > 0 {
		p.id, l.ids = l.ids[n-1], l.ids[:n-1]
	} else {
		p.id = l.idNext
		l.idNext++
	}
	l.inbox = append(l.inbox, letter{pair: p, due: due})
	if p.entered = true; p.early {
		l.inbox = append(l.inbox, letter{pair: p, event: cancelled})
	}
	l.mail.Store(true)
	l.start()
	id := p.id
	l.mu.Unlock()

	// From here on the pair belongs to the loop.
	for w, fd := range p.fd {
		event := unix.EpollEvent{Events: masks[w], Fd: id, Pad: int32(w)}
		if err := watch(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			l.post(letter{pair: p, event: refused, reason: err})
			return
		}
	}
	if int64(due) < l.nextLook.Load() {
		l.signal()
	}
}

// start has the loop's goroutine run. It needs the mutex.
func (l *loop) start() {
	if !l.running {
		l.running = true
		go l.run()
	}
}

// mask is what is watched. EPOLLPRI tells of urgent data, at which reads stop short of what is there.
func mask(s socket) uint32 {
	m := uint32(unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLPRI | unix.EPOLLET)
	if s.armed {
		m |= unix.EPOLLOUT
	}
	return m
}

// watchWritable asks for EPOLLOUT, or asks for it no more. TCP signals it only after a write fell short, so there it is left
// on; a unix socket signals it whenever its peer reads.
func (l *loop) watchWritable(p *pair, w way, on bool) {
	s := &p.sockets[w]
	if s.armed == on || !on && !s.unix {
		return
	}
	s.armed = on
	event := unix.EpollEvent{Events: mask(*s), Fd: p.id, Pad: int32(w)}
	if err := watch(l.epoll, unix.EPOLL_CTL_MOD, p.fd[w], &event); err != nil {
		l.abandon(p, err)
	}
}

// post puts a letter into the loop's inbox and wakes the loop.
func (l *loop) post(m letter) {
	l.mu.Lock()
	l.inbox = append(l.inbox, m)
	l.mail.Store(true)
	l.mu.Unlock()
	l.signal()
}

// signal wakes the loop. It can fail only when the counter is full, and then the loop is awake.
func (l *loop) signal() {
	one := [8]byte{1} // in either byte order not zero
	unix.Write(l.wake, one[:])
}

// run is the life of a loop's goroutine.
func (l *loop) run() {
	l.buffer = getChunk()
	for {
		n := l.wait()
		if l.mail.Load() {
			l.readInbox()
		}
		for i := range l.events[:n] {
			l.note(&l.events[i])
		}
		l.serve()
		l.look()
		if n == 0 && l.ready == nil && l.retire() {
			return
		}
	}
}

// wait gives the number of new events. It blocks only when no pair has something to do.
func (l *loop) wait() int {
	now := now()
	if l.late.due(now) {
		l.report(now)
	} else if now-l.yielded >= yieldEvery {
		l.yield(now)
	}
	if l.ready != nil || l.busy {
		if n := pollEvents(l.epoll, l.events[:]); n > 0 || l.ready != nil {
			l.busy = n >= busyEvents
			return n
		}
	}
	if l.late.ends > 0 && !l.watchesDoors() {
		l.report(now)
	}
	next, milliseconds := int64(math.MaxInt64), -1
	if due, any := l.deadlines.next(); any {
		next = int64(due)
		milliseconds = int(min(max(0, due-now+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
	} else if l.alive == 0 && !l.watchesDoors() {
		milliseconds = lingerMilliseconds
	}
	if l.late.ends > 0 {
		milliseconds = l.late.left(now, milliseconds)
	}
	l.nextLook.Store(next)
	if l.mail.Load() { // whoever wrote before that did not know that the loop sleeps
		return 0
	}
	n := waitEvents(l.epoll, l.events[:], milliseconds)
	l.busy = n >= busyEvents
	return n
}

// yield lets other goroutines run: they may be waiting for this processor.
func (l *loop) yield(now time.Duration) {
	l.yielded = now
	runtime.Gosched()
}

// retire ends the loop's goroutine if it has no pair.
func (l *loop) retire() bool {
	if l.alive > 0 || l.late.ends > 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pairs > 0 || len(l.inbox) > 0 || len(l.doors) > 0 {
		return false
	}
	l.running = false
	putChunk(l.buffer)
	l.buffer = nil
	return true
}

func (l *loop) readInbox() {
	l.mu.Lock()
	l.mail.Store(false)
	inbox := l.inbox
	l.inbox, l.emptied = l.emptied, nil
	l.mu.Unlock()
	for _, m := range inbox {
		p := m.pair
		switch {
		case m.event == registered:
			l.enter(p, m.due)
		case p.closed:
		case m.event == refused:
			l.abandon(p, m.reason)
		case m.event == cancelled:
			p.course.cancel()
			l.rearm(p)
			l.enqueue(p)
		}
	}
	if cap(inbox) <= lettersKept {
		clear(inbox)
		l.mu.Lock()
		l.emptied = inbox[:0]
		l.mu.Unlock()
	}
}

func (l *loop) enter(p *pair, due time.Duration) {
	for int(p.id) >= len(l.byID) {
		l.byID = append(l.byID, nil)
	}
	l.byID[p.id] = p
	l.alive++
	if due < math.MaxInt64 {
		l.deadlines.set(p, due)
	}
}

// abandon ends a pair that can not be watched.
func (l *loop) abandon(p *pair, err error) {
	p.course.broken(aToB, fmt.Errorf("watch with epoll: %w", err))
	p.course.broken(bToA, err)
	l.enqueue(p)
}

// note records what an event tells.
func (l *loop) note(e *unix.EpollEvent) {
	if e.Fd == wakeID {
		var counter [8]byte
		unix.Read(l.wake, counter[:]) // edge-triggered: it need not be empty
		return
	}
	if e.Pad == doorPad {
		l.answer(e.Fd)
		return
	}
	p := l.byID[e.Fd]
	if p == nil {
		return // it ended earlier in this batch
	}
	s := &p.sockets[e.Pad]
	if e.Events&^unix.EPOLLOUT != 0 {
		s.readable = true
	}
	if e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLPRI) != 0 {
		s.suspect = true
	}
	if e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.blocked = false
	}
	if e.Events&unix.EPOLLERR != 0 && s.done {
		l.peerGone(p, way(e.Pad))
	}
	l.enqueue(p)
}

// enqueue puts a pair at the end of the ready list.
func (l *loop) enqueue(p *pair) {
	if p.ready {
		return
	}
	p.ready = true
	if l.ready == nil {
		l.ready = p
	} else {
		l.readyLast.nextReady = p
	}
	l.readyLast = p
}

// serve gives each pair that is in the ready list now one turn.
func (l *loop) serve() {
	for last := l.readyLast; l.ready != nil; {
		p := l.ready
		l.ready, p.nextReady, p.ready = p.nextReady, nil, false
		if !p.closed {
			if l.turn(p) {
				l.enqueue(p)
			}
			if p.course.over() {
				l.end(p)
			}
		}
		if p == last {
			return
		}
	}
}

// look looks at the pairs for which it is time.
func (l *loop) look() {
	if len(l.deadlines) == 0 {
		return
	}
	for now := now(); ; {
		due, any := l.deadlines.next()
		if !any || due > now {
			return
		}
		p := l.deadlines[0].pair
		bound := p.course.bound(&p.flow.limits)
		if !p.watch.look(bound, p.total()) {
			l.deadlines.set(p, now+bound.interval())
			continue
		}
		p.course.expire(bound)
		l.end(p)
	}
}

// rearm watches for what bounds the pair in its present phases.
func (l *loop) rearm(p *pair) {
	interval := p.watch.set(p.course.bound(&p.flow.limits), p.total())
	if interval <= 0 || p.course.over() {
		l.deadlines.remove(p)
		return
	}
	l.deadlines.set(p, now()+interval)
}

// end closes both connections of a pair. The report comes later.
func (l *loop) end(p *pair) {
	at := now()
	l.late.add(at)
	l.deadlines.remove(p)
	for w, held := range p.backlog {
		if held != nil {
			held.drop()
			p.backlog[w] = nil
		}
	}
	l.byID[p.id] = nil
	l.alive--
	l.mu.Lock()
	p.closed = true
	l.mu.Unlock()
	closeFD(p.fd[aToB]) // without the mutex: it takes long, and another loop may want to register a pair
	closeFD(p.fd[bToA])
	l.mu.Lock()
	l.ids = append(l.ids, p.id)
	l.pairs--
	l.ended = append(l.ended, ending{p, at})
	l.mu.Unlock()
}
