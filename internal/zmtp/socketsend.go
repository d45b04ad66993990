package zmtp

import (
	"context"
	"errors"
	"fmt"
)

// Send sends a message as the pattern has it, and waits while nobody is there to take it, until ctx ends. PUB never
// waits: who cannot keep up does not get it. m is free for use again when Send returns, and unchanged.
//
// ErrUnroutable: a ROUTER has no such peer; ErrLost: REP's has gone; ErrOutOfStep: it is not the turn of a REQ or REP.
func (s *Socket) Send(ctx context.Context, m *Message) error {
	if err := s.checkSend(m); err != nil {
		return err
	}
	switch s.options.SocketType {
	case PUSH, DEALER:
		_, err := s.deal(ctx, m)
		return err
	case REQ:
		return s.request(ctx, m)
	case REP:
		return s.reply(ctx, m)
	case PUB:
		_ = s.publish(m) // who is too slow misses it
		return nil
	}
	l, rest, err := s.route(m)
	if err != nil {
		return err
	}
	return s.counted(l.Send(ctx, &rest))
}

// TrySend is Send that does not wait: ErrFull says that all peers are too slow, ErrNoPeer that there is none; from a PUB,
// that one who wants it did not get it. PUSH, DEALER, ROUTER and PUB have it.
func (s *Socket) TrySend(m *Message) error {
	if err := s.checkSend(m); err != nil {
		return err
	}
	switch s.options.SocketType {
	case PUSH, DEALER:
		_, err := s.tryDeal(m)
		return err
	case PUB:
		return s.publish(m)
	case ROUTER:
		l, rest, err := s.route(m)
		if err != nil {
			return err
		}
		return s.counted(l.TrySend(&rest))
	}
	return fmt.Errorf("zmtp: send: a %s has to wait for its peer", s.options.SocketType)
}

// Offer sends to the next ready peer, envelope and all as they are in m, and says to whom; with it the caller sees
// whether the peer goes before it answers. It waits as Ready does, but not for room (ErrFull). PUSH, DEALER and REQ have
// it.
func (s *Socket) Offer(ctx context.Context, m *Message) (*Link, error) {
	for {
		l, err := s.tryDeal(m)
		if !errors.Is(err, ErrNoPeer) {
			return l, err
		}
		if err := s.Ready(ctx); err != nil {
			return nil, err
		}
	}
}

// TryOffer is Offer that does not wait: ErrNoPeer says that nobody is there.
func (s *Socket) TryOffer(m *Message) (*Link, error) { return s.tryDeal(m) }

// Ready waits until a peer is there, while a connection is about to come: one that was never tried, or one that ended
// after a good while. ErrNoPeer says that there is none, nor will there be soon.
func (s *Socket) Ready(ctx context.Context) error {
	for {
		s.mu.Lock()
		closed, peers, hope, changed := s.closed, len(s.links), s.hopeful, s.change()
		s.mu.Unlock()
		switch {
		case closed:
			return ErrClosed
		case peers > 0:
			return nil
		case hope == 0:
			return ErrNoPeer
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNoPeer, ctx.Err())
		}
	}
}

func (s *Socket) checkSend(m *Message) error {
	if m.parts == 0 {
		return errors.New("zmtp: send: a message has at least one part")
	}
	switch t := s.options.SocketType; t {
	case PULL, SUB:
		return fmt.Errorf("zmtp: send: a %s cannot", t)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	return nil
}

// deal gives m to the next peer that has room, and waits for one.
func (s *Socket) deal(ctx context.Context, m *Message) (*Link, error) {
	for {
		s.mu.Lock()
		closed, changed := s.closed, s.change()
		s.mu.Unlock()
		if closed {
			return nil, ErrClosed
		}
		l, err := s.tryDeal(m)
		if err == nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// tryDeal gives m to the next peer that has room.
func (s *Socket) tryDeal(m *Message) (*Link, error) {
	result := ErrNoPeer
	for tries := 0; ; tries++ {
		l, peers := s.next()
		if tries >= peers {
			return nil, result
		}
		switch err := l.TrySend(m); {
		case err == nil:
			return l, nil
		case errors.Is(err, ErrFull):
			result = err
		default:
			s.disregard(l) // its reader has not noticed yet
		}
	}
}

// next is the peer whose turn it is, and how many there are.
func (s *Socket) next() (*Link, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.links) == 0 {
		return nil, 0
	}
	s.turn = (s.turn + 1) % len(s.links)
	return s.links[s.turn], len(s.links)
}

// publish gives a copy to everyone who asked for it. The error is that of one who did not get it.
func (s *Socket) publish(m *Message) (missed error) {
	s.mu.Lock()
	links := s.links
	s.mu.Unlock()
	for _, l := range links {
		s.mu.Lock()
		wanted := l.topics.match(m.Part(0))
		s.mu.Unlock()
		if !wanted {
			continue
		}
		if err := s.counted(l.TrySend(m)); err != nil {
			missed = err
		}
	}
	return missed
}

// route finds the peer that the first part names, and what it is to get.
func (s *Socket) route(m *Message) (*Link, Message, error) {
	s.mu.Lock()
	l := s.byName[string(m.Part(0))]
	s.mu.Unlock()
	if l == nil {
		return nil, Message{}, s.counted(ErrUnroutable)
	}
	if m.parts == 1 {
		return nil, Message{}, errors.New("zmtp: send: nothing follows the peer's name")
	}
	return l, m.tail(1), nil
}

// counted counts a message that was not sent.
func (s *Socket) counted(err error) error {
	if err != nil {
		s.dropped.Add(1)
	}
	return err
}
