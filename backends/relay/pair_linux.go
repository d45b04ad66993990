package relay

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// A pair is a relay on an event loop. Its rules:
//
//   - The loop alone touches a pair, from the moment it is registered; start does before that. Other goroutines may read the
//     counters, and the descriptors under the loop's mutex as long as closed is false.
//   - The pair owns its two descriptors, and the loop closes them when both ways have ended.
//   - Readiness is edge-triggered: readable stays set until a read has found the socket empty, and a way that could not write
//     is blocked until EPOLLOUT. Events are hints; what a call returns decides.
//   - A way reads only while it has no backlog (readsAhead is the exception), and sends FIN only after its backlog.

// readsPerTurn bounds what one pair may read before it is the others' turn: with full buffers, 1 MiB a direction.
const readsPerTurn = 2

type pair struct {
	link
	loop      *loop
	backlog   [2]*backlog // by way; nil while its destination keeps up
	nextReady *pair       // in the loop's ready list
	fd        [2]int32    // by way: the source
	id        int32
	place     int32     // in the loop's deadlines, -1 while not there
	sockets   [2]socket // by way: the source
	last      [2]uint16 // by way: the errno with which reading ended, 0 for FIN; reported when the backlog is delivered
	ready     bool      // in the loop's ready list
	closed    bool      // the descriptors are closed, or about to be; the loop's mutex guards it
	entered   bool      // the loop has been told of it; the loop's mutex guards it
	early     bool      // it was cancelled before that; the loop's mutex guards it
}

// socket is what is known of one of the two sockets.
type socket struct {
	readable bool // there may be something to read
	suspect  bool // a short read does not prove that the socket is empty: FIN, an error or urgent data may follow
	done     bool // reading ended
	blocked  bool // it took less than it was given
	armed    bool // EPOLLOUT is watched
	unix     bool
}

// startOnLoop takes a pair of raw sockets onto an event loop. It gives false, and leaves the connections alone, when they are
// not both raw sockets, or when there are no descriptors for it.
func startOnLoop(g *Group, a, b net.Conn, aPrefix, bPrefix []byte, shared *flow, done func(Stats, error)) bool {
	l, err := nextLoop()
	if err != nil {
		return false
	}
	of, ok := take(a, b)
	if !ok {
		return false
	}
	p := &pair{place: -1}
	for w, t := range of {
		t.keep()
		p.fd[w], p.sockets[w].unix = t.fd, t.isUnix
	}
	p.link.engine, p.link.flow, p.link.done = p, shared, done
	p.loop = l
	accepted := g.add(&p.link)
	p.begin(aToB, aPrefix)
	p.begin(bToA, bPrefix)
	l.register(p)
	if !accepted {
		p.cancel()
	}
	return true
}

// begin delivers what was read before the relay, as far as the destination takes it at once.
func (p *pair) begin(w way, prefix []byte) {
	if len(prefix) == 0 {
		return
	}
	n := p.write(w, prefix)
	if n < len(prefix) && p.course.phase[w] == flowing {
		c := &chunk{buf: append([]byte(nil), prefix[n:]...), hi: len(prefix) - n}
		p.backlog[w] = new(backlog)
		p.backlog[w].push(c)
	}
}

// turn serves a pair once and tells whether it has more to do at once.
func (l *loop) turn(p *pair) (more bool) {
	for w := aToB; w <= bToA; w++ {
		if p.backlog[w] != nil && !p.sockets[w.back()].blocked {
			l.flush(p, w)
		}
		if p.course.mustStop(w) && p.backlog[w] == nil {
			shutdownWrite(p.fd[w.back()])
			p.course.stopped(w)
		}
		l.carry(p, w)
	}
	for w := aToB; w <= bToA; w++ {
		if p.readsAhead(w) {
			l.readAhead(p, w)
		}
	}
	return p.canGoOn(aToB) || p.canGoOn(bToA)
}

// canGoOn tells whether the way can move bytes without waiting for an event.
func (p *pair) canGoOn(w way) bool {
	if p.backlog[w] != nil {
		return !p.sockets[w.back()].blocked || p.readsAhead(w)
	}
	return p.sockets[w].readable && !p.sockets[w].done || p.course.mustStop(w)
}

// carry reads from the way's source and delivers, a bounded number of times.
func (l *loop) carry(p *pair, w way) {
	src := &p.sockets[w]
	for range readsPerTurn {
		if !src.readable || src.done || p.backlog[w] != nil {
			return
		}
		buf := l.buffer.buf
		if thrifty() {
			buf = buf[:thriftyBytes]
		}
		n := l.read(p, w, buf)
		if n <= 0 || p.course.phase[w] != flowing {
			continue
		}
		written := p.write(w, buf[:n])
		if p.course.phase[w] != flowing {
			l.rearm(p)
		} else if written < n {
			l.keep(p, w, written, n)
		}
	}
}

