package gateway

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"gateway/internal/zmtp"
	"gateway/sniff"
)

// Level is how far a ZMTP connection has been answered, and so how much of it can be seen.
type Level int8

// The levels of the ladder.
const (
	Sniffed    Level = iota // nothing was written: protocol, listener and source are known
	Greeted                 // signature and major version were written: the client's greeting is known
	Introduced              // the whole greeting was written: a NULL client's READY, a CURVE client's HELLO is known
)

// Facts are what is known of a connection when a block is chosen for it.
type Facts struct {
	Protocol string     // as sniff names it: zmtp, http2, http1, tls, ssh
	Listener string     // the listener's name
	Source   netip.Addr // the client's address; invalid over a unix socket

	Terminated bool   // of TLS: the listener ends it, and only a block that asks for names takes it before
	NameKnown  bool   // of TLS, and of what is inside: ServerName is known
	ServerName string // that the client asks for (SNI), in lower case; "" if for none

	Level      Level           // of ZMTP; what follows is known from the level in brackets on
	Mechanism  zmtp.Mechanism  // [Greeted] empty for a ZMTP 2 client, which has none
	SocketType zmtp.SocketType // [Introduced] NULL clients alone
	Identity   string          // [Introduced] NULL clients alone; the routing id
	Hello      *zmtp.Hello     // [Introduced] CURVE clients alone; nil if it is malformed
}

// AnyProtocol in Match.Protocol fits every protocol that was detected.
const AnyProtocol = "any"

// Match tells which connections a block takes. The zero value of each field fits all.
type Match struct {
	Protocol  string         // a protocol's name, or AnyProtocol
	Listeners []string       // names of listeners
	Sources   []netip.Prefix // the client's networks
	Percent   *float64       // share of sources, 0 to 100, sticky: the same source always falls on the same side

	ServerNames []string // that clients ask for, of TLS or of what is inside; in lower case; "*.example" is every name below example

	Mechanisms  []zmtp.Mechanism  // of ZMTP 3 clients
	SocketTypes []zmtp.SocketType // of NULL clients
	Identity    string            // of NULL clients: how the routing id begins
	Key         *zmtp.SecretKey   // of CURVE clients: the key that their HELLO opens with
}

// Fit is how a connection fits a Match, with what is known of it so far.
type Fit int8

// How a connection fits. The misfits stand in the order in which they are looked at.
const (
	Fits Fit = iota
	NeedsServerName
	NeedsGreeting
	NeedsIntroduction
	OtherProtocol
	TLSEnds
	OtherListener
	OtherSource
	OutsidePercent
	OtherServerName
	OtherMechanism
	NotNull
	OtherSocketType
	OtherIdentity
	OtherKey
)

// Test compares f with every part of m. It answers NeedsServerName, NeedsGreeting or NeedsIntroduction only if all that is
// known fits and the answer depends on what shows there.
func (m *Match) Test(f *Facts) Fit {
	switch {
	case m.Protocol != "" && m.Protocol != AnyProtocol && m.Protocol != f.Protocol:
		return OtherProtocol
	case f.Terminated && (len(m.ServerNames) == 0 || m.Protocol == AnyProtocol):
		return TLSEnds
	case len(m.Listeners) > 0 && !slices.Contains(m.Listeners, f.Listener):
		return OtherListener
	case len(m.Sources) > 0 && !contains(m.Sources, f.Source):
		return OtherSource
	case m.Percent != nil && sourceShare(f.Source) >= *m.Percent*sharesPerPercent:
		return OutsidePercent
	case len(m.ServerNames) > 0 && !f.NameKnown && f.Protocol == sniff.TLS.Name:
		return NeedsServerName
	case len(m.ServerNames) > 0 && !slices.ContainsFunc(m.ServerNames, f.asksFor):
		return OtherServerName
	}
	introduced := len(m.SocketTypes) > 0 || m.Identity != ""
	switch {
	case !introduced && m.Key == nil && len(m.Mechanisms) == 0:
		return Fits
	case f.Level < Greeted:
		return NeedsGreeting
	case len(m.Mechanisms) > 0 && !slices.Contains(m.Mechanisms, f.Mechanism):
		return OtherMechanism
	case m.Key != nil:
		return m.testKey(f)
	case !introduced:
		return Fits
	case f.Mechanism != zmtp.MechanismNull:
		return NotNull
	case f.Level < Introduced:
		return NeedsIntroduction
	case len(m.SocketTypes) > 0 && !slices.Contains(m.SocketTypes, f.SocketType):
		return OtherSocketType
	case !strings.HasPrefix(f.Identity, m.Identity):
		return OtherIdentity
	}
	return Fits
}

// testKey finds out whether a CURVE client means the holder of the key.
func (m *Match) testKey(f *Facts) Fit {
	switch {
	case f.Mechanism != zmtp.MechanismCurve:
		return OtherMechanism
	case f.Level < Introduced:
		return NeedsIntroduction
	case f.Hello == nil || !f.Hello.OpensWith(*m.Key):
		return OtherKey
	}
	return Fits
}

// asksFor tells whether the client asks for a name, or for one that a pattern names.
func (f *Facts) asksFor(pattern string) bool {
	below, wild := strings.CutPrefix(pattern, "*")
	if wild {
		return len(f.ServerName) > len(below) && strings.HasSuffix(f.ServerName, below)
	}
	return f.ServerName == pattern
}

// Explain says in a few words what m takes, where a connection fits as fit says.
func (m *Match) Explain(fit Fit) string {
	switch fit {
	case NeedsServerName:
		return "it depends on the name that the client asks for, which shows in its ClientHello, once all of that has come"
	case NeedsGreeting:
		return "it depends on the client's mechanism, which shows in its greeting, once it was answered"
	case NeedsIntroduction:
		if m.Key != nil {
			return "it depends on whether the client's HELLO opens with the block's key, once it was answered"
		}
		return "it depends on the client's socket type or identity, which show in its READY, once it was answered"
	case OtherProtocol:
		return fmt.Sprintf("it takes protocol %s", m.Protocol)
	case TLSEnds:
		return "this listener ends TLS, unless a block asks for a name (sni)"
	case OtherListener:
		return fmt.Sprintf("it takes listener %s", strings.Join(m.Listeners, ", "))
	case OtherSource:
		return "the client's address is in none of its networks"
	case OutsidePercent:
		return fmt.Sprintf("the client is outside its %g percent of sources", *m.Percent)
	case OtherServerName:
		return fmt.Sprintf("it takes TLS clients that ask for %s", strings.Join(m.ServerNames, ", "))
	case OtherMechanism:
		return fmt.Sprintf("it takes mechanism %s", joined(m.Mechanisms))
	case NotNull:
		return "it asks for what only a NULL client shows: socket type or identity"
	case OtherSocketType:
		return fmt.Sprintf("it takes socket type %s", joined(m.SocketTypes))
	case OtherIdentity:
		return fmt.Sprintf("it takes identities that begin with %q", m.Identity)
	case OtherKey:
		return "the client's HELLO does not open with the block's key"
	}
	return "it fits"
}

func joined[S ~string](words []S) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
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
