package grpcproxy

import (
	"fmt"
	"math/bits"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http2/hpack"
)

// table finds the route of a method: the full name first, then its service, then "*".
type table struct {
	methods  map[string]*route
	services map[string]*route // by "/package.Service"
	rest     *route
}

// route is a Route made ready for calls.
type route struct {
	Route
	backends  []*backend
	ends      []uint64 // running sum of the weights; the last is the total
	turn      atomic.Uint64
	deadlines deadlines
}

func newTable(p *Proxy, routes []Route, backends map[string]*backend) (*table, error) {
	t := &table{methods: map[string]*route{}, services: map[string]*route{}}
	for _, r := range routes {
		ready, err := newRoute(p, r, backends)
		if err != nil {
			return nil, fmt.Errorf("grpc route %q: %w", r.Pattern, err)
		}
		if !t.add(ready) {
			return nil, fmt.Errorf("grpc route %q: given twice", r.Pattern)
		}
	}
	return t, nil
}

// add reports false where the pattern has a route already.
func (t *table) add(r *route) bool {
	where, key := t.methods, r.Pattern
	if service, found := strings.CutSuffix(r.Pattern, "/*"); found {
		where, key = t.services, service
	}
	if r.Pattern == "*" {
		taken := t.rest != nil
		t.rest = r
		return !taken
	}
	_, taken := where[key]
	where[key] = r
	return !taken
}

// find returns nil where no route fits.
func (t *table) find(method string) *route {
	if r := t.methods[method]; r != nil {
		return r
	}
	if slash := strings.LastIndexByte(method, '/'); slash > 0 {
		if r := t.services[method[:slash]]; r != nil {
			return r
		}
	}
	return t.rest
}

func newRoute(p *Proxy, r Route, backends map[string]*backend) (*route, error) {
	if err := checkPattern(r.Pattern); err != nil {
		return nil, err
	}
	if len(r.To) == 0 {
		return nil, fmt.Errorf("names no backend")
	}
	ready := &route{Route: r}
	ready.deadlines.init(p, r.Timeout)
	if ready.MessageBytesMax == 0 {
		ready.MessageBytesMax = p.messageBytesMax
	}
	weightless := true
	for _, to := range r.To {
		if to.Weight < 0 {
			return nil, fmt.Errorf("backend %q has the weight %d: a weight is 0 or more", to.Backend, to.Weight)
		}
		weightless = weightless && to.Weight == 0
	}
	var end uint64
	for _, to := range r.To {
		b := backends[to.Backend]
		if b == nil {
			return nil, fmt.Errorf("there is no backend %q", to.Backend)
		}
		end += uint64(to.Weight)
		if weightless {
			end++
		}
		ready.backends = append(ready.backends, b)
		ready.ends = append(ready.ends, end)
	}
	return ready, nil
}

// checkPattern accepts "*", "/service/*" and "/service/method".
func checkPattern(pattern string) error {
	if pattern == "*" {
		return nil
	}
	parts := strings.Split(pattern, "/")
	if len(parts) != 3 || parts[0] != "" || parts[1] == "" || parts[2] == "" || strings.Contains(parts[1], "*") ||
		parts[2] != "*" && strings.Contains(parts[2], "*") {
		return fmt.Errorf("a pattern is \"/package.Service/Method\", \"/package.Service/*\" or \"*\"")
	}
	return nil
}

// weyl is 2^64 divided by the golden ratio: its multiples, modulo 2^64, fall evenly into any partition.
const weyl = 0x9E3779B97F4A7C15

// pick chooses a backend by weight. Shares hold over short runs too: the turns are a Weyl sequence, not dice.
func (r *route) pick() *backend {
	total := r.ends[len(r.ends)-1]
	at, _ := bits.Mul64(r.turn.Add(weyl), total)
	for i, end := range r.ends {
		if at < end {
			return r.backends[i]
		}
	}
	return r.backends[len(r.backends)-1]
}

// edit returns the fields as they go to the backend: with the route's timeout where that is sooner than the caller's.
func (r *route) edit(fields []hpack.HeaderField, q request) []hpack.HeaderField {
	if r.Timeout == 0 {
		return fields
	}
	own := hpack.HeaderField{Name: "grpc-timeout", Value: r.deadlines.header}
	if q.timeout == "" {
		return append(fields, own)
	}
	if theirs, ok := parseTimeout(q.timeout); ok && theirs <= r.Timeout {
		return fields
	}
	for i := range fields {
		if fields[i].Name == own.Name {
			fields[i] = own
		}
	}
	return fields
}
