package zmtp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Recv waits for the next message and puts it into m. REQ waits for the reply to what it sent: ErrLost says that the
// peer has gone and that no reply will come.
func (s *Socket) Recv(ctx context.Context, m *Message) error {
	if s.options.Receive != nil {
		return errors.New("zmtp: recv: the socket's Receive gets the messages")
	}
	switch s.options.SocketType {
	case DEALER, PULL, SUB:
		_, err := s.fair.take(ctx, m, nil)
		return err
	case ROUTER:
		l, err := s.fair.take(ctx, m, nil)
		if err == nil {
			m.prepend([]byte(l.name))
		}
		return err
	case REP:
		return s.nextRequest(ctx, m)
	case REQ:
		return s.awaitReply(ctx, m)
	}
	return fmt.Errorf("zmtp: recv: a %s cannot", s.options.SocketType)
}

// lockstep is where a REQ or REP is: one request at a time (RFC 28).
type lockstep struct {
	mu       sync.Mutex
	peer     *Link   // REQ: who owes the reply; REP: whom it goes to; nil = neither
	envelope Message // REP: what comes before the reply, the empty part included
}

// request sends m behind an empty part.
func (s *Socket) request(ctx context.Context, m *Message) error {
	s.lock.mu.Lock()
	defer s.lock.mu.Unlock()
	if s.lock.peer != nil {
		return fmt.Errorf("%w: a REQ that waits for a reply cannot send", ErrOutOfStep)
	}
	var stale Message
	for s.fair.tryTake(&stale) != nil {
		s.dropped.Add(1) // nobody asked for it
	}
	framed := m.Clone()
	framed.prepend(nil)
	l, err := s.deal(ctx, &framed)
	s.lock.peer = l
	return err
}

// awaitReply takes the reply of the peer that was asked. What else comes is dropped, as libzmq does.
func (s *Socket) awaitReply(ctx context.Context, m *Message) error {
	s.lock.mu.Lock()
	defer s.lock.mu.Unlock()
	if s.lock.peer == nil {
		return fmt.Errorf("%w: a REQ receives what it asked for", ErrOutOfStep)
	}
	for {
		from, err := s.fair.take(ctx, m, s.lock.peer.gone)
		switch {
		case err != nil:
			if errors.Is(err, ErrLost) {
				s.lock.peer = nil
			}
			return err
		case from == s.lock.peer && m.parts > 1 && len(m.Part(0)) == 0:
			s.lock.peer = nil
			*m = m.tail(1)
			return nil
		}
		s.dropped.Add(1)
	}
}

// Abandon lets a REQ, whose Recv gave up, ask again without having got its reply. The connection that owes it is dropped, so that the reply,
// if it comes, cannot be taken for that of another request.
func (s *Socket) Abandon() {
	s.lock.mu.Lock()
	defer s.lock.mu.Unlock()
	if s.lock.peer != nil {
		s.lock.peer.Drop()
		s.lock.peer = nil
	}
}

// nextRequest takes a request and keeps its envelope: all up to the first empty part. One without is dropped.
func (s *Socket) nextRequest(ctx context.Context, m *Message) error {
	s.lock.mu.Lock()
	defer s.lock.mu.Unlock()
	if s.lock.peer != nil {
		return fmt.Errorf("%w: a REP replies before it receives again", ErrOutOfStep)
	}
	for {
		from, err := s.fair.take(ctx, m, nil)
		if err != nil {
			return err
		}
		n := m.EnvelopeLen()
		if n == 0 || n == m.parts {
			s.dropped.Add(1)
			continue
		}
		s.lock.peer = from
		s.lock.envelope.Reset()
		for i := range n {
			s.lock.envelope.Append(m.Part(i))
		}
		*m = m.tail(n)
		return nil
	}
}

// reply sends m to whom the request came from. Whether that works or not, the next request may come.
func (s *Socket) reply(ctx context.Context, m *Message) error {
	s.lock.mu.Lock()
	defer s.lock.mu.Unlock()
	if s.lock.peer == nil {
		return fmt.Errorf("%w: a REP receives before it replies", ErrOutOfStep)
	}
	l := s.lock.peer
	s.lock.peer = nil
	framed := s.lock.envelope.Clone()
	for i := range m.parts {
		framed.Append(m.Part(i))
	}
	return s.counted(l.Send(ctx, &framed))
}

// EnvelopeLen is the number of parts up to the first empty one, which is counted; 0 without one (RFC 28).
func (m *Message) EnvelopeLen() int {
	for i := range m.parts {
		if len(m.Part(i)) == 0 {
			return i + 1
		}
	}
	return 0
}

// tail is the message without its first n parts. It shares memory with m.
func (m *Message) tail(n int) Message {
	t := Message{kind: m.kind, slab: m.slab, parts: m.parts - n}
	for i := range t.parts {
		if i < spansInline {
			t.first[i] = m.span(i + n)
		} else {
			t.rest = append(t.rest, m.span(i+n))
		}
	}
	return t
}

// prepend puts a copy of part before all others.
func (m *Message) prepend(part []byte) {
	m.Append(part)
	moved := m.span(m.parts - 1)
	for i := range m.parts {
		at := &m.first[min(i, spansInline-1)]
		if i >= spansInline {
			at = &m.rest[i-spansInline]
		}
		*at, moved = moved, *at
	}
}

// name gives l the routing id that its peer announced, or makes one as libzmq does: a zero and four bytes. s.mu is held.
func (s *Socket) name(l *Link) error {
	if id := l.conn.Peer().Identity(); len(id) > 0 {
		if _, taken := s.byName[string(id)]; taken {
			return fmt.Errorf("%w: %.*q", ErrNameTaken, nameShownMax, id)
		}
		l.name = string(id)
		s.byName[l.name] = l
		return nil
	}
	for {
		s.nextName++
		name := string(binary.BigEndian.AppendUint32([]byte{0}, s.nextName))
		if _, taken := s.byName[name]; !taken {
			l.name = name
			s.byName[name] = l
			return nil
		}
	}
}

// Name is the routing id by which a ROUTER knows the peer.
func (l *Link) Name() []byte { return slices.Clone([]byte(l.name)) }
