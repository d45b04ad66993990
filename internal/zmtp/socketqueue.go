package zmtp

import (
	"context"
	"sync"
)

// spareMessagesMax and spareBytesMax bound the memory that a peer's queue keeps for messages to come.
const (
	spareMessagesMax = 16
	spareBytesMax    = 16 << 10
)

// fairQueue holds what peers sent, in a queue for each, and gives it out one peer after the other.
//
// Rules: put is called by a peer's one reader, take from any goroutine. Both channels carry a token: who finds one looks
// again, and who leaves something behind puts it back, so that no wake-up is lost and nothing is allocated.
type fairQueue struct {
	mu      sync.Mutex
	ready   []*Link // those with a message, in the order of their turns; each once
	arrived chan struct{}
	closed  chan struct{}
}

// inbox is a peer's queue. fairQueue.mu guards it.
type inbox struct {
	queue  messageQueue
	spares []Message     // memory to read into
	room   chan struct{} // a token: a message was taken
}

func newInbox() inbox { return inbox{room: make(chan struct{}, 1)} }

func (q *fairQueue) init() {
	q.arrived, q.closed = make(chan struct{}, 1), make(chan struct{})
}

// put queues m, whose content it takes away, and waits while the peer's queue is full.
func (q *fairQueue) put(l *Link, m *Message) {
	size := m.Bytes()
	for {
		q.mu.Lock()
		if l.inbox.queue.fits(size, &l.socket.options) {
			break
		}
		q.mu.Unlock()
		select {
		case <-l.inbox.room:
		case <-q.closed:
			return
		}
	}
	l.inbox.queue.push(*m, size)
	*m = l.inbox.spare()
	if l.inbox.queue.len() == 1 {
		q.ready = append(q.ready, l)
	}
	q.mu.Unlock()
	token(q.arrived)
}

// take waits for a message, and gives it to m, whose memory it keeps for another. gone ends the wait with ErrLost.
func (q *fairQueue) take(ctx context.Context, m *Message, gone <-chan struct{}) (*Link, error) {
	for {
		if l := q.tryTake(m); l != nil {
			return l, nil
		}
		select {
		case <-q.arrived:
		case <-q.closed:
			return nil, ErrClosed
		case <-gone:
			return nil, ErrLost
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryTake is take that does not wait: nil means that nothing is there.
func (q *fairQueue) tryTake(m *Message) *Link {
	q.mu.Lock()
	if len(q.ready) == 0 {
		q.mu.Unlock()
		return nil
	}
	l := q.next(m)
	more := len(q.ready) > 0
	q.mu.Unlock()
	token(l.inbox.room)
	if more {
		token(q.arrived)
	}
	return l
}

// next takes the message of the peer whose turn it is. q.mu is held.
func (q *fairQueue) next(m *Message) *Link {
	l := q.ready[0]
	q.ready = append(q.ready[:0], q.ready[1:]...)
	l.inbox.keep(m)
	*m = l.inbox.queue.pop()
	if l.inbox.queue.len() > 0 {
		q.ready = append(q.ready, l)
	}
	return l
}

// drain waits until all that l sent was taken.
func (q *fairQueue) drain(l *Link) {
	for {
		q.mu.Lock()
		empty := l.inbox.queue.len() == 0
		q.mu.Unlock()
		if empty {
			return
		}
		select {
		case <-l.inbox.room:
		case <-q.closed:
			return
		}
	}
}

func (q *fairQueue) close() { close(q.closed) }

func (b *inbox) spare() Message {
	if len(b.spares) == 0 {
		return Message{}
	}
	m := b.spares[len(b.spares)-1]
	b.spares = b.spares[:len(b.spares)-1]
	return m
}

// keep keeps the memory of m.
func (b *inbox) keep(m *Message) {
	if len(b.spares) < spareMessagesMax && cap(m.slab) > 0 && cap(m.slab) <= spareBytesMax {
		b.spares = append(b.spares, *m)
	}
	*m = Message{}
}

// token leaves a token, if there is none.
func token(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
