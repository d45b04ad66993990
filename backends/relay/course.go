package relay

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// This file decides; it does no I/O. Both engines report to a course what happened and do what its phases say, so that
// they cannot differ in meaning. A course is not safe for concurrent use: its engine guards it.

// way is one of the two directions of a relay.
type way uint8

const (
	aToB way = iota
	bToA
)

func (w way) from() Side { return Side(w) + A }
func (w way) to() Side   { return w.back().from() }
func (w way) back() way  { return 1 - w }

// phase is how far one direction has come.
type phase uint8

const (
	flowing    phase = iota // what is read is delivered
	discarding              // its bytes can not be delivered any more: they are read, so that the sender gets no RST, and dropped
	ended                   // nothing more is read
)

// course is how far a relay has come, and how it ended.
type course struct {
	err       error
	phase     [2]phase // by way
	first     Side
	reason    Reason
	cancelled bool
}

// eof is told that the way's source sent FIN; all that it had sent before was delivered, or discarded.
func (c *course) eof(w way) {
	c.note(w.from(), EOF, nil)
	c.phase[w] = ended
}

// broken is told that reading from the way's source failed. Such a peer is gone in both directions: what the other side
// still sends it can not be delivered.
func (c *course) broken(w way, err error) {
	c.note(w.from(), Reset, fmt.Errorf("relay: read from %s: %w", w.from(), err))
	c.phase[w] = ended
	c.discard(w.back())
}

// refused is told that writing to the way's destination failed. The destination is read on: what it sent before it went
// is delivered, and the source is read on too, so that closing its connection does not become an RST that would
// destroy what is under way to it.
func (c *course) refused(w way, err error) {
	reason := WriteFailed
	if errors.Is(err, syscall.ECONNRESET) {
		reason = Reset
	}
	c.note(w.to(), reason, fmt.Errorf("relay: write to %s: %w", w.to(), err))
	c.discard(w)
}

// cancel is told that the relay shall end. Each direction stops by itself, see mustStop.
func (c *course) cancel() {
	if !c.cancelled {
		c.cut(Cancelled, 0)
		c.cancelled = true
	}
}

// mustStop tells whether the way, once it has delivered what was read, has to send FIN and call stopped.
func (c *course) mustStop(w way) bool { return c.cancelled && c.phase[w] == flowing }

// stopped is told that the way of a cancelled relay has sent FIN: what still comes is discarded until the peer closes.
func (c *course) stopped(w way) { c.discard(w) }

// expire is told that a bound has passed: both directions end at once.
func (c *course) expire(b bound) {
	if !c.cancelled {
		c.cut(b.reason, b.after)
	}
	c.phase = [2]phase{ended, ended}
}

func (c *course) over() bool { return c.phase[aToB] == ended && c.phase[bToA] == ended }

func (c *course) discard(w way) {
	if c.phase[w] == flowing {
		c.phase[w] = discarding
	}
}

// note keeps the first end; those after it are its consequences.
func (c *course) note(s Side, r Reason, err error) {
	if c.first == Neither && !c.cancelled {
		c.first, c.reason, c.err = s, r, err
	}
}

func (c *course) cut(r Reason, after time.Duration) {
	c.reason, c.err = r, &CutError{Reason: r, After: after, Cause: c.err}
}

// CutError is the error of a relay that was ended before both its sides had.
type CutError struct {
	Reason Reason        // IdleTimeout, DrainTimeout or Cancelled
	After  time.Duration // the limit that struck; 0 when cancelled
	Cause  error         // how the first side had ended before, nil if by FIN or not at all
}

func (e *CutError) Error() string {
	text := "relay: cut at shutdown"
	switch e.Reason {
	case IdleTimeout:
		text = fmt.Sprintf("relay: no byte delivered for %s", e.After)
	case DrainTimeout:
		text = fmt.Sprintf("relay: one side is gone and the other did not end within %s", e.After)
	}
	if e.Cause != nil {
		text += " (before: " + e.Cause.Error() + ")"
	}
	return text
}

// Unwrap gives the cause.
func (e *CutError) Unwrap() error { return e.Cause }

// bound is how long a relay may go on as it stands; zero means for ever.
type bound struct {
	after    time.Duration
	reason   Reason
	absolute bool // delivered bytes do not extend it
}

// bound tells the limit that holds in the present phases.
func (c *course) bound(l *Limits) bound {
	switch a, b := c.phase[aToB], c.phase[bToA]; {
	case c.cancelled:
		return bound{after: flushMax, reason: Cancelled, absolute: true}
	case a == discarding || b == discarding:
		return bound{after: l.Drain, reason: DrainTimeout}
	case (a == ended || b == ended) && (l.Idle <= 0 || l.HalfClosed < l.Idle):
		return bound{after: l.HalfClosed, reason: IdleTimeout}
	}
	return bound{after: max(l.Idle, 0), reason: IdleTimeout}
}

// interval is the time between two looks.
func (b bound) interval() time.Duration { return b.after / looksPerBound }

// looksPerBound is how often a relay is looked at within the time that bounds it.
const looksPerBound = 4

// lookout finds out, from looks at a byte count at regular intervals, that a bound has passed.
type lookout struct {
	moved int64
	quiet int8 // looks in a row at which nothing had been delivered
}

// set starts anew and tells the interval of the looks; 0 when there is nothing to look out for.
func (o *lookout) set(b bound, moved int64) time.Duration {
	*o = lookout{moved: moved}
	return b.interval()
}

// look is called once an interval and tells whether the bound has passed.
func (o *lookout) look(b bound, moved int64) (passed bool) {
	if moved != o.moved && !b.absolute {
		o.moved, o.quiet = moved, 0
		return false
	}
	o.quiet++
	return o.quiet >= looksPerBound
}
