// Package inproc connects two parts of the process. Each end of a Pipe is a net.Conn; an end can also be called with what
// comes for it, on the goroutine of who sends it, so that no other goroutine has to wake up for it.
package inproc

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// bufferBytesMax is what waits for a Read; then Write waits.
const bufferBytesMax = 256 << 10

// Conn is one end. One goroutine writes at a time.
//
// Rules: mu of an end guards what comes to it. Nothing is called with mu held.
type Conn struct {
	other *Conn

	mu       sync.Mutex
	changed  sync.Cond
	buf      []byte         // came, and was not taken
	receive  func(p []byte) // takes what comes; nil: Read does
	over     func()         // is told that nothing more comes
	ended    bool           // the other end is closed
	closed   bool
	deadline time.Time // of Read
	timer    *time.Timer
}

// Pipe makes both ends.
func Pipe() (*Conn, *Conn) {
	a, b := &Conn{}, &Conn{}
	a.other, b.other = b, a
	a.changed.L, b.changed.L = &a.mu, &b.mu
	return a, b
}

// Receive has receive called with what comes, and with what has come, in place of Read: by one goroutine at a time, in
// order. It is called by the goroutine that writes at the other end, which therefore never waits there; it must not wait
// either, nor keep p. over is called once, on a goroutine of its own, when nothing more comes.
func (c *Conn) Receive(receive func(p []byte), over func()) {
	c.mu.Lock()
	for len(c.buf) > 0 { // what comes meanwhile lands behind it
		p := c.buf
		c.buf = nil
		c.mu.Unlock()
		receive(p)
		c.mu.Lock()
	}
	c.receive, c.over = receive, over
	ended := c.ended
	c.changed.Broadcast()
	c.mu.Unlock()
	if ended {
		go over()
	}
}

// Write gives p to the other end.
func (c *Conn) Write(p []byte) (n int, err error) {
	to := c.other
	to.mu.Lock()
	for {
		if to.ended || to.closed {
			to.mu.Unlock()
			return n, io.ErrClosedPipe
		}
		if receive := to.receive; receive != nil {
			to.mu.Unlock()
			receive(p)
			return n + len(p), nil
		}
		if room := min(bufferBytesMax-len(to.buf), len(p)); room > 0 {
			to.buf = append(to.buf, p[:room]...)
			p = p[room:]
			n += room
			to.changed.Broadcast()
		}
		if len(p) == 0 {
			to.mu.Unlock()
			return n, nil
		}
		to.changed.Wait()
	}
}

// Read waits for what comes.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case len(c.buf) > 0:
			n := copy(p, c.buf)
			if c.buf = c.buf[n:]; len(c.buf) == 0 {
				c.buf = nil
			}
			c.changed.Broadcast()
			return n, nil
		case c.ended:
			return 0, io.EOF
		case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
			return 0, os.ErrDeadlineExceeded
		}
		c.changed.Wait()
	}
}

// Close ends both directions. What has come and was not read is lost, what was sent is still read.
func (c *Conn) Close() error {
	c.mu.Lock()
	already := c.closed
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.changed.Broadcast()
	c.mu.Unlock()
	if already {
		return net.ErrClosed
	}
	to := c.other
	to.mu.Lock()
	defer to.mu.Unlock()
	to.ended = true
	to.changed.Broadcast()
	if to.over != nil {
		go to.over()
	}
	return nil
}

// SetReadDeadline bounds Read.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.deadline = t
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if !t.IsZero() {
		c.timer = time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			c.changed.Broadcast()
			c.mu.Unlock()
		})
	}
	return nil
}

// SetWriteDeadline does nothing: Write waits only for a Read, until either end is closed.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is SetReadDeadline.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// LocalAddr says nothing.
func (c *Conn) LocalAddr() net.Addr { return address{} }

// RemoteAddr says nothing.
func (c *Conn) RemoteAddr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "inproc" }
func (address) String() string  { return "inproc" }
