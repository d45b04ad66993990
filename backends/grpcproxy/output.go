package grpcproxy

// Rules of this file.
//
// Any goroutine appends frames to a connection's output while it holds conn.mu, and notes the connection in its batch.
// When a goroutine is through with what it has read, it flushes the connections of its batch: one write carries the
// frames of many streams. One goroutine writes at a time; what is appended meanwhile goes out with its next write.
//
// A reader must never wait for somebody else's socket. Where the descriptor is at hand, a write that would block hands
// over to a goroutine of its own, which lives until the socket has taken everything; other connections (TLS, in memory)
// are always written that way.
//
// Bounds: DATA is appended only while less than outputBytesMax waits, so a stopped socket stops the streams behind it
// and not the gateway's memory. Other frames are always appended; more than controlBytesMax of them means a peer that
// asks and does not read the answers: its connection is ended.

import (
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	outputBytesMax  = 256 << 10
	controlBytesMax = 1 << 20
	// outputBytesKept is the largest buffer that goes back to the pool.
	outputBytesKept = 512 << 10
	// writeWait is how long a socket may take nothing at all before the connection is given up.
	writeWait = time.Minute
)

// buffer is a byte slice that can go through a pool without allocating.
type buffer struct{ bytes []byte }

var outputBuffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 16<<10)} }}

// output is what a connection has yet to write. conn.mu guards it.
type output struct {
	pending  *buffer // appended, not yet handed to a write; nil for nothing
	inflight int     // bytes in the running write
	writing  bool    // a goroutine is in flush or drain
	raw      syscall.RawConn
	write    func(fd uintptr) (done bool) // writeFD, made once
	try      []byte                       // what writeFD writes; the writing goroutine's
	tryErr   error
}

// waiting is the number of bytes that the socket has not taken.
func (o *output) waiting() int {
	if o.pending == nil {
		return o.inflight
	}
	return len(o.pending.bytes) + o.inflight
}

// writeFD never waits: it reports done also when the socket is full.
func (o *output) writeFD(fd uintptr) bool {
	for len(o.try) > 0 {
		n, err := syscall.Write(int(fd), o.try)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			o.tryErr = err
			return true
		}
		o.try = o.try[n:]
	}
	return true
}

// buffer returns what to append frames to.
func (o *output) buffer() *buffer {
	if o.pending == nil {
		o.pending = outputBuffers.Get().(*buffer)
	}
	return o.pending
}

// take swaps the pending bytes out for a write.
func (o *output) take() *buffer {
	p := o.pending
	o.pending = nil
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
	if c.out.writing {
		c.mu.Unlock()
		return
	}
	c.out.writing = true
	for c.out.pending != nil {
		p := c.out.take()
		c.mu.Unlock()
		rest, err := c.tryWrite(p.bytes)
		if err != nil {
			c.writeFailed(err)
			return
		}
		if len(rest) > 0 {
			go c.drain(p, rest)
			return
		}
		c.wrote(p, b)
		c.mu.Lock()
	}
	c.doneWriting()
}

// tryWrite returns what could not be written without waiting.
func (c *conn) tryWrite(p []byte) (rest []byte, err error) {
	if c.out.raw == nil {
		return p, nil
	}
	c.out.try, c.out.tryErr = p, nil
	if err := c.out.raw.Write(c.out.write); err != nil {
		return nil, err
	}
	return c.out.try, c.out.tryErr
}

// drain waits for the socket to take rest and all that is appended meanwhile. whole is the buffer that rest is part of.
func (c *conn) drain(whole *buffer, rest []byte) {
	var b batch
	for {
		if err := c.writeWaiting(rest); err != nil {
			c.writeFailed(err)
			break
		}
		c.wrote(whole, &b)
		c.mu.Lock()
		if c.out.pending == nil {
			_ = c.net.SetWriteDeadline(time.Time{}) // fails only when closed already
			c.doneWriting()
			break
		}
		whole = c.out.take()
		rest = whole.bytes
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
	hangUp, finish := c.hangUp, c.finish
	c.mu.Unlock()
	if half, ok := c.net.(interface{ CloseWrite() error }); ok && finish {
		_ = half.CloseWrite() // the peer may be gone
	}
	if hangUp {
		c.abort(io.EOF)
	}
}

// writeFailed ends the connection; its reader cleans up. writing stays true: nobody needs to try again.
func (c *conn) writeFailed(err error) {
	c.mu.Lock()
	c.out.inflight = 0
	c.mu.Unlock()
	c.abort(err)
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// abort makes the reader return, with err as the reason. It never waits and may be called with any lock but conn.mu.
func (c *conn) abort(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.dead = true
	c.mu.Unlock()
	_ = c.net.SetDeadline(longAgo) // fails only when closed already
}

// rawConn returns the descriptor of TCP and unix sockets, and nil for anything else.
func rawConn(conn net.Conn) syscall.RawConn {
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, _ := c.SyscallConn() // nil when it is closed
		return raw
	case *net.UnixConn:
		raw, _ := c.SyscallConn()
		return raw
	}
	return nil
}

// batch is what a goroutine has to do when it holds no lock. It is used by one goroutine.
type batch struct {
	conns    []*conn    // to flush
	backends []*backend // with a place for a waiting call
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
