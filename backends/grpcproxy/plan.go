package grpcproxy

// Routes and backends are replaced as a whole, while calls run. What a plan has in common with the one before is kept, with
// its connections, limits, ejections and turns. Calls that run stay where they are; the next ones, also those on the same
// connections, follow the new routes.

import (
	"fmt"
	"reflect"
	"slices"
	"time"
)

// leavingMin is how long a backend that is not named any more is kept at least: a call may be about to enter that found
// its route just before.
const leavingMin = 2 * time.Second

// Plan is a set of routes and backends that has been checked, for Apply.
type Plan struct {
	table    *table
	backends []*backend
}

// Plan checks routes and backends, and makes what is new among them. Nothing is changed, nor connected. Between Plan and
// Apply no other Plan may be made.
func (p *Proxy) Plan(routes []Route, backends []Backend) (*Plan, error) {
	p.mu.Lock()
	before := p.backends
	p.mu.Unlock()
	plan := &Plan{table: newTable()}
	named := make(map[string]*backend, len(backends))
	for _, b := range backends {
		if named[b.Name] != nil {
			return nil, fmt.Errorf("backend %q: given twice", b.Name)
		}
		var be *backend
		if i := slices.IndexFunc(before, func(have *backend) bool { return sameBackend(have.Backend, b) }); i >= 0 {
			be = before[i]
		} else {
			var err error
			if be, err = newBackend(p, b); err != nil {
				return nil, err
			}
		}
		named[b.Name] = be
		plan.backends = append(plan.backends, be)
	}
	for _, r := range routes {
		ready, err := p.planRoute(r, named)
		if err != nil {
			return nil, fmt.Errorf("grpc route %q: %w", r.Pattern, err)
		}
		if !plan.table.add(ready) {
			return nil, fmt.Errorf("grpc route %q: given twice", r.Pattern)
		}
	}
	if p.own != nil {
		plan.table.own = p.own.route
	}
	return plan, nil
}

// sameBackend compares dialers by identity: what is behind them may change.
func sameBackend(a, b Backend) bool {
	same := a.Dial == b.Dial
	a.Dial, b.Dial = nil, nil
	return same && reflect.DeepEqual(a, b)
}

// planRoute makes a route, or finds it where it was.
func (p *Proxy) planRoute(r Route, named map[string]*backend) (*route, error) {
	for _, have := range p.table.Load().all {
		if reflect.DeepEqual(have.asked, r) && have.goesTo(named) {
			return have, nil
		}
	}
	return newRoute(p, r, named)
}

// goesTo reports whether the route's backends are those that are named so now.
func (r *route) goesTo(named map[string]*backend) bool {
	for _, be := range r.backends {
		if named[be.Name] != be {
			return false
		}
	}
	for _, m := range r.mirrors {
		if named[m.Backend] != m.backend {
			return false
		}
	}
	return true
}

// Apply makes the plan the one that calls follow.
func (p *Proxy) Apply(plan *Plan) {
	now := p.now()
	for _, be := range plan.backends {
		if plan.names(be) {
			be.begin()
		}
	}
	p.mu.Lock()
	before := p.backends
	p.backends = plan.backends
	old := p.table.Swap(plan.table)
	for _, be := range before {
		if !slices.Contains(plan.backends, be) {
			be.retired = now
			p.leaving = append(p.leaving, be)
		}
	}
	p.mu.Unlock()
	for _, r := range old.all {
		if !slices.Contains(plan.table.all, r) {
			r.endMirrors()
		}
	}
	for _, r := range plan.table.all {
		if !slices.Contains(old.all, r) {
			r.beginMirrors()
		}
	}
}

// names reports whether some route sends calls to the backend.
func (plan *Plan) names(be *backend) bool {
	return slices.ContainsFunc(plan.table.all, func(r *route) bool {
		return slices.Contains(r.backends, be) || slices.ContainsFunc(r.mirrors, func(m *mirror) bool { return m.backend == be })
	})
}

// endLeaving ends backends that no plan names, when their last call is over.
func (p *Proxy) endLeaving(now time.Duration) {
	p.mu.Lock()
	var over []*backend
	p.leaving = slices.DeleteFunc(p.leaving, func(be *backend) bool {
		if now-be.retired < leavingMin || be.active.Load() > 0 {
			return false
		}
		over = append(over, be)
		return true
	})
	p.mu.Unlock()
	for _, be := range over {
		be.end()
	}
}
