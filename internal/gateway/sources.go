package gateway

import (
	"container/list"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

const (
	// idleSourcesMax is how many sources without a connection are remembered, for how fast theirs came. Those with one
	// are as many as there are connections.
	idleSourcesMax = 10_000

	// ipv6SourceBits is what counts as one source of IPv6: whoever has one address mostly has all of a /64.
	ipv6SourceBits = 64
)

// Reasons to refuse a client, beside those of sniff.
const (
	RefusedSource       = "source"         // its address is in none of the listener's networks
	refusedPerSource    = "per_source"     // its source has as many connections as one may
	refusedNewPerSource = "new_per_source" // its source's connections come too fast
)

// sources bounds the connections of each source, and how fast they come. The zero value bounds nothing. Connections that
// came while there was no limit are not counted.
type sources struct {
	mu      sync.Mutex
	openMax int // connections of one source; 0: any number
	rateMax int // connections a second of one source, as many at once; 0: any number
	known   map[netip.Addr]*origin
	idle    list.List // of *origin, those without a connection, the longest idle first
}

type origin struct {
	key      netip.Addr
	open     int
	arrivals *rate.Limiter
	place    *list.Element // in idle; nil while open > 0
}

// setLimits changes the limits for connections that come from now on; 0 is none.
func (s *sources) setLimits(openMax, rateMax int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openMax, s.rateMax = openMax, rateMax
	for _, known := range s.known {
		known.arrivals.SetLimit(rate.Limit(rateMax))
		known.arrivals.SetBurst(rateMax)
	}
}

// admit counts a connection from a, until leave is called once, or names the limit that refuses it. An address that is not
// known, a unix socket's client, is never refused.
func (s *sources) admit(a netip.Addr) (leave func(), refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.IsValid() || s.openMax == 0 && s.rateMax == 0 {
		return nil, ""
	}
	from := s.find(sourceKey(a))
	switch {
	case s.openMax > 0 && from.open >= s.openMax:
		refused = refusedPerSource
	case s.rateMax > 0 && !from.arrivals.Allow():
		refused = refusedNewPerSource
	default:
		from.open++
	}
	s.settle(from)
	if refused != "" {
		return nil, refused
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		from.open--
		s.settle(from)
	}, ""
}

func (s *sources) find(key netip.Addr) *origin {
	from := s.known[key]
	if from == nil {
		from = &origin{key: key, arrivals: rate.NewLimiter(rate.Limit(s.rateMax), s.rateMax)}
		if s.known == nil {
			s.known = map[netip.Addr]*origin{}
		}
		s.known[key] = from
	}
	return from
}

// settle puts a source among the idle ones, or takes it from there, and forgets the one that was idle for longest where
// there are too many.
func (s *sources) settle(from *origin) {
	switch {
	case from.open == 0 && from.place == nil:
		from.place = s.idle.PushBack(from)
	case from.open > 0 && from.place != nil:
		s.idle.Remove(from.place)
		from.place = nil
	}
	for s.idle.Len() > idleSourcesMax {
		oldest := s.idle.Remove(s.idle.Front()).(*origin)
		delete(s.known, oldest.key)
	}
}

// sourceKey is what the addresses of one source have in common.
func sourceKey(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is4() {
		return a
	}
	network, _ := a.Prefix(ipv6SourceBits) // it fails for a zone or too many bits alone
	return network.Addr()
}
