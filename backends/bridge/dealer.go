package bridge

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gateway/internal/zmtp"
)

// idBytes is the size of a correlation id, the first frame of every message to a service behind a DEALER.
const idBytes = 8

// dealer knows which reply belongs to which call.
type dealer struct {
	backend *Backend
	last    atomic.Uint64
	mu      sync.Mutex
	waiting map[uint64]awaiting
}

// awaiting is a call that waits for replies.
type awaiting interface {
	// take takes a reply, which is the socket's again when it returns, and reports false for one that came over another
	// connection than the request went: a guess.
	take(b *Backend, from *zmtp.Link, m *zmtp.Message) (right bool)
}

// dealt is a call on a DEALER.
type dealt struct {
	call
	id [idBytes]byte

	wake chan struct{} // a token: something below has changed

	mu       sync.Mutex
	link     *zmtp.Link     // where the first message went
	replies  []zmtp.Message // envelope and all
	bytes    int            // of replies
	overflow bool           // a reply was thrown away, as the caller took none
	sent     int            // messages
	sentAll  bool           // the caller has no more
	failed   error          // why sending ended
}

func (d *dealer) init(b *Backend) { d.backend, d.waiting = b, map[uint64]awaiting{} }

// deal carries a call by a DEALER.
func (b *Backend) deal(c call) error {
	d := &dealt{call: c, wake: make(chan struct{}, 1)}
	id := b.dealer.last.Add(1)
	binary.BigEndian.PutUint64(d.id[:], id)
	m := envelopeFor(d.id)
	if err := c.receiveFirst(m); err != nil {
		return err
	}
	d.sent = 1
	b.dealer.enter(id, d)
	defer b.dealer.leave(id)
	link, err := b.socket.Offer(c.Context(), m)
	if err != nil {
		return b.sendError(c.Context(), err)
	}
	d.mu.Lock()
	d.link = link
	d.mu.Unlock()
	go d.sendRest(b, link)
	return d.await(b, link)
}

// envelopeFor is what comes before a message's payload: the id and an empty frame.
func envelopeFor(id [idBytes]byte) *zmtp.Message {
	return zmtp.NewMessage(id[:], nil)
}

// sendRest sends what follows the first message, over the same connection, with gRPC's flow control behind its room. The
// handler's return ends it.
func (d *dealt) sendRest(b *Backend, link *zmtp.Link) {
	for {
		m := envelopeFor(d.id)
		err := d.receive(m)
		if err == nil {
			if err = link.Send(d.Context(), m); err != nil {
				err = b.sendError(d.Context(), err)
			}
		}
		d.mu.Lock()
		switch {
		case err == nil:
			d.sent++
		case errors.Is(err, io.EOF):
			d.sentAll = true
		default:
			d.failed = err
		}
		d.mu.Unlock()
		if err != nil {
			d.nudge()
			return
		}
	}
}

// await hands replies to the caller until the call is over.
func (d *dealt) await(b *Backend, link *zmtp.Link) error {
	ctx := d.Context()
	received := 0
	for lost := false; ; {
		m, over, err := d.next(received)
		switch {
		case m != nil:
			received++
			if !enveloped(m) {
				return errNoEnvelope
			}
			if ended, err := d.reply(m, 2); ended {
				return err
			}
			continue
		case over:
			return err
		case lost:
			return d.lostError(b, link)
		}
		select {
		case <-d.wake:
		case <-link.Gone():
			lost = true // what came before is looked at once more
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

var errNoEnvelope = status.Error(codes.Internal, "the reply has no empty frame behind its id: not an envelope")

func enveloped(m *zmtp.Message) bool { return m.Len() >= 2 && len(m.Part(1)) == 0 }

// next returns the next reply, or whether the call is over, and how.
func (d *dealt) next(received int) (m *zmtp.Message, over bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.replies) > 0 {
		m = &d.replies[0]
		d.replies = d.replies[1:]
		d.bytes -= m.Bytes()
		return m, false, nil
	}
	switch {
	case d.overflow:
		return nil, true, status.Error(codes.ResourceExhausted, "the caller takes replies too slowly")
	case d.failed != nil:
		return nil, true, d.failed
	}
	return nil, d.sentAll && received >= d.sent, nil
}

func (d *dealt) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *dealer) enter(id uint64, c awaiting) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting[id] = c
}

func (d *dealer) leave(id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.waiting, id)
}

// receive hands a message to the call whose id is in front.
func (d *dealer) receive(from *zmtp.Link, m *zmtp.Message) {
	if len(m.Part(0)) != idBytes {
		d.backend.drop("no id")
		return
	}
	d.mu.Lock()
	c := d.waiting[binary.BigEndian.Uint64(m.Part(0))]
	d.mu.Unlock()
	if c == nil {
		d.backend.drop("late reply")
		return
	}
	if !c.take(d.backend, from, m) {
		d.backend.drop("wrong connection")
	}
}

// take queues a reply.
func (d *dealt) take(b *Backend, from *zmtp.Link, m *zmtp.Message) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.link != nil && d.link != from {
		return false
	}
	size := m.Bytes()
	if len(d.replies) > 0 && (len(d.replies) >= b.options.QueueMessagesMax || d.bytes+size > b.options.MessageBytesMax) {
		d.overflow = true
	} else {
		d.replies = append(d.replies, m.Clone())
		d.bytes += size
	}
	d.nudge()
	return true
}
