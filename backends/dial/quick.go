package dial

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"syscall"
	"time"

	"gateway/internal/bare"
)

// nearPause is for how long a target on this machine that had to be waited for, its backlog being full, is not tried at once.
const nearPause = time.Second

// tryDial connects to the best target if that is done at once, as it is on this machine. What goes wrong is left to Dial to
// find, to count and to answer with another target.
func (b *Backend) tryDial() (net.Conn, *Target) {
	b.mu.Lock()
	now := b.now()
	for _, e := range b.endpoints {
		e.refresh(now)
	}
	t := choose(b.listed, nil, b.options.Balance, b.turn, now)
	if t == nil || now < t.slowUntil || t.failures > 0 {
		b.mu.Unlock()
		return nil, nil
	}
	b.turn++
	t.open++
	b.mu.Unlock()

	conn, waits := t.tryConnect()
	if conn != nil {
		if !t.near.Load() {
			t.near.Store(true)
		}
		if b.options.Dials != nil {
			b.options.Dials.WithLabelValues(b.options.Block, t.Name, result(nil)).Inc()
		}
		return conn, t
	}
	b.mu.Lock()
	switch {
	case !waits: // Dial finds out what is wrong with it
	case t.near.Load():
		t.slowUntil = now + nearPause
	default:
		t.slowUntil = math.MaxInt64 // over a network it would be so again: one attempt for nothing is enough
	}
	t.release()
	b.mu.Unlock()
	return nil, nil
}

// tryConnect connects if that is done at once. Without a connection, waits tells whether one could be had by waiting.
func (t *Target) tryConnect() (conn net.Conn, waits bool) {
	var addr netip.AddrPort
	path := ""
	if t.endpoint.network == "unix" {
		path = t.Address
	} else {
		var err error
		if addr, err = netip.ParseAddrPort(t.Address); err != nil {
			return nil, true
		}
	}
	c, connected, err := bare.Dial(addr, path)
	if err != nil {
		return nil, errors.Is(err, syscall.EAGAIN) // a unix socket's full backlog
	}
	if !connected || metItself(c, addr) {
		c.Close()
		return nil, !connected
	}
	return c, false
}

// metItself tells whether a connection's two ends are the same: where nobody listens on a port that the kernel may also give
// to whoever dials, it connects the port with itself.
func metItself(c *bare.Conn, target netip.AddrPort) bool {
	return target.IsValid() && c.Local() == target
}
