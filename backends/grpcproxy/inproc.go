package grpcproxy

// A connection within the process (internal/inproc) whose other end is called, not woken: who brings bytes acts on them
// here and now, and what the engine sends is acted upon before send returns. It costs no goroutine, as one on an event loop.
//
// Rules of this file. Any goroutine may bring bytes, in the midst of anything, as long as it holds no lock; the first acts, for
// the others too, so that there is one reader at a time, and none waits. Who has acted inprocTurnsMax times leaves the rest to a
// goroutine, to get back to what it came from.

import (
	"errors"
	"io"
	"net"
	"sync"

	"gateway/internal/inproc"
)

// inprocTurnsMax is how often in a row a goroutine acts on what others bring.
const inprocTurnsMax = 16

// inprocSeat is a socket on no loop.
type inprocSeat struct {
	end   *inproc.Conn
	batch batch // the acting goroutine's

	mu     sync.Mutex
	conn   *conn  // nil before watch, and after the end
	came   []byte // and was not received
	spare  []byte // its memory, for next time
	acting bool
	over   bool // nothing more comes
	letGo  bool // act, whether something came or not: the connection is dead
}

// takeInproc returns nil where from is no connection within the process.
func takeInproc(from net.Conn) socket {
	if end, ok := from.(*inproc.Conn); ok {
		return &inprocSeat{end: end}
	}
	return nil
}

func (s *inprocSeat) watch(c *conn) error {
	c.batch = &s.batch
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
	s.end.Receive(s.bring, s.ended)
	s.act()
	return nil
}

// bring takes what the other end sends.
func (s *inprocSeat) bring(p []byte) {
	s.mu.Lock()
	if s.came == nil {
		s.came, s.spare = s.spare[:0], nil
	}
	s.came = append(s.came, p...)
	s.mu.Unlock()
	s.act()
}

func (s *inprocSeat) ended() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.act()
}

// act lets the connection read, unless another goroutine is at it, until there is nothing to do.
func (s *inprocSeat) act() {
	for turn := 0; ; turn++ {
		s.mu.Lock()
		c := s.conn
		if c == nil || s.acting || len(s.came) == 0 && !s.over && !s.letGo {
			s.mu.Unlock()
			return
		}
		if turn == inprocTurnsMax {
			s.mu.Unlock()
			go s.act()
			return
		}
		s.acting, s.letGo = true, false
		s.mu.Unlock()
		err := c.readable()
		s.batch.run()
		s.mu.Lock()
		s.acting = false
		if err != nil {
			s.conn, s.came = nil, nil
			c.batch = new(batch)
		}
		s.mu.Unlock()
		if err != nil {
			go func() {
				defer c.proxy.tasks.Done()
				c.end(err)
			}()
			return
		}
	}
}

// recv is the acting goroutine's.
func (s *inprocSeat) recv(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.came) == 0 {
		if s.over {
			return 0, io.EOF
		}
		return 0, nil
	}
	n := copy(p, s.came)
	if n == len(s.came) {
		if cap(s.came) <= outputBytesKept {
			s.spare = s.came
		}
		s.came = nil
	} else {
		s.came = s.came[n:]
	}
	return n, nil
}

// send gives the other end all of p.
func (s *inprocSeat) send(p []byte) (int, error) { return s.end.Write(p) }

// watchWritable is called when a turn was long: there is room at once.
func (s *inprocSeat) watchWritable(on bool) {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if !on || c == nil {
		return
	}
	go func() {
		var b batch
		c.writable(&b)
		b.run()
	}()
}

// hangUp is called with conn.mu held.
func (s *inprocSeat) hangUp() {
	s.mu.Lock()
	s.letGo = true
	s.mu.Unlock()
	go s.act()
}

var errInproc = errors.New("a connection within the process is no socket")

func (s *inprocSeat) ordinary() (net.Conn, error) { return nil, errInproc }

func (s *inprocSeat) close() { _ = s.end.Close() } // fails only when closed before