// read takes bytes from the way's source. What it learns about the source it records; 0 means that there was nothing.
func (l *loop) read(p *pair, w way, buf []byte) int {
	src := &p.sockets[w]
	n, errno := recv(p.fd[w], buf)
	switch {
	case n > 0:
		if n < len(buf) && !src.suspect {
			src.readable = false // the kernel signals what comes later
		}
		return n
	case errno == unix.EAGAIN:
		src.readable = false
	case errno == unix.EINTR:
	default:
		src.done = true
		p.last[w] = uint16(errno)
		if p.backlog[w] == nil {
			l.conclude(p, w)
		}
	}
	return 0
}

// write gives bytes to the way's destination and tells how many it took. On an error the way turns to discarding.
func (p *pair) write(w way, b []byte) int {
	for {
		n, errno := send(p.fd[w.back()], b)
		switch {
		case errno == 0:
			p.moved[w].Add(int64(n))
			if n < len(b) {
				p.sockets[w.back()].blocked = true
			}
			return n
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			p.sockets[w.back()].blocked = true
			return 0
		default:
			p.course.refused(w, errno)
			return 0
		}
	}
}

// keep makes a backlog of what the destination did not take of the loop's buffer.
func (l *loop) keep(p *pair, w way, lo, hi int) {
	c, gaveBuffer := rest(l.buffer, lo, hi)
	if gaveBuffer {
		l.buffer = getChunk()
	}
	if p.backlog[w] == nil {
		p.backlog[w] = new(backlog)
	}
	p.backlog[w].push(c)
	l.watchWritable(p, w.back(), true)
}

// flush delivers the backlog as far as the destination takes it.
func (l *loop) flush(p *pair, w way) {
	held := p.backlog[w]
	for p.course.phase[w] == flowing {
		c := held.head
		n := p.write(w, c.buf[c.lo:c.hi])
		if p.course.phase[w] != flowing {
			held.drop()
			l.rearm(p)
			break
		}
		if n == 0 {
			return
		}
		if !held.take(n) {
			break
		}
		if p.sockets[w.back()].blocked {
			return
		}
	}
	p.backlog[w] = nil
	l.watchWritable(p, w.back(), false)
	if p.sockets[w].done {
		l.conclude(p, w)
	}
}

// conclude ends a way whose source has ended and whose backlog is delivered.
func (l *loop) conclude(p *pair, w way) {
	if p.course.phase[w] == flowing && p.course.phase[w.back()] != ended { // otherwise closing sends FIN, at once
		shutdownWrite(p.fd[w.back()])
	}
	if errno := p.last[w]; errno == 0 {
		p.course.eof(w)
	} else {
		p.course.broken(w, syscall.Errno(errno))
		l.dropUndeliverable(p, w.back())
	}
	l.rearm(p)
}

// dropUndeliverable frees the backlog of a way that has turned to discarding.
func (l *loop) dropUndeliverable(p *pair, w way) {
	if p.backlog[w] != nil && p.course.phase[w] == discarding {
		p.backlog[w].drop()
		p.backlog[w] = nil
		if p.sockets[w].done {
			l.conclude(p, w)
		}
	}
}

// readsAhead tells whether the way's source is read although its destination does not keep up. That is so while the source
// does not take what it is sent either: such a peer may close with bytes unread, and its kernel then drops all that it had
// still to send (RFC 2525, 2.17), unless we have it.
func (p *pair) readsAhead(w way) bool {
	src := &p.sockets[w]
	return p.backlog[w] != nil && p.backlog[w.back()] != nil && src.readable && !src.done &&
		!p.course.cancelled && p.backlog[w].bytes < readAheadMax && !thrifty()
}

// readAhead adds to the backlog, a bounded number of times.
func (l *loop) readAhead(p *pair, w way) {
	for range readsPerTurn {
		c, isNew := p.backlog[w].room()
		n := l.read(p, w, c.buf[c.hi:])
		c.hi += n
		switch {
		case isNew && n > 0:
			p.backlog[w].push(c)
		case isNew:
			putChunk(c)
		}
		if !p.readsAhead(w) {
			return
		}
	}
}

// peerGone is told that the peer of a socket that is not read any more has reset the connection, or is gone.
func (l *loop) peerGone(p *pair, w way) {
	errno, err := unix.GetsockoptInt(int(p.fd[w]), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || errno == 0 || p.course.phase[w.back()] != flowing {
		return
	}
	p.course.refused(w.back(), syscall.Errno(errno))
	l.dropUndeliverable(p, w.back())
	l.rearm(p)
}

// cancel may be called by any goroutine; the loop does it. The group may know the pair before the loop does.
func (p *pair) cancel() {
	p.loop.mu.Lock()
	p.early = !p.entered
	wait := p.early
	p.loop.mu.Unlock()
	if !wait {
		p.loop.post(letter{pair: p, event: cancelled})
	}
}

func (p *pair) addrs() (a, b net.Addr) {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	if p.closed {
		return nil, nil
	}
	return peerAddr(p.fd[aToB]), peerAddr(p.fd[bToA])
}
