package zmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Link is one peer of a Socket, from its handshake to its end.
type Link struct {
	socket   *Socket
	conn     *Conn
	endpoint *endpoint // of Connect; nil if the peer came
	since    time.Time
	name     string // ROUTER: the peer's routing id, its own or a made one
	inbox    inbox
	in, out  atomic.Int64 // bytes of messages
	dropped  atomic.Bool  // by this side, for no fault of the endpoint

	gone chan struct{} // closed when the peer has gone, after the last message was received
	err  error         // why; valid once gone is closed

	mu      sync.Mutex
	queue   messageQueue
	pumping bool // a goroutine writes the queue
	pumped  chan struct{}
	broken  bool // nothing more can be sent

	topics  topicSet // PUB: what the peer asks for. SUB: what it was told. Guarded by the socket's mu
	telling bool     // SUB: a goroutine tells the peer; guarded by the socket's mu
}

func newLink(s *Socket, c *Conn, e *endpoint) *Link {
	return &Link{socket: s, conn: c, endpoint: e, since: time.Now(), gone: make(chan struct{}), inbox: newInbox()}
}

// Peer is what the handshake found out about the peer.
func (l *Link) Peer() Peer { return l.conn.Peer() }

// RemoteAddr is the peer's address.
func (l *Link) RemoteAddr() net.Addr { return l.conn.RemoteAddr() }

// Gone is closed when the peer has gone and its last message was received.
func (l *Link) Gone() <-chan struct{} { return l.gone }

// Err tells why the peer has gone; nil while it is there.
func (l *Link) Err() error {
	select {
	case <-l.gone:
		return l.err
	default:
		return nil
	}
}

// Traffic is how many bytes of messages have come from the peer and were given to it.
func (l *Link) Traffic() (in, out int64) { return l.in.Load(), l.out.Load() }

// Drop ends the connection at once. An endpoint of Connect is dialled again without a pause.
func (l *Link) Drop() {
	l.dropped.Store(true)
	_ = l.conn.Close() // its reader tells the end
}

// promising says whether the endpoint, whose connection has ended, can be expected to take another at once.
func (l *Link) promising() bool {
	return l.endpoint != nil && (l.dropped.Load() || time.Since(l.since) >= steadyAfter)
}

// TrySend sends to this peer, envelope and all as they are in m. ErrFull: its queue is; ErrLost: it has gone.
func (l *Link) TrySend(m *Message) error {
	l.mu.Lock()
	write, err := l.put(m)
	l.mu.Unlock()
	if write {
		l.conn.out.write()
	}
	return err
}

// put is TrySend, but for writing, which the caller has to do if it is told to. l.mu is held.
func (l *Link) put(m *Message) (write bool, err error) {
	size := m.Bytes()
	if l.broken {
		return false, ErrLost
	}
	if !l.pumping {
		switch write, err := l.conn.put(context.Background(), m, false); {
		case err == nil:
			l.count(size)
			return write, nil
		case !errors.Is(err, ErrFull):
			l.broken = true
			return false, fmt.Errorf("%w: %w", ErrLost, err)
		}
	}
	if !l.queue.fits(size, &l.socket.options) {
		return false, ErrFull
	}
	l.queue.push(m.Clone(), size)
	l.count(size)
	if !l.pumping {
		l.pumping, l.pumped = true, make(chan struct{})
		go l.pump(l.pumped)
	}
	return false, nil
}

// count counts a message to the peer.
func (l *Link) count(size int) {
	l.out.Add(int64(size))
	l.socket.sent.Add(1)
}

// Send is TrySend that waits for room in the queue, until ctx ends.
func (l *Link) Send(ctx context.Context, m *Message) error {
	for {
		l.socket.mu.Lock()
		changed := l.socket.change()
		l.socket.mu.Unlock()
		if err := l.TrySend(m); !errors.Is(err, ErrFull) {
			return err
		}
		select {
		case <-changed:
		case <-l.gone:
			return ErrLost
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pump writes the queue until it is empty. The connection's end ends it: Close makes every Send return.
func (l *Link) pump(done chan<- struct{}) {
	defer close(done)
	low := l.socket.options.QueueMessagesMax / 2
	lowBytes := l.socket.options.QueueBytesMax / 2
	for {
		l.mu.Lock()
		if l.broken || l.queue.len() == 0 {
			l.pumping = false
			l.mu.Unlock()
			l.socket.hasRoom()
			return
		}
		m := l.queue.pop()
		// Waking the senders at half the mark instead of at each message is what libzmq does too.
		roomy := l.queue.len() == low || l.queue.bytes <= lowBytes && l.queue.bytes+m.Bytes() > lowBytes
		l.mu.Unlock()
		if roomy {
			l.socket.hasRoom()
		}
		if err := l.conn.Send(context.Background(), &m); err != nil {
			l.mu.Lock()
			l.broken = true
			l.socket.dropped.Add(int64(1 + l.queue.len()))
			l.queue = messageQueue{}
			l.mu.Unlock()
		}
	}
}

// hasRoom wakes those who wait for room.
func (s *Socket) hasRoom() {
	s.mu.Lock()
	s.wake()
	s.mu.Unlock()
}

// flush waits until everything was given to the system.
func (l *Link) flush(ctx context.Context) error {
	l.mu.Lock()
	pumping, pumped := l.pumping, l.pumped
	l.mu.Unlock()
	if pumping {
		select {
		case <-pumped:
		case <-l.gone:
			return ErrLost
		case <-ctx.Done():
			return fmt.Errorf("zmtp: flush: %w", ctx.Err())
		}
	}
	return l.conn.Flush(ctx)
}

// read takes messages until the connection ends.
func (l *Link) read(receive func(*Link, *Message)) error {
	s := l.socket
	m := &Message{}
	for {
		if err := l.conn.Recv(m); err != nil {
			return err
		}
		l.in.Add(int64(m.Bytes()))
		switch s.options.SocketType {
		case PUB:
			if err := s.wish(l, m); err != nil {
				return err
			}
			continue
		case PUSH:
			s.dropped.Add(1) // a PULL sends nothing
			continue
		case SUB:
			if !s.wants(m) {
				continue // its CANCEL is on the way
			}
		}
		s.received.Add(1)
		receive(l, m)
	}
}

// end closes the connection, waits until Recv has taken what came, and lets all know that the peer has gone.
func (l *Link) end(err error) {
	_ = l.conn.Close() // whatever it says, it is closed
	l.mu.Lock()
	l.broken = true
	pumping, pumped := l.pumping, l.pumped
	l.mu.Unlock()
	if pumping {
		<-pumped
	}
	l.socket.fair.drain(l)
	l.err = err
	close(l.gone)
	l.socket.hasRoom()
}

// messageQueue is a queue of messages with memory of their own.
type messageQueue struct {
	items []Message
	head  int
	bytes int
}

func (q *messageQueue) len() int { return len(q.items) - q.head }

// fits says whether another message of this size may come. One alone always may.
func (q *messageQueue) fits(size int, o *SocketOptions) bool {
	return q.len() == 0 || q.len() < o.QueueMessagesMax && q.bytes+size <= o.QueueBytesMax
}

func (q *messageQueue) push(m Message, size int) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, m)
	q.bytes += size
}

func (q *messageQueue) pop() Message {
	m := q.items[q.head]
	q.items[q.head] = Message{}
	q.head++
	q.bytes -= m.Bytes()
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return m
}
