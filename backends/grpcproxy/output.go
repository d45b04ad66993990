package grpcproxy

// Rules of this file.
//
// Any goroutine appends frames to a connection's output while it holds conn.mu, and notes the connection in its batch.
// When a goroutine is through with what it has read, it flushes the connections of its batch: one write carries the
// frames of many streams. One goroutine writes at a time; what is appended meanwhile goes out with its next write.
//
// A reader must never wait for somebody else's socket. Where an event loop has the descriptor, anybody writes to it without
// waiting; when the socket is full the rest is the loop's, which writes on when it is told that there is room. The same
// where the peer reads as fast as others bring more for it: no turn is longer than turnBytesMax. Other connections (TLS,
// in memory) are written by a goroutine of its own, which lives until they have taken everything.
//
// Bounds: DATA is appended only while less than outputBytesMax waits, so a stopped socket stops the streams behind it
// and not the gateway's memory. Other frames are always appended; more than controlBytesMax of them means a peer that
// asks and does not read the answers: its connection is ended.

import (
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	outputBytesMax  = 256 << 10
	controlBytesMax = 1 << 20
	// outputBytesKept is the largest buffer that goes back to the pool.
	outputBytesKept = 512 << 10
	// turnBytesMax is how much is written to a socket in one go, and a little more: the other connections of the loop wait.
	turnBytesMax = 1 << 20
	// writeWait is how long a socket may take nothing at all before the connection is given up.
	writeWait = time.Minute
)

// buffer is a byte slice that can go through a pool without allocating.
type buffer struct{ bytes []byte }

var outputBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 16<<10)} }}

// output is what a connection has yet to write. conn.mu guards it.
type output struct {
	pending  *buffer   // appended, not yet handed to a write; nil for nothing
	last     lastData  // what pending ends with
	inflight int       // bytes in the running write
	writing  bool      // a goroutine is in flush or drain, or stuck is the loop's to write
	stuck    *buffer   // what the full socket has not taken; nil: nothing
	rest     []byte    // the part of stuck that is left
	idle     sync.Cond // of writing
}

// lastData is a DATA frame without END_STREAM that nothing follows yet. The zero value is none.
type lastData struct {
	stream uint32
	length int // of its payload
}

// socket is a descriptor on an event loop. It never waits.
type socket interface {
	// watch gives the connection to the loop. It is called once.
	watch(*conn) error
	// recv gives 0 bytes where there is nothing to read, and io.EOF at the end.
	recv(p []byte) (int, error)
	// send gives less than len(p) where the socket is full.
	send(p []byte) (int, error)
	// watchWritable makes the loop call writable, until it is turned off.
	watchWritable(on bool)
	// hangUp makes the loop let go.
	hangUp()
	// ordinary turns it into a net.Conn. It is of no use afterwards.
	ordinary() (net.Conn, error)
	// close closes it, if it is still of use.
	close()
}

// waiting is the number of bytes that the socket has not taken.
func (o *output) waiting() int {
	if o.pending == nil {
		return o.inflight
	}
	return len(o.pending.bytes) + o.inflight
}

// buffer returns what to append frames to.
func (o *output) buffer() *buffer {
	o.last = lastData{}
	if o.pending == nil {
		o.pending = outputBuffers.Get().(*buffer)
	}
	return o.pending
}

// appendData appends DATA, to the frame before if that is the stream's and has room: a peer is spared the handling of
// another frame.
func (o *output) appendData(stream uint32, end bool, p []byte) {
	last := o.last
	if last.stream != stream || last.length+len(p) > frameBytesMax {
		buf := o.buffer()
		buf.bytes = appendFrameHeader(buf.bytes, 0, http2.FrameData, 0, stream)
		last = lastData{stream: stream}
	}
	b := append(o.pending.bytes, p...)
	o.pending.bytes = b
	last.length += len(p)
	var flags http2.Flags
	if end {
		flags = http2.FlagDataEndStream
	}
	appendFrameHeader(b[:len(b)-last.length-frameHeaderBytes], last.length, http2.FrameData, flags, stream)
	if o.last = last; end {
		o.last = lastData{}
	}
}

// take swaps the pending bytes out for a write.
func (o *output) take() *buffer {
	p := o.pending
	o.pending, o.last = nil, lastData{}
	o.inflight = len(p.bytes)
	return p
}

func (p *buffer) recycle() {
	if cap(p.bytes) <= outputBytesKept {
		p.bytes = p.bytes[:0]
		outputBuffers.Put(p)
	}
}

// flush writes what is pending, unless another goroutine is at it, and lets blocked streams follow. No lock is held.
func (c *conn) flush(b *batch) {
	c.mu.Lock()
	if c.out.writing || c.dead {
		c.mu.Unlock()
		return
	}
	c.out.writing = true
	c.writePending(b)
}

// writePending is called with conn.mu held, by the one who writes, and releases it.
func (c *conn) writePending(b *batch) {
	written := 0
	for c.out.pending != nil {
		p, to := c.out.take(), c.seat
		if to != nil && written > turnBytesMax && !c.leaving {
			c.leaveToLoop(to, p, p.bytes)
			c.mu.Unlock()
			return
		}
		written += len(p.bytes)
		c.mu.Unlock()
		if to == nil {
			b.begun = true
			go c.drain(p)
			return
		}
		if !c.send(to, p, p.bytes, b) {
			return
		}
		c.mu.Lock()
	}
	c.doneWriting()
}

