package grpcproxy

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http2/hpack"
)

// table finds the route of a method: the full name first, then its service, then "*". Among routes of one pattern those
// that ask for metadata stand before the one that does not. A table does not change.
type table struct {
	methods  map[string][]*route
	services map[string][]*route // by "/package.Service"
	rest     []*route
	all      []*route
	own      *route // of the gateway's own services; nil: none
}

// route is a Route made ready for calls.
type route struct {
	Route
	asked     Route // as it was given, without defaults
	backends  []*backend
	chosen    []atomic.Int64 // by backend: the calls that it got
	ends      []uint64       // running sum of the weights; the last is the total
	turn      atomic.Uint64
	deadlines deadlines
	limits    limits
	retries   retries
	edits     edits
	counts    counts
	service   string // of Pattern
	marks     bool   // what the engine answers itself carries engineAnswered
	mirrors   []*mirror
}

func newTable() *table {
	return &table{methods: map[string][]*route{}, services: map[string][]*route{}}
}

// add reports false where the pattern and metadata have a route already.
func (t *table) add(r *route) bool {
	t.all = append(t.all, r)
	added := false
	insert := func(list []*route) []*route {
		for _, have := range list {
			if maps.Equal(have.Metadata, r.Metadata) {
				return list
			}
		}
		added = true
		if n := len(list); n > 0 && len(list[n-1].Metadata) == 0 {
			return slices.Insert(list, n-1, r)
		}
		return append(list, r)
	}
	if r.Pattern == "*" {
		t.rest = insert(t.rest)
	} else if service, found := strings.CutSuffix(r.Pattern, "/*"); found {
		t.services[service] = insert(t.services[service])
	} else {
		t.methods[r.Pattern] = insert(t.methods[r.Pattern])
	}
	return added
}

// find returns nil where no route fits.
func (t *table) find(method string, fields []hpack.HeaderField) *route {
	if r := fitting(t.methods[method], fields); r != nil {
		return r
	}
	service := ""
	if slash := strings.LastIndexByte(method, '/'); slash > 0 {
		service = method[:slash]
		if r := fitting(t.services[service], fields); r != nil {
			return r
		}
	}
	if t.own != nil && isOwnService(service) {
		return t.own
	}
	return fitting(t.rest, fields)
}

func fitting(routes []*route, fields []hpack.HeaderField) *route {
	for _, r := range routes {
		if r.fits(fields) {
			return r
		}
	}
	return nil
}

// fits reports whether the call carries what the route asks for.
func (r *route) fits(fields []hpack.HeaderField) bool {
	for name, want := range r.Metadata {
		if !slices.ContainsFunc(fields, func(f hpack.HeaderField) bool { return f.Name == name && valueFits(f.Value, want) }) {
			return false
		}
	}
	return true
}

// valueFits holds the rule of Route.Metadata.
func valueFits(value, want string) bool {
	if prefix, found := strings.CutSuffix(want, "*"); found {
		return strings.HasPrefix(value, prefix)
	}
	return value == want
}

func newRoute(p *Proxy, r Route, backends map[string]*backend) (*route, error) {
	if err := checkPattern(r.Pattern); err != nil {
		return nil, err
	}
	if len(r.To) == 0 {
		return nil, fmt.Errorf("names no backend")
	}
	ready := &route{Route: r, asked: r, counts: newCounts(p.metrics.GRPC, r.Pattern), service: serviceOf(r.Pattern)}
	ready.deadlines.init(p, r.Timeout)
	if ready.MessageBytesMax == 0 {
		ready.MessageBytesMax = p.messageBytesMax
	}
	ready.limits.init(r)
	ready.retries.init(r.Retry)
	if err := ready.edits.init(r); err != nil {
		return nil, err
	}
	if err := ready.weigh(backends); err != nil {
		return nil, err
	}
	for _, m := range r.Mirrors {
		mirror, err := newMirror(p, ready, m, backends)
		if err != nil {
			return nil, fmt.Errorf("mirror %q: %w", m.Backend, err)
		}
		ready.mirrors = append(ready.mirrors, mirror)
	}
	return ready, nil
}

// status tells where the calls of a route went.
func (r *route) status() (all []RouteStatus) {
	for i, be := range r.backends {
		all = append(all, RouteStatus{Route: r.Pattern, Backend: be.Name, Started: r.chosen[i].Load()})
	}
	return all
}

// weigh makes backends and ends.
func (r *route) weigh(backends map[string]*backend) error {
	weightless := true
	for _, to := range r.To {
		if to.Weight < 0 {
			return fmt.Errorf("backend %q has the weight %d: a weight is 0 or more", to.Backend, to.Weight)
		}
		weightless = weightless && to.Weight == 0
	}
	var end uint64
	for _, to := range r.To {
		b := backends[to.Backend]
		if b == nil {
			return fmt.Errorf("there is no backend %q", to.Backend)
		}
		end += uint64(to.Weight)
		if weightless {
			end++
		}
		r.backends = append(r.backends, b)
		r.ends = append(r.ends, end)
	}
	r.chosen = make([]atomic.Int64, len(r.backends))
	return nil
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
			r.chosen[i].Add(1)
			return r.backends[i]
		}
	}
	last := len(r.backends) - 1
	r.chosen[last].Add(1)
	return r.backends[last]
}
