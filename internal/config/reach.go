package config

import (
	"net/netip"
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// everySource is what a match without a source takes.
var everySource = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// checkUse warns of backends that nothing uses.
func (r *reader) checkUse(cfg *Config) {
	used := map[string]bool{}
	for _, route := range cfg.Routes {
		for _, to := range route.To {
			used[to.Backend] = true
		}
		for _, m := range route.Mirrors {
			used[m.Backend] = true
		}
	}
	for _, z := range cfg.ZMQs {
		for _, to := range z.To {
			used[to.Backend] = true
		}
		for _, m := range z.Mirrors {
			used[m.Backend] = true
		}
	}
	for _, b := range cfg.Backends {
		if !used[b.Name] {
			r.warnAt(b.Range, "A backend that nothing uses", "No block sends anything to %s. Add a grpc block with: to %q {}", quoted(b.Name), b.Name)
		}
	}
}

// Placed is a block that takes connections, where it stands.
type Placed struct {
	Kind, Name string // "relay" or "zmq block"
	At         int    // in Config.Relays or Config.ZMQs
	Match      Match
	Range      hcl.Range
}

// Order is the relay and zmq blocks as they stand in the file: a connection goes to the first that fits.
func (cfg *Config) Order() []Placed {
	all := make([]Placed, 0, len(cfg.Relays)+len(cfg.ZMQs))
	for i, relay := range cfg.Relays {
		all = append(all, Placed{"relay", relay.Name, i, relay.Match, relay.Range})
	}
	for i, z := range cfg.ZMQs {
		all = append(all, Placed{"zmq block", z.Name, i, z.Match, z.Range})
	}
	slices.SortStableFunc(all, func(a, b Placed) int { return a.Range.Start.Byte - b.Range.Start.Byte })
	return all
}

// checkReach reports blocks that no connection can reach, listeners that no block serves, and connections that two
// kinds of block claim. It wants blocks that are right by themselves.
func (r *reader) checkReach(cfg *Config) {
	order := cfg.Order()
	for i, block := range order {
		for _, earlier := range order[:i] {
			if cfg.takesAll(earlier.Match, block.Match) {
				r.errorAt(block.Range, "A "+block.Kind+" that nothing can reach", "%s at %s takes everything that %s would take. %s", quoted(earlier.Name), Place(earlier.Range), quoted(block.Name), wayOutOfShadow(earlier.Match, block.Match))
				break
			}
		}
	}
	r.checkHTTP2(cfg)
	r.checkTLS(cfg)
	r.checkHTTP1(cfg)
	for _, l := range cfg.Listeners {
		serves := func(block Placed) bool { return slices.Contains(cfg.listens(block.Match), l.Name) }
		if len(cfg.Routes) == 0 && len(cfg.SockJS) == 0 && !slices.ContainsFunc(order, serves) {
			r.errorAt(l.Range, "A listener that nothing serves", "Every connection to %s would be refused. Add a relay, a zmq, a grpc or a sockjs block.", quoted(l.Addr))
		}
	}
}

// checkHTTP2 reports relays that take HTTP/2 where grpc blocks want it too, so that no catch-all eats gRPC calls. A
// listener for each, told apart by match { listen }, is how both can be had.
func (r *reader) checkHTTP2(cfg *Config) {
	if len(cfg.Routes) == 0 {
		return
	}
	if relay := cfg.claims(HTTP2); relay != nil {
		r.errorAt(relay.Range, "HTTP/2 is claimed twice", "%s takes HTTP/2 connections as they are, on every listener, and the grpc block at %s wants their calls. Remove one, name another protocol, or give the relay a listener of its own with match { listen }.", quoted(relay.Name), Place(cfg.Routes[0].Range))
	}
}

// checkHTTP1 is checkHTTP2 for sockjs blocks.
func (r *reader) checkHTTP1(cfg *Config) {
	if len(cfg.SockJS) == 0 {
		return
	}
	if relay := cfg.claims(HTTP1); relay != nil {
		r.errorAt(relay.Range, "HTTP/1.1 is claimed twice", "%s takes HTTP/1.1 connections as they are, on every listener, and the sockjs block at %s wants their requests. Remove one, name another protocol, or give the relay a listener of its own with match { listen }.", quoted(relay.Name), Place(cfg.SockJS[0].Range))
	}
}

// claims is the relay that takes the last listener of a protocol from the blocks behind all relays; nil: some listener
// is left to them.
func (cfg *Config) claims(protocol Protocol) *Relay {
	claimed := map[string]bool{}
	for i, relay := range cfg.Relays {
		if p := relay.Match.Protocol; p != protocol && p != AnyProtocol {
			continue
		}
		for _, name := range cfg.listens(relay.Match) {
			claimed[name] = true
		}
		if len(claimed) == len(cfg.Listeners) {
			return &cfg.Relays[i]
		}
	}
	return nil
}

// checkTLS reports relays that want TLS as it is where it is ended, since one that asks for names comes before that, and
// blocks that ask for names of what is inside TLS where none of it is ended.
func (r *reader) checkTLS(cfg *Config) {
	ends := map[string]bool{}
	for _, l := range cfg.Listeners {
		ends[l.Name] = len(l.Certificates) > 0
	}
	for _, block := range cfg.Order() {
		m := block.Match
		goesOn := slices.ContainsFunc(cfg.listens(m), func(listener string) bool { return !ends[listener] })
		isEnded := slices.ContainsFunc(cfg.listens(m), func(listener string) bool { return ends[listener] })
		switch {
		case m.Protocol == TLS && len(m.SNI) == 0 && !goesOn:
			r.errorAt(block.Range, "A relay that nothing can reach", "%s takes TLS as it is, but its listeners end TLS (tls { ... }). Ask for the names that shall go through: match { sni = [\"*.example.com\"] }, or give it a listener of its own with match { listen }.", quoted(block.Name))
		case m.Protocol != TLS && len(m.SNI) > 0 && !isEnded:
			r.errorAt(block.Range, "What can never be seen", "%s asks for names that TLS clients ask for (sni), and takes protocol = %q, but none of its listeners ends TLS to show that. Write protocol = \"tls\" to let TLS through as it is, or end it: listen { tls { ... } }.", quoted(block.Name), m.Protocol)
		}
	}
}

// takesAll reports whether the earlier match leaves nothing for the later one.
func (cfg *Config) takesAll(earlier, later Match) bool {
	if earlier.Protocol != AnyProtocol && earlier.Protocol != later.Protocol {
		return false
	}
	if later.Percent == 0 || earlier.Percent < later.Percent { // a block at 0 is switched off on purpose
		return false
	}
	if earlier.Key != "" && earlier.Key != later.Key { // another key's clients fall through
		return false
	}
	if !earlier.covers(later.Introduction) || !namesCover(earlier.SNI, later.SNI) {
		return false
	}
	taken := cfg.listens(earlier)
	for _, name := range cfg.listens(later) {
		if !slices.Contains(taken, name) {
			return false
		}
	}
	sources := sourcesOf(earlier)
	return !slices.ContainsFunc(sourcesOf(later), func(p netip.Prefix) bool { return !within(p, sources) })
}

// wayOutOfShadow tells what to do about a relay that an earlier one leaves nothing for.
func wayOutOfShadow(earlier, later Match) string {
	switch {
	case earlier.Percent < percentAll:
		return "Percent counts the same sources in every block, so the later block needs the larger number, or none."
	case earlier.Protocol == AnyProtocol && later.Protocol != AnyProtocol:
		return "Put the block with protocol = \"any\" last."
	}
	return "Put the narrower one first, or remove one."
}

// listens returns the names of the listeners that a match serves.
func (cfg *Config) listens(m Match) []string {
	if len(m.Listen) > 0 {
		return m.Listen
	}
	names := make([]string, len(cfg.Listeners))
	for i, l := range cfg.Listeners {
		names[i] = l.Name
	}
	return names
}

func sourcesOf(m Match) []netip.Prefix {
	if len(m.Source) == 0 {
		return everySource
	}
	return m.Source
}

// within reports whether every address of p is in one of the prefixes, their union included: two halves make a whole.
func within(p netip.Prefix, prefixes []netip.Prefix) bool {
	inside := false
	for _, q := range prefixes {
		if q.Overlaps(p) {
			if q.Bits() <= p.Bits() {
				return true
			}
			inside = true
		}
	}
	if !inside {
		return false
	}
	lower, upper := halves(p)
	return within(lower, prefixes) && within(upper, prefixes)
}

// halves splits a prefix that is not a single address.
func halves(p netip.Prefix) (lower, upper netip.Prefix) {
	bits := p.Bits() + 1
	bytes := p.Addr().AsSlice()
	bytes[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	top, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(p.Addr(), bits), netip.PrefixFrom(top, bits)
}
