package bridge

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gateway/internal/zmtp"
	gatewayv1 "gateway/proto/gateway/v1"
)

// asked is a call on a DEALER whose one message was there whole when it began. No goroutine waits for its reply: who brings
// the call sends the request, and who brings the reply sends that.
//
// Rules: the call is ended by who takes it out of dealer.waiting. It is left, and counts no more, when its stream is closed.
type asked struct {
	call
	backend *Backend
	id      uint64
	timer   *time.Timer // nil: it may take as long as it likes
	left    sync.Once

	link      *zmtp.Link // where the request went; dealer.mu guards it
	abandoned bool       // a goroutine carries the call after all; dealer.mu guards it
}

// quick carries a call without a goroutine where that is possible. Where it is not, as something has to be waited for or to
// be refused, nothing has happened.
func (b *Backend) quick(c *serverCall) bool {
	if b.options.Socket != zmtp.DEALER {
		return false
	}
	d := &asked{backend: b}
	if d.call = (call{c, b.codecsOf(c.method).ready.Load(), false}); c.method == gatewayv1.Bridge_Request_FullMethodName {
		d.call = call{c, rawPair, true}
	} else if d.pair == nil || b.generic(c.method) != nil {
		return false
	}
	d.id = b.dealer.last.Add(1)
	m := envelopeFor([idBytes]byte(binary.BigEndian.AppendUint64(nil, d.id)))
	if d.pair.request.toFrames(m, c.message()) != nil {
		return false
	}
	if !b.enter() {
		b.leave()
		return false
	}
	b.dealer.enter(d.id, d)
	c.watch(d.look)
	link, err := b.socket.TryOffer(m)
	if err != nil && b.dealer.abandon(d) {
		b.leave()
		return false
	}
	if err == nil {
		d.goesBy(link)
	}
	d.look() // it may have ended before it was watched
	return true
}

// goesBy notes where the request went, and from when on its time is reckoned.
func (d *asked) goesBy(link *zmtp.Link) {
	l := &d.backend.dealer
	l.mu.Lock()
	d.link = link
	if d.timeout > 0 && l.waiting[d.id] == awaiting(d) {
		d.timer = time.AfterFunc(d.timeout, d.expire)
	}
	l.mu.Unlock()
	if link.Err() != nil { // lost has been here, and did not know
		d.lost(link)
	}
}

// take answers the call.
func (d *asked) take(b *Backend, from *zmtp.Link, m *zmtp.Message) bool {
	b.dealer.mu.Lock()
	right := d.link == nil || d.link == from
	mine := right && b.dealer.remove(d)
	b.dealer.mu.Unlock()
	switch {
	case !right:
		return false
	case !mine:
		b.drop("late reply")
	case !enveloped(m):
		d.ends(replied{}, errNoEnvelope)
	default:
		d.ends(d.answer(m, 2))
	}
	return true
}

// lost ends a call whose connection has gone.
func (d *asked) lost(link *zmtp.Link) {
	if d.backend.dealer.takeOut(d) {
		d.ends(replied{}, d.lostError(d.backend, link))
	}
}

// expire ends a call whose time has passed.
func (d *asked) expire() {
	if d.backend.dealer.takeOut(d) {
		d.ends(replied{}, status.FromContextError(context.DeadlineExceeded).Err())
	}
}

// ends tells the caller how the call has ended. Who calls it has taken it out of dealer.waiting.
func (d *asked) ends(r replied, err error) {
	d.backend.counted(err)
	d.end(r, err)
}

// look notices that the caller has taken everything, or wants it no more.
func (d *asked) look() {
	if !d.call.over() {
		return
	}
	l := &d.backend.dealer
	l.mu.Lock()
	abandoned, cancelled := d.abandoned, l.remove(d)
	l.mu.Unlock()
	if abandoned {
		return
	}
	d.left.Do(func() {
		if cancelled {
			d.backend.counted(errCancelled)
		}
		l.mu.Lock()
		timer := d.timer
		l.mu.Unlock()
		if timer != nil {
			timer.Stop()
		}
		d.backend.leave()
		d.server.calls.Done()
	})
}

var errCancelled = status.Error(codes.Canceled, "the caller has cancelled the call")

// remove takes a call out, and reports whether it was there. d.mu is held.
func (d *dealer) remove(c *asked) bool {
	if d.waiting[c.id] != awaiting(c) {
		return false
	}
	delete(d.waiting, c.id)
	return true
}

func (d *dealer) takeOut(c *asked) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.remove(c)
}

// abandon leaves a call to a goroutine, unless it is over.
func (d *dealer) abandon(c *asked) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.abandoned = d.remove(c)
	return c.abandoned
}

// lost ends the calls whose requests went over link. Those that have a goroutine notice it themselves.
func (d *dealer) lost(link *zmtp.Link) {
	var lost []*asked
	d.mu.Lock()
	for _, c := range d.waiting {
		if a, is := c.(*asked); is && a.link == link {
			lost = append(lost, a)
		}
	}
	d.mu.Unlock()
	for _, a := range lost {
		a.lost(link)
	}
}
