package zmtp

import (
	"fmt"
	"time"
)

// commandsPerSecondMax bounds what a peer may send besides messages: no heartbeat needs so many, and a flood of them
// costs work that no application sees.
const commandsPerSecondMax = 1000

// heartbeat decides when to send a PING and when to give the peer up. It takes the time as an argument and does no I/O.
type heartbeat struct {
	Heartbeat
	heard   time.Time     // when something came last
	pinged  time.Time     // when the last PING was sent
	waiting bool          // nothing came since that PING
	peerTTL time.Duration // what the peer's last PING asked for; 0 = nothing
}

// hear notes that something came.
func (h *heartbeat) hear(now time.Time) { h.heard, h.waiting = now, false }

// due says what is to be done now: send a PING, or end the connection (dead tells why); and after how long to ask
// again, 0 = never.
func (h *heartbeat) due(now time.Time) (ping bool, again time.Duration, dead error) {
	next := func(d time.Duration) {
		if again == 0 || d < again {
			again = d
		}
	}
	silent := now.Sub(h.heard)
	if h.peerTTL > 0 {
		if silent >= h.peerTTL {
			return false, 0, fmt.Errorf("zmtp: traffic: nothing came for the %v that the peer's own PING allows: %w", h.peerTTL, ErrSilent)
		}
		next(h.peerTTL - silent)
	}
	if h.Interval <= 0 {
		return false, again, nil
	}
	if h.waiting {
		waited := now.Sub(h.pinged)
		if waited >= h.Timeout {
			return false, 0, fmt.Errorf("zmtp: traffic: nothing came for %v after a PING: %w", h.Timeout, ErrSilent)
		}
		next(h.Timeout - waited)
		return false, again, nil
	}
	if silent >= h.Interval {
		h.pinged, h.waiting = now, true
		next(h.Timeout)
		return true, again, nil
	}
	next(h.Interval - silent)
	return false, again, nil
}

// rate counts commands by the second.
type rate struct {
	since time.Time
	count int
}

// add counts one more and says whether that is too many.
func (r *rate) add(now time.Time) (tooMany bool) {
	if now.Sub(r.since) >= time.Second {
		r.since, r.count = now, 0
	}
	r.count++
	return r.count > commandsPerSecondMax
}
