package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

const (
	percentAll = 100
	proxyV2    = "v2" // a word of relay { proxy_protocol }
)

// relays reads the relay blocks; match { listen } names the listeners.
func (r *reader) relays(blocks []relaySchema, listeners []Listener) []Relay {
	relays := make([]Relay, 0, len(blocks))
	for i, b := range blocks {
		for _, earlier := range blocks[:i] {
			if earlier.Name == b.Name {
				r.errorAt(b.NameRange, "Duplicate relay", "%s is defined at %s already. Rename one.", quoted(b.Name), Place(earlier.NameRange))
				break
			}
		}
		relays = append(relays, r.relay(b, listeners))
	}
	return relays
}

func (r *reader) relay(b relaySchema, listeners []Listener) Relay {
	r.checkName("relay", b.Name, b.NameRange)
	if b.Dial == nil && b.Workers == nil {
		r.errorAt(b.DefRange, "A relay without a target", "Say where the bytes go: dial = [\"tcp://127.0.0.1:5560\"], or workers { listen = \"127.0.0.1:5556\" } for workers that connect in.")
	}
	dial, _ := r.list(b.Dial, "tcp://127.0.0.1:5560")
	idle, _ := r.durationOrNone(b.IdleTimeout)
	match := r.match(b.Match, listeners)
	return Relay{
		Name:           b.Name,
		Match:          match,
		Dial:           r.targets(dial, dialTarget),
		Balance:        oneOf(r, b.Balance, LeastConnections, LeastConnections, RoundRobin),
		IdleTimeout:    idle,
		ConnectTimeout: r.duration(b.ConnectTimeout, 0),
		ProxyHeader:    oneOf(r, b.ProxyProtocol, "", proxyV2) == proxyV2,
		Workers:        r.workers(b, match),
		Range:          b.NameRange,
	}
}

// match reads a match block; nil is the block left out.
func (r *reader) match(b *matchSchema, listeners []Listener) Match {
	if b == nil {
		return Match{Protocol: ZMTP, Percent: percentAll}
	}
	protocol := oneOf(r, b.Protocol, ZMTP, ZMTP, HTTP1, HTTP2, TLS, SSH, AnyProtocol)
	return Match{
		Protocol:     protocol,
		Listen:       r.listenNames(b.Listen, listeners),
		Source:       r.prefixes(b.Source),
		Percent:      r.percent(b.Percent),
		SNI:          r.serverNames(b.SNI),
		Introduction: r.introduction(b, protocol),
	}
}

// listenNames reads the names of listeners that exist.
func (r *reader) listenNames(a *hcl.Attribute, listeners []Listener) []string {
	known := make([]string, len(listeners))
	for i, l := range listeners {
		known[i] = l.Name
	}
	items, _ := r.list(a, "public")
	names := make([]string, 0, len(items))
	for _, it := range items {
		if !slices.Contains(known, it.text) && !r.incomplete {
			r.errorAt(it.at, "Unknown listener", "No listen block has the name %s. %s", quoted(it.text), choose(it.text, known))
		}
		names = append(names, it.text)
	}
	return names
}

// percent reads the share of sources.
func (r *reader) percent(a *hcl.Attribute) float64 {
	n, ok := r.number(a, 0, percentAll)
	if !ok {
		return percentAll
	}
	share, _ := n.Float64()
	return share
}

// prefixes reads a list of networks in CIDR notation.
func (r *reader) prefixes(a *hcl.Attribute) []netip.Prefix {
	items, _ := r.list(a, "10.0.0.0/8")
	prefixes := make([]netip.Prefix, 0, len(items))
	for _, it := range items {
		if problem := prefixProblem(it.text); problem != "" {
			r.errorAt(it.at, "Bad network", "%s %s", quoted(it.text), problem)
			continue
		}
		prefixes = append(prefixes, netip.MustParsePrefix(it.text))
	}
	return prefixes
}

// prefixProblem tells what is wrong with a network in CIDR notation (RFC 4632), or returns "". It insists on the
// network's first address, since "10.1.2.3/8" might mean the one machine or the whole network.
func prefixProblem(text string) string {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return notPrefix(text)
	case p.Addr().Is4In6():
		return "is an IPv4 network written as IPv6. Write it as IPv4, as in \"10.0.0.0/8\"."
	case p.Masked() != p:
		return fmt.Sprintf("has address bits set behind its length. Did you mean the network %q or the one machine %q?", p.Masked(), oneMachine(p.Addr()))
	}
	return ""
}

// notPrefix tells why text is no network.
func notPrefix(text string) string {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		return fmt.Sprintf("has no length. Did you mean the one machine %q?", oneMachine(ip))
	}
	if addr, length, found := strings.Cut(text, "/"); found {
		if ip, err := netip.ParseAddr(addr); err == nil && ip.Zone() == "" {
			return fmt.Sprintf("has the length %s. Here it goes from 0 to %d.", quoted(length), ip.BitLen())
		}
	}
	return "is not a network in CIDR notation, such as \"10.0.0.0/8\" or \"fd00::/8\". Host names are not possible here."
}

// oneMachine is the network of a single address.
func oneMachine(ip netip.Addr) netip.Prefix { return netip.PrefixFrom(ip, ip.BitLen()) }
