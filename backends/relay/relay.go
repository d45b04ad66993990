package relay

import (
	"fmt"
	"net"
	"time"
)

// Limits bounds one relay in time. The zero value is usable.
//
// Time is watched in quarters of a limit, by looking whether bytes were delivered since the last look, so that no
// message costs a clock reading: a limit strikes between one and one and a quarter times its value.
type Limits struct {
	// Idle ends a relay on which no byte was delivered, in either direction, for so long. Default 0: never.
	Idle time.Duration

	// HalfClosed ends a relay of which one side has sent FIN, once no byte was delivered for so long: the other side
	// may have a long answer, but not stay for ever beside a peer that is gone. Default 5 minutes.
	HalfClosed time.Duration

	// Drain bounds the rest of a relay of which one side is gone: the time without a delivered byte while what that side
	// had sent is still on its way, and the time for which the other side is read, its bytes discarded, until it
	// closes too. Default 30 seconds.
	Drain time.Duration
}

const (
	drainDefault      = 30 * time.Second
	halfClosedDefault = 5 * time.Minute

	// flushMax is how long a cancelled relay may take to deliver what it had read, and its peers to answer FIN.
	flushMax = time.Second
)

func (l Limits) withDefaults() Limits {
	if l.HalfClosed <= 0 {
		l.HalfClosed = halfClosedDefault
	}
	if l.Drain <= 0 {
		l.Drain = drainDefault
	}
	return l
}

// Prefixed is a connection of which some bytes were read already. Detach gives those bytes, which are delivered before
// everything else, and the connection below, whose next byte follows them. The caller of Detach owns the connection from then
// on, and may look at the bytes until Relay has returned; the Prefixed is not used again.
type Prefixed interface {
	Detach() (prefix []byte, raw net.Conn)
}

// Side names one of the two connections of a relay.
type Side int8

// The two sides, in the order of Relay's arguments.
const (
	Neither Side = iota
	A
	B
)

// String gives the side as it stands in a log line.
func (s Side) String() string {
	switch s {
	case Neither:
		return "neither"
	case A:
		return "a"
	case B:
		return "b"
	}
	return fmt.Sprintf("side(%d)", int8(s))
}

// Reason tells why a relay ended.
type Reason int8

// The first three are how Stats.First ended; the others are how the relay was cut before both sides had ended.
const (
	EOF          Reason = iota // FIN, or TLS close_notify
	Reset                      // reading from it failed: the peer reset the connection, or vanished
	WriteFailed                // writing to it failed: the peer does not take bytes any more
	IdleTimeout                // no byte for Limits.Idle, or for Limits.HalfClosed after one side's FIN
	DrainTimeout               // one side was gone, and the rest did not end within Limits.Drain
	Cancelled                  // Group.Shutdown
)

var reasonNames = [...]string{
	EOF:          "eof",
	Reset:        "reset",
	WriteFailed:  "write_failed",
	IdleTimeout:  "idle_timeout",
	DrainTimeout: "drain_timeout",
	Cancelled:    "cancelled",
}

// String gives the reason as it stands in a log line and in a metric's label.
func (r Reason) String() string {
	if r >= 0 && int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", int8(r))
}

// Stats is what became of a relay.
type Stats struct {
	AToB, BToA int64  // bytes delivered to the other connection's kernel buffer, the prefix included
	First      Side   // who ended first; Neither when the relay was cut while both sides were there
	Reason     Reason // how First ended, or how the relay was cut

	Ago time.Duration // since the end: reports of short connections are gathered for some milliseconds
}

// String gives the stats as they stand in a log line.
func (s Stats) String() string {
	return fmt.Sprintf("a_to_b=%d b_to_a=%d first=%s reason=%s", s.AToB, s.BToA, s.First, s.Reason)
}

// std holds the relays that were started without a group.
var std Group

// Relay moves bytes between a and b, both ways, until both have ended; see the package comment for the rules. It owns both
// connections from the call on, and may return before the end. done is called exactly once, on another goroutine,
// a few milliseconds after both connections were closed at most; its error is nil when and only when Stats.Reason is EOF.
//
// Either may be Prefixed. A connection without a CloseWrite method is closed where the others get FIN.
func Relay(a, b net.Conn, limits Limits, done func(Stats, error)) {
	std.Relay(a, b, limits, done)
}

// detach takes what was read ahead, however often it was wrapped, and the connection below.
func detach(c net.Conn) (prefix []byte, raw net.Conn) {
	for {
		p, ok := c.(Prefixed)
		if !ok {
			return prefix, c
		}
		read, below := p.Detach()
		if len(prefix) == 0 {
			prefix = read
		} else {
			prefix = append(prefix[:len(prefix):len(prefix)], read...)
		}
		c = below
	}
}
