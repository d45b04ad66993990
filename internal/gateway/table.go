package gateway

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strings"

	"gateway/sniff"
)

// Handler takes over a connection.
//
// ServeConn may return before the connection ends: an idle relayed pair keeps no goroutine. Whoever holds the
// connection calls done exactly once, after it closed what it opened; the caller closes c.
type Handler interface {
	ServeConn(ctx context.Context, c net.Conn, done func(Outcome))
}

// Facts are what is known of a connection when a block is chosen for it.
type Facts struct {
	Protocol string     // as sniff names it: zmtp, http2, http1, tls, ssh
	Listener string     // the listener's name
	Source   netip.Addr // the client's address; invalid over a unix socket
}

// AnyProtocol in Match.Protocol fits every protocol that was detected.
const AnyProtocol = "any"

// Match tells which connections a block takes. The zero value of each field fits all.
type Match struct {
	Protocol  string         // a protocol's name, or AnyProtocol
	Listeners []string       // names of listeners
	Sources   []netip.Prefix // the client's networks
	Percent   *float64       // share of sources, 0 to 100, sticky: the same source always falls on the same side
}

// Misfit says which part of a Match a connection does not fit.
type Misfit int8

// The misfits, in the order in which they are looked at.
const (
	Fits Misfit = iota
	OtherProtocol
	OtherListener
	OtherSource
	OutsidePercent
)

// Test compares f with every part of m and names the first that does not fit.
func (m *Match) Test(f Facts) Misfit {
	switch {
	case m.Protocol != "" && m.Protocol != AnyProtocol && m.Protocol != f.Protocol:
		return OtherProtocol
	case len(m.Listeners) > 0 && !slices.Contains(m.Listeners, f.Listener):
		return OtherListener
	case len(m.Sources) > 0 && !slices.ContainsFunc(m.Sources, func(p netip.Prefix) bool { return p.Contains(f.Source) }):
		return OtherSource
	case m.Percent != nil && sourceShare(f.Source) >= *m.Percent*sharesPerPercent:
		return OutsidePercent
	}
	return Fits
}

// Explain says in a few words what m takes, where a connection was a misfit.
func (m *Match) Explain(why Misfit) string {
	switch why {
	case OtherProtocol:
		return fmt.Sprintf("it takes protocol %s", m.Protocol)
	case OtherListener:
		return fmt.Sprintf("it takes listener %s", strings.Join(m.Listeners, ", "))
	case OtherSource:
		return "the client's address is in none of its networks"
	case OutsidePercent:
		return fmt.Sprintf("the client is outside its %g percent of sources", *m.Percent)
	}
	return "it fits"
}

// sharesPerPercent is how finely a percentage divides the sources.
const sharesPerPercent = 100

// sourceShare puts a source into one of 100*sharesPerPercent shares. It is the same in every process, so that several
// gateways agree, and raising a percentage moves no source back.
func sourceShare(a netip.Addr) float64 {
	h := fnv.New64a()
	b := a.As16()
	h.Write(b[:])
	x := h.Sum64()
	x ^= x >> 32 // FNV's low bits alone follow the last byte too closely
	return float64(x % (100 * sharesPerPercent))
}

// Block is a named place where a connection can go: a relay block of the configuration.
type Block struct {
	Name    string
	Match   Match
	Handler Handler
}

// Table says where each connection goes. It is immutable: a reload makes another and swaps the pointer.
type Table struct {
	Relays []Block // in file order: the first that fits takes the connection
	GRPC   bool    // grpc blocks exist: HTTP/2 that no relay takes is served
}

// Choice is where a connection goes: to a relay block, else to the server of its protocol behind the multiplexer.
type Choice struct {
	Block  *Block // nil: no relay block fits
	Server string // ServerGRPC, ServerHTTP, or "" when nobody serves it
}

// String names the place.
func (c Choice) String() string {
	if c.Block != nil {
		return c.Block.Name
	}
	return cmp.Or(c.Server, "none")
}

// Passed is a relay block that was considered and did not fit.
type Passed struct{ Block, Why string }

// Choose picks the place for a connection. It allocates nothing.
func (t *Table) Choose(f Facts) Choice {
	for i := range t.Relays {
		if b := &t.Relays[i]; b.Match.Test(f) == Fits {
			return Choice{Block: b}
		}
	}
	return Choice{Server: t.server(f.Protocol)}
}

// Explain does what Choose does, and keeps the reasons.
func (t *Table) Explain(f Facts) (Choice, []Passed) {
	var passed []Passed
	for i := range t.Relays {
		b := &t.Relays[i]
		misfit := b.Match.Test(f)
		if misfit == Fits {
			break
		}
		passed = append(passed, Passed{b.Name, b.Match.Explain(misfit)})
	}
	return t.Choose(f), passed
}

// server names the server behind the multiplexer for a protocol that no relay block took.
func (t *Table) server(protocol string) string {
	switch {
	case protocol == sniff.HTTP2.Name && t.GRPC:
		return ServerGRPC
	case protocol == sniff.HTTP1.Name:
		return ServerHTTP
	}
	return ""
}

// The servers behind the multiplexer.
const (
	ServerGRPC = "grpc"
	ServerHTTP = "http"
)
