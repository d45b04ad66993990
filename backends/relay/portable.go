package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// The portable engine: a goroutine a direction, for every net.Conn. Its rules:
//
//   - Each direction's goroutine alone reads its source, writes its destination, and sends FIN there.
//   - mu guards the course, the watch and the timer; no call that may block is made under it.
//   - The goroutine that ends last closes both connections and calls done. Whoever wants to end a relay earlier closes
//     the connections (look) or wakes their readers (cancel) and leaves the rest to the goroutines.

const (
	// idleBufferBytes is what a direction holds while it waits: a connection that is no socket of ours (TLS) offers no
	// way to wait without a buffer.
	idleBufferBytes = 2 << 10

	// bulkBufferBytes is what a direction takes from the pool while its reads fill the buffer.
	bulkBufferBytes = 64 << 10
)

var bulkBuffers = sync.Pool{New: func() any { return new([bulkBufferBytes]byte) }}

// longAgo, as a deadline, wakes a pending read.
var longAgo = time.Unix(1, 0)

type portable struct {
	link
	mu      sync.Mutex
	conns   [2]net.Conn // by way: its source
	timer   *time.Timer // nil until there is something to watch for
	running int         // directions whose goroutine has not ended
}

func startPortable(g *Group, a, b net.Conn, aPrefix, bPrefix []byte, of *flow, done func(Stats, error)) {
	p := &portable{conns: [2]net.Conn{a, b}, running: 2}
	p.link.engine, p.link.flow, p.link.done = p, of, done
	accepted := g.add(&p.link)
	p.mu.Lock()
	p.rearm()
	p.mu.Unlock()
	if !accepted {
		p.cancel()
	}
	go p.carry(aToB, aPrefix)
	go p.carry(bToA, bPrefix)
}

// carry is the life of one direction.
func (p *portable) carry(w way, prefix []byte) {
	defer p.leave()
	p.deliver(w, prefix)
	small := make([]byte, idleBufferBytes)
	buffer := small
	var bulk *[bulkBufferBytes]byte
	for {
		p.stopIfCancelled(w)
		n, err := p.conns[w].Read(buffer)
		p.deliver(w, buffer[:n])
		full := n == len(buffer)
		switch {
		case full && bulk == nil:
			bulk = bulkBuffers.Get().(*[bulkBufferBytes]byte)
			buffer = bulk[:]
		case !full && bulk != nil:
			bulkBuffers.Put(bulk)
			bulk, buffer = nil, small
		}
		if err != nil && !p.readOn(w, err) {
			return
		}
	}
}

// deliver writes b to the way's destination, unless the way discards.
func (p *portable) deliver(w way, b []byte) {
	if len(b) == 0 || p.phaseOf(w) != flowing {
		return
	}
	n, err := p.conns[w.back()].Write(b)
	p.moved[w].Add(int64(n))
	if err == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.course.over() {
		p.course.refused(w, err)
		p.rearm()
	}
}

// readOn judges a failed read and tells whether the way goes on. If it does not, the destination has got FIN.
func (p *portable) readOn(w way, err error) bool {
	p.mu.Lock()
	if p.course.over() {
		p.mu.Unlock()
		return false
	}
	if p.course.cancelled && errors.Is(err, os.ErrDeadlineExceeded) {
		p.mu.Unlock()
		p.conns[w].SetReadDeadline(time.Time{}) // a connection that is closed meanwhile fails the next read
		return true
	}
	sendFIN := p.course.phase[w] == flowing
	if errors.Is(err, io.EOF) {
		p.course.eof(w)
	} else {
		p.course.broken(w, err)
	}
	p.rearm()
	p.mu.Unlock()
	if sendFIN {
		closeWrite(p.conns[w.back()])
	}
	return false
}

// stopIfCancelled sends FIN, once all that was read is delivered.
func (p *portable) stopIfCancelled(w way) {
	p.mu.Lock()
	stop := p.course.mustStop(w)
	p.mu.Unlock()
	if !stop {
		return
	}
	closeWrite(p.conns[w.back()])
	p.mu.Lock()
	p.course.stopped(w)
	p.mu.Unlock()
}

func (p *portable) phaseOf(w way) phase {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.course.phase[w]
}

// leave ends one direction, and with the second one the relay.
func (p *portable) leave() {
	p.mu.Lock()
	p.running--
	last := p.running == 0
	if last && p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	if last {
		p.close()
		p.finish(0)
	}
}

// rearm watches for what bounds the relay in its present phases. mu is held.
func (p *portable) rearm() {
	interval := p.watch.set(p.course.bound(&p.flow.limits), p.total())
	switch {
	case interval <= 0 || p.course.over():
		if p.timer != nil {
			p.timer.Stop()
		}
	case p.timer == nil:
		p.timer = time.AfterFunc(interval, p.look)
	default:
		p.timer.Reset(interval)
	}
}

// look is the timer's function. A look that was due when the watch was set anew counts as its first: a quarter early.
func (p *portable) look() {
	p.mu.Lock()
	bound := p.course.bound(&p.flow.limits)
	if p.course.over() || bound.after <= 0 {
		p.mu.Unlock()
		return
	}
	if !p.watch.look(bound, p.total()) {
		p.timer.Reset(bound.interval())
		p.mu.Unlock()
		return
	}
	p.course.expire(bound)
	p.mu.Unlock()
	p.close()
}

func (p *portable) cancel() {
	p.mu.Lock()
	if p.course.over() || p.course.cancelled {
		p.mu.Unlock()
		return
	}
	p.course.cancel()
	p.rearm()
	p.mu.Unlock()
	for _, c := range p.conns {
		c.SetReadDeadline(longAgo) // fails only on a connection that is closed already
	}
}

func (p *portable) addrs() (a, b net.Addr) {
	return p.conns[aToB].RemoteAddr(), p.conns[bToA].RemoteAddr()
}

// close closes both; closing twice is harmless, and there is nobody to tell that it failed.
func (p *portable) close() {
	for _, c := range p.conns {
		c.Close()
	}
}

// closeWrite sends FIN. It fails only where the peer is gone, which reading from it shows too.
func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
		return
	}
	c.Close()
}
