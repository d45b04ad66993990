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
	Proxies []netip.Prefix // networks whose connections begin with a PROXY header, which says whose they are
}

// Attach completes the options of the port that sniffs for l: what it lets through comes to s.
func (s *Server) Attach(l Listener, o sniff.Options) sniff.Options {
	o.Name = l.Name
	o.Handle = func(c *sniff.Conn, release func()) { s.Handle(l.Name, c, release) }
	o.Quick = func(c *sniff.Conn, release func()) bool { return s.Quick(l.Name, c, release) }
	o.ProxyFrom = func(peer net.Addr) bool { return contains(l.Proxies, sourceOf(peer)) }
	return o
}

// contains reports whether an address is in one of the networks. One that is not known is in none.
func contains(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
