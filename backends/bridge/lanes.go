package bridge

import (
	"errors"
	"io"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gateway/internal/zmtp"
)

// lanesMax bounds the connections of a REQ backend: each carries one call at a time.
const lanesMax = 64

// lanes are the connections of a REQ backend. A call takes one and gives it back when its reply has come; one whose reply
// did not come in time is closed, so that the reply cannot be taken for that of another call, and made again.
//
// Rules: every connection is in idle, or held by one call, or about to leave.
type lanes struct {
	backend *Backend

	mu     sync.Mutex
	idle   []*zmtp.Link
	wanted int                              // endpoints connected to
	busy   map[*zmtp.Link]chan zmtp.Message // where a call waits for its reply
	free   chan struct{}                    // closed when a lane became idle or has left; nil while nobody waits
}

func (l *lanes) init(b *Backend) {
	l.backend, l.busy, l.wanted = b, map[*zmtp.Link]chan zmtp.Message{}, len(b.options.Endpoints)
}

// changed follows the connections.
func (l *lanes) changed(link *zmtp.Link, up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wake() // when a lane has left too: it may have been the last
	if up {
		l.idle = append(l.idle, link)
		return
	}
	l.idle = slices.DeleteFunc(l.idle, func(have *zmtp.Link) bool { return have == link })
}

// wake lets calls look for a lane again. l.mu is held.
func (l *lanes) wake() {
	if l.free != nil {
		close(l.free)
		l.free = nil
	}
}

// receive hands a reply to the call that waits on its lane.
func (l *lanes) receive(from *zmtp.Link, m *zmtp.Message) {
	l.mu.Lock()
	reply := l.busy[from]
	l.mu.Unlock()
	if reply != nil {
		select {
		case reply <- m.Clone():
			return
		default: // a second reply to one request
		}
	}
	l.backend.drop("late reply")
}

// take returns an idle lane, or nil and what to wait for. Another connection is made while there are too few.
func (l *lanes) take(reply chan zmtp.Message) (*zmtp.Link, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle); n > 0 {
		link := l.idle[n-1]
		l.idle = l.idle[:n-1]
		l.busy[link] = reply
		return link, nil
	}
	if l.free == nil {
		l.free = make(chan struct{})
	}
	if endpoints := l.backend.options.Endpoints; l.wanted < lanesMax && len(l.busy) >= l.wanted {
		if l.backend.socket.Connect(endpoints[l.wanted%len(endpoints)]) == nil {
			l.wanted++
		}
	}
	return nil, l.free
}

// give takes a lane back.
func (l *lanes) give(link *zmtp.Link, answered bool) {
	if !answered {
		link.Drop()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.busy, link)
	if answered && link.Err() == nil {
		l.idle = append(l.idle, link)
		l.wake()
	}
}

// request carries a call by a REQ.
func (b *Backend) request(c call) error {
	ctx := c.Context()
	m := zmtp.NewMessage(nil)
	if err := c.receiveFirst(m); err != nil {
		return err
	}
	if err := c.receive(&zmtp.Message{}); !errors.Is(err, io.EOF) {
		if err == nil {
			err = status.Errorf(codes.Unimplemented, "backend %q is reached by a REQ, which carries one message a call; a stream needs a DEALER", b.options.Name)
		}
		return err
	}
	replies := make(chan zmtp.Message, 1)
	link, err := b.lane(c, replies)
	if err != nil {
		return err
	}
	answered := false
	defer func() { b.lanes.give(link, answered) }()
	if err := link.TrySend(m); err != nil {
		return b.sendError(ctx, err)
	}
	var reply zmtp.Message
	select {
	case reply = <-replies:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-link.Gone():
		select {
		case reply = <-replies: // it came before the end
		default:
			return c.lostError(b, link)
		}
	}
	answered = true
	if reply.Len() < 2 || len(reply.Part(0)) > 0 {
		return status.Error(codes.Internal, "the reply does not begin with an empty frame")
	}
	_, err = c.reply(&reply, 1)
	return err
}

// lane waits for an idle lane.
func (b *Backend) lane(c call, replies chan zmtp.Message) (*zmtp.Link, error) {
	for {
		link, free := b.lanes.take(replies)
		if link != nil {
			return link, nil
		}
		if err := b.socket.Ready(c.Context()); err != nil {
			return nil, b.sendError(c.Context(), err)
		}
		select {
		case <-free:
		case <-c.Context().Done():
			return nil, status.FromContextError(c.Context().Err()).Err()
		}
	}
}
