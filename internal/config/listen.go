package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

const (
	connectionsMax = 10_000_000 // more than the descriptors of any machine
	nameBytesMax   = 64
)

// blockName is what blocks may be called: names become metric labels and log fields.
var blockName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// listeners reads the listen blocks. end is where the first would go if there is none.
func (r *reader) listeners(blocks []listenSchema, end hcl.Range) []Listener {
	if len(blocks) == 0 && !r.incomplete {
		r.errorAt(end, "No listen block", "Without one nobody can connect. Add: listen \"127.0.0.1:5555\" {}")
	}
	listeners := make([]Listener, 0, len(blocks))
	for _, b := range blocks {
		listeners = append(listeners, r.listener(b))
	}
	for i, l := range listeners {
		for _, earlier := range listeners[:i] {
			if l.Name == earlier.Name && !overlap(l.Addr, earlier.Addr) {
				r.errorAt(l.Range, "Duplicate listener name", "%s is the name of the listener at %s too. Give each its own: name = \"...\"", quoted(l.Name), Place(earlier.Range))
				break
			}
		}
	}
	return listeners
}

func (r *reader) listener(b listenSchema) Listener {
	l := Listener{Network: "tcp", Addr: b.Addr, Name: b.Addr, Range: b.AddrRange}
	problem := ""
	if path, isSocket := strings.CutPrefix(b.Addr, "unix://"); isSocket {
		l.Network, l.Addr = "unix", path
		problem = socketProblem("unix://", path)
	} else {
		problem = listenRule.problem(b.Addr)
	}
	if problem != "" {
		r.errorAt(b.AddrRange, "Bad listen address", "%s", problem)
	}
	if name, ok := r.text(b.Name); ok {
		l.Name = name
		r.checkName("listener", name, b.Name.Expr.Range())
	}
	l.SniffTimeout = r.duration(b.SniffTimeout, 0)
	l.MaxConnections, _ = r.count(b.MaxConnections, 1, connectionsMax)
	l.MaxSniffing, _ = r.count(b.MaxSniffing, 1, connectionsMax)
	if l.MaxConnections > 0 && l.MaxSniffing > l.MaxConnections {
		r.warnAt(b.MaxSniffing.Expr.Range(), "A limit that is never reached", "max_sniffing counts connections that max_connections (%d) counts too.", l.MaxConnections)
	}
	l.Source = r.prefixes(b.Source)
	if b.Source != nil && l.Network == "unix" {
		r.errorAt(b.Source.NameRange, "What can never be seen", "Clients of a unix socket have no address: who may connect is up to the permissions of its directory. Remove the line.")
	}
	l.Proxies, l.AllProxies = r.proxies(b.Proxy, l.Network)
	l.Certificates, l.ClientCA = r.certificates(b.TLS)
	return l
}

// proxies reads who may say, in a PROXY header, whose connection it is: nobody without the block, everybody on a unix socket.
func (r *reader) proxies(b *proxySchema, network string) (trusted []netip.Prefix, all bool) {
	switch {
	case b == nil:
		return nil, false
	case network == "unix" && b.Trust == nil:
		return nil, true
	case network == "unix":
		r.errorAt(b.Trust.NameRange, "What can never be seen", "Clients of a unix socket have no address: whoever may connect to it is trusted. Remove the line.")
	case b.Trust == nil:
		r.errorAt(b.DefRange, "Nobody is trusted", "A PROXY header names the client, so say who may send one: trust = [\"10.0.0.0/8\"]")
	}
	trusted = r.prefixes(b.Trust)
	for _, p := range trusted {
		if p.Bits() == 0 {
			r.warnAt(b.Trust.Expr.Range(), "Everybody is trusted", "%s is every address: whoever can connect can pretend to be any client. Name the addresses of the proxies.", quoted(p.String()))
		}
	}
	return trusted, false
}

// checkName reports a name that cannot stand in a metric label or a log line.
func (r *reader) checkName(kind, name string, at hcl.Range) {
	if len(name) > nameBytesMax || !blockName.MatchString(name) {
		r.errorAt(at, fmt.Sprintf("Bad %s name", kind), "%s: a name is made of letters, digits, \"_\", \"-\" and \".\", at most %d of them.", quoted(name), nameBytesMax)
	}
}

// checkAddresses reports addresses that cannot be listened on together.
func (r *reader) checkAddresses(cfg *Config) {
	for i, l := range cfg.Listeners {
		for _, earlier := range cfg.Listeners[:i] {
			if overlap(l.Addr, earlier.Addr) {
				r.errorAt(l.Range, "Duplicate listen address", "%s is taken by the listener %s at %s.", quoted(l.Addr), quoted(earlier.Addr), Place(earlier.Range))
				break
			}
		}
		if a := cfg.Admin; a != nil && overlap(a.Addr, l.Addr) {
			r.errorAt(a.Range, "The admin port is public", "%s is taken by the listener %s at %s. Give admin a port of its own.", quoted(a.Addr), quoted(l.Addr), Place(l.Range))
		}
	}
	r.checkDoors(cfg)
}

// checkDoors reports workers' doors whose address something else has.
func (r *reader) checkDoors(cfg *Config) {
	type taken struct {
		by, addr string
		at       hcl.Range
	}
	var all []taken
	for _, l := range cfg.Listeners {
		all = append(all, taken{"the listener", l.Addr, l.Range})
	}
	if a := cfg.Admin; a != nil && a.Network == "tcp" {
		all = append(all, taken{"admin", a.Addr, a.Range})
	}
	for _, relay := range cfg.Relays {
		if relay.Workers == nil {
			continue
		}
		w := relay.Workers
		for _, t := range all {
			if overlap(w.Addr, t.addr) {
				r.errorAt(w.Range, "Duplicate listen address", "%s is taken by %s at %s. The workers' door needs a port of its own.", quoted(w.Addr), t.by, Place(t.at))
				break
			}
		}
		all = append(all, taken{"another workers' door", w.Addr, w.Range})
	}
}
