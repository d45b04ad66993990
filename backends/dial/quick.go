package dial

import (
	"net"
	"net/netip"

	"gateway/internal/bare"
)

// tryDial connects to the best target if that is done at once, as it is on this machine. What goes wrong is left to Dial to
// find, to count and to answer with another target.
func (b *Backend) tryDial() (net.Conn, *Target) {
	b.mu.Lock()
	now := b.now()
	for _, e := range b.endpoints {
		e.refresh(now)
	}
	t := choose(b.listed, nil, b.options.Balance, b.turn, now)
	if t == nil || t.slow || t.failures > 0 {
		b.mu.Unlock()
		return nil, nil
	}
	b.turn++
	t.open++
	b.mu.Unlock()

	conn, ok := t.tryConnect()
	if ok {
		if b.options.Dials != nil {
			b.options.Dials.WithLabelValues(b.options.Block, t.Name, result(nil)).Inc()
		}
		return conn, t
	}
	b.mu.Lock()
	t.slow = true // over a network it would be so again: one attempt for nothing is enough
	t.release()
	b.mu.Unlock()
	return nil, nil
}

// tryConnect connects if that is done at once.
func (t *Target) tryConnect() (conn net.Conn, ok bool) {
	var addr netip.AddrPort
	path := ""
	if t.endpoint.network == "unix" {
		path = t.Address
	} else {
		var err error
		if addr, err = netip.ParseAddrPort(t.Address); err != nil {
			return nil, false
		}
	}
	c, connected, err := bare.Dial(addr, path)
	if err != nil {
		return nil, false
	}
	if !connected || metItself(c, addr) {
		c.Close()
		return nil, false
	}
	return c, true
}

// metItself tells whether a connection's two ends are the same: where nobody listens on a port that the kernel may also give
// to whoever dials, it connects the port with itself.
func metItself(c *bare.Conn, target netip.AddrPort) bool {
	return target.IsValid() && c.Local() == target
}
