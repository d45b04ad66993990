package pair

import (
	"container/list"
	"net"
	"sync"
)

// crowd bounds connections that are let wait for what they say. The oldest is closed when there are too many: who has
// something to say has said it long ago. The zero value lets nobody stay.
type crowd struct {
	max int

	mu     sync.Mutex
	closed bool
	all    list.List // of *straggler, the oldest first
}

type straggler struct {
	conn net.Conn
	out  bool // closed to make place, or at the end
}

// enter takes a connection in. leave takes it out again, and tells whether it was closed meanwhile.
func (c *crowd) enter(conn net.Conn) (leave func() (closed bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &straggler{conn: conn}
	place := c.all.PushBack(s)
	for c.all.Len() > c.max || c.closed && c.all.Len() > 0 {
		c.drop()
	}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !s.out {
			c.all.Remove(place)
		}
		return s.out
	}
}

// drop closes the oldest. mu is held.
func (c *crowd) drop() {
	oldest := c.all.Remove(c.all.Front()).(*straggler)
	oldest.out = true
	oldest.conn.Close()
}

// close drops all, and whoever enters from now on.
func (c *crowd) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for c.all.Len() > 0 {
		c.drop()
	}
}