// send writes rest, which is part of whole. It reports false if others go on, or nobody.
func (c *conn) send(to socket, whole *buffer, rest []byte, b *batch) bool {
	n, err := to.send(rest)
	if c.count != nil {
		c.count(0, n, nil)
	}
	if n > 0 && c.stuckSince.Load() != 0 {
		c.stuckSince.Store(0)
	}
	switch {
	case err != nil:
		c.writeFailed(err)
		return false
	case n < len(rest):
		c.getStuck(to, whole, rest[n:])
		return false
	}
	c.wrote(whole, b)
	return true
}

// getStuck leaves the rest to the loop, unless that has let go of the connection: then the rest is lost.
func (c *conn) getStuck(to socket, whole *buffer, rest []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving {
		c.dead, c.out.writing = true, false
		c.out.idle.Signal()
		return
	}
	c.leaveToLoop(to, whole, rest)
}

// leaveToLoop makes the loop write the rest when it comes by and the socket has room. conn.mu is held.
func (c *conn) leaveToLoop(to socket, whole *buffer, rest []byte) {
	c.out.stuck, c.out.rest = whole, rest
	if c.stuckSince.Load() == 0 {
		c.stuckSince.Store(int64(c.proxy.now()))
	}
	to.watchWritable(true)
}

// writable goes on after leaveToLoop. It is the loop's, and the watch's when that has taken long.
func (c *conn) writable(b *batch) {
	c.mu.Lock()
	whole, rest, to := c.out.stuck, c.out.rest, c.seat
	if whole == nil {
		c.mu.Unlock()
		return
	}
	c.out.stuck, c.out.rest = nil, nil
	to.watchWritable(false)
	c.mu.Unlock()
	if c.send(to, whole, rest, b) {
		c.mu.Lock()
		c.writePending(b)
	}
}

// drain waits for the connection to take p and all that is appended meanwhile.
func (c *conn) drain(p *buffer) {
	var b batch
	for {
		if err := c.writeWaiting(p.bytes); err != nil {
			c.writeFailed(err)
			break
		}
		c.wrote(p, &b)
		c.mu.Lock()
		if c.out.pending == nil {
			_ = c.net.SetWriteDeadline(time.Time{}) // fails only when closed already
			c.doneWriting()
			break
		}
		p = c.out.take()
		c.mu.Unlock()
		b.run() // the credit that blocked streams earned; this connection itself is being written
	}
	b.run()
}

func (c *conn) writeWaiting(p []byte) error {
	for len(p) > 0 {
		if err := c.net.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
			return err
		}
		c.mu.Lock()
		dead := c.dead
		c.mu.Unlock()
		if dead { // now, or the deadline that abort sets comes after ours
			return net.ErrClosed
		}
		n, err := c.net.Write(p[:min(len(p), outputBytesMax)])
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// wrote gives the buffer back and appends what was blocked for want of room.
func (c *conn) wrote(p *buffer, b *batch) {
	p.recycle()
	c.mu.Lock()
	c.out.inflight = 0
	c.mu.Unlock()
	c.resume(b)
}

// doneWriting is called with conn.mu held and releases it.
func (c *conn) doneWriting() {
	c.out.writing = false
	c.out.idle.Signal()
	hangUp, finish, conn := c.hangUp, c.finish, c.net
	c.mu.Unlock()
	if half, ok := conn.(interface{ CloseWrite() error }); ok && finish {
		_ = half.CloseWrite() // the peer may be gone
	}
	if hangUp {
		c.abort(io.EOF)
	}
}

// writeFailed ends the connection; its reader cleans up.
func (c *conn) writeFailed(err error) {
	c.mu.Lock()
	c.out.inflight = 0
	c.dead, c.out.writing = true, false
	c.out.idle.Signal()
	c.mu.Unlock()
	c.abort(err)
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// abort makes the reader let go, with err as the reason. It never waits and may be called with any lock but conn.mu.
func (c *conn) abort(err error) {
	c.unfit.Store(true)
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.dead = true
	conn, on := c.net, c.seat
	if on != nil {
		on.hangUp()
	}
	c.mu.Unlock()
	if on == nil {
		_ = conn.SetDeadline(longAgo) // fails only when closed already
	}
}

// batch is what a goroutine has to do when it holds no lock. It is used by one goroutine.
type batch struct {
	conns    []*conn    // to flush
	backends []*backend // with a place for a waiting call
	begun    bool       // a goroutine, which a loop lets run
}

func (b *batch) touch(c *conn) {
	for _, have := range b.conns {
		if have == c {
			return
		}
	}
	b.conns = append(b.conns, c)
}

func (b *batch) wake(be *backend) {
	for _, have := range b.backends {
		if have == be {
			return
		}
	}
	b.backends = append(b.backends, be)
}

// run does it all, and what comes up on the way. No lock is held.
func (b *batch) run() {
	for len(b.backends)+len(b.conns) > 0 {
		if n := len(b.backends) - 1; n >= 0 {
			be := b.backends[n]
			b.backends = b.backends[:n]
			be.dispatchWaiting(b)
			continue
		}
		n := len(b.conns) - 1
		c := b.conns[n]
		b.conns[n] = nil
		b.conns = b.conns[:n]
		c.flush(b)
	}
}
