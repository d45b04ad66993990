package gateway

import (
	"net"
	"net/netip"
	"slices"

	"gateway/sniff"
)

// Listener is what an exposed port does with its connections before the table chooses for them.
type Listener struct {
	Name    string
	Sources []netip.Prefix // networks whose clients are welcome; empty: all
	Proxies []netip.Prefix // networks whose connections begin with a PROXY header, which says whose they are
}

// Attach completes the options of the port that sniffs for l: what it lets through comes to s.
func (s *Server) Attach(l Listener, o sniff.Options) sniff.Options {
	o.Name = l.Name
	o.Handle = func(c *sniff.Conn, release func()) { s.Handle(l.Name, c, release) }
	o.Quick = func(c *sniff.Conn, release func()) bool { return s.Quick(l.Name, c, release) }
	o.ProxyFrom = func(peer net.Addr) bool { return contains(l.Proxies, sourceOf(peer)) }
	o.Admit = func(client net.Addr) (leave func(), refused string) { return s.admit(l, sourceOf(client)) }
	o.Otherwise = s.keepSilent
	return o
}

// admit tells whether a client is welcome.
func (s *Server) admit(l Listener, a netip.Addr) (leave func(), refused string) {
	if len(l.Sources) > 0 && !contains(l.Sources, a) {
		return nil, refusedSource
	}
	return s.sources.admit(a)
}

// keepSilent takes a libzmq client that was refused: closed, it would come back ten times a second.
func (s *Server) keepSilent(c *sniff.Conn, result sniff.Result, _ error, release func()) bool {
	if result != sniff.Refused || c.Protocol() != sniff.ZMTP.Name {
		return false
	}
	s.Hold(c, func() {
		c.Close()
		release()
	})
	return true
}

// contains reports whether an address is in one of the networks. One that is not known is in none.
func contains(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
