package zmtp

import "slices"

// SocketType is the name of a socket pattern's end, as metadata carries it.
type SocketType string

// The socket types of RFC 23; RFC 37 adds draft ones that this package does not speak.
const (
	REQ    SocketType = "REQ"
	REP    SocketType = "REP"
	DEALER SocketType = "DEALER"
	ROUTER SocketType = "ROUTER"
	PUB    SocketType = "PUB"
	XPUB   SocketType = "XPUB"
	SUB    SocketType = "SUB"
	XSUB   SocketType = "XSUB"
	PUSH   SocketType = "PUSH"
	PULL   SocketType = "PULL"
	PAIR   SocketType = "PAIR"
)

// legalPeers is the table of legal combinations (RFC 37, "The Socket-Type Property").
var legalPeers = map[SocketType][]SocketType{
	REQ:    {REP, ROUTER},
	REP:    {REQ, DEALER},
	DEALER: {REP, DEALER, ROUTER},
	ROUTER: {REQ, DEALER, ROUTER},
	PUB:    {SUB, XSUB},
	XPUB:   {SUB, XSUB},
	SUB:    {PUB, XPUB},
	XSUB:   {PUB, XPUB},
	PUSH:   {PULL},
	PULL:   {PUSH},
	PAIR:   {PAIR},
}

// Valid says whether t is a socket type that this package speaks.
func (t SocketType) Valid() bool { _, ok := legalPeers[t]; return ok }

// Fits says whether sockets of types t and peer may talk to each other.
func (t SocketType) Fits(peer SocketType) bool { return slices.Contains(legalPeers[t], peer) }

// publishes says that subscriptions come in from the peer; subscribes, that they go out to it.
func (t SocketType) publishes() bool  { return t == PUB || t == XPUB }
func (t SocketType) subscribes() bool { return t == SUB || t == XSUB }

// carriesIdentity says that libzmq announces an Identity for this type, even an empty one.
func (t SocketType) carriesIdentity() bool { return t == REQ || t == DEALER || t == ROUTER }

// checkPeer finds out whether the peer's metadata fits this side's socket type.
func (t SocketType) checkPeer(m Metadata) error {
	peer, named := m.Get(PropertySocketType)
	if !named {
		return malformed(ReasonSocketType, "the peer names no Socket-Type")
	}
	if !t.Fits(SocketType(peer)) {
		return malformed(ReasonSocketType, "the peer's socket is %.16q, which does not fit this side's %s", peer, t)
	}
	if id := m.Identity(); len(id) > IdentityBytesMax {
		return malformed(ReasonMetadata, "an Identity of %d bytes, at most %d", len(id), IdentityBytesMax)
	}
	return nil
}
