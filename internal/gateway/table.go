package gateway

import (
	"cmp"
	"context"
	"net"
	"sync/atomic"

	"gateway/sniff"
)

// Handler takes over a connection.
//
// ServeConn may return before the connection ends: an idle relayed pair keeps no goroutine. Whoever holds the
// connection calls done exactly once, after it closed what it opened; the caller closes c.
type Handler interface {
	ServeConn(ctx context.Context, c net.Conn, done func(Outcome))
}

// QuickHandler is a Handler that may not have to wait.
type QuickHandler interface {
	Handler
	// TryServeConn does what ServeConn does if nothing has to be waited for. Otherwise it returns false, has done nothing
	// to c, and does not call done. If it returns true it closes c itself.
	TryServeConn(c net.Conn, done func(Outcome)) bool
}

// Carrier is a Handler that keeps account of its flows itself: a relay moves bytes where nobody else sees them.
type Carrier interface {
	Handler
	Carries()
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
	HTTP   []HTTPRoute

	inUse atomic.Int64
}

// InUse is how many connections that were chosen by t are still open.
func (t *Table) InUse() int64 { return t.inUse.Load() }

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

// Choose picks the place for a connection. With more than Fits it says what must be known first, and from which relay
// block on (at) to choose again; the first call begins at 0. It allocates nothing.
func (t *Table) Choose(f *Facts, at int) (choice Choice, more Fit, next int) {
	for i := at; i < len(t.Relays); i++ {
		switch fit := t.Relays[i].Match.Test(f); fit {
		case Fits:
			return Choice{Block: &t.Relays[i]}, Fits, i
		case NeedsServerName, NeedsGreeting, NeedsIntroduction:
			return Choice{}, fit, i
		}
	}
	return Choice{Server: t.server(f.Protocol)}, Fits, len(t.Relays)
}

// Considered is a relay block that does not take a connection, or of which that is not known yet.
type Considered struct {
	Block string
	Fit   Fit
	Why   string
}

// Explain does what Choose does and keeps the reasons. Where more had to be known, it goes on as if the block did not fit.
func (t *Table) Explain(f *Facts) (choice Choice, considered []Considered) {
	for i := range t.Relays {
		b := &t.Relays[i]
		fit := b.Match.Test(f)
		if fit == Fits {
			return Choice{Block: b}, considered
		}
		considered = append(considered, Considered{b.Name, fit, b.Match.Explain(fit)})
	}
	return Choice{Server: t.server(f.Protocol)}, considered
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
