package grpcproxy

// Targets by name: looked up again every lookUpInterval, and after failures. Each address is a target; those that stay keep
// their connections, those that go finish their calls. How service records order them: tier.go.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	lookUpInterval = 30 * time.Second
	// lookUpPause is the least time between two look-ups.
	lookUpPause = time.Second
	lookUpWait  = 5 * time.Second
)

// place is where a target is.
type place struct {
	network, address string
	host             string // for TLS
}

// lookup is a name to look up.
type lookup struct {
	name, port string
	srv        bool
	known      []candidate // what was found last
}

// places sorts the targets into those that are addresses and those that are names.
func (be *backend) places() error {
	if be.Dial != nil {
		be.static = []place{{"", be.Name, be.Name}}
		return nil
	}
	for _, text := range be.Targets {
		if path, found := strings.CutPrefix(text, "unix://"); found {
			be.static = append(be.static, place{"unix", path, "localhost"})
			continue
		}
		if name, found := strings.CutPrefix(text, "srv:///"); found {
			if !strings.HasPrefix(name, "_") {
				name = "_grpc._tcp." + name
			}
			be.names = append(be.names, lookup{name: name, srv: true})
			continue
		}
		host, port, err := net.SplitHostPort(strings.TrimPrefix(text, "dns:///"))
		if err != nil {
			return fmt.Errorf("backend %q: target %q: %w", be.Name, text, err)
		}
		if _, err := netip.ParseAddr(host); err == nil {
			be.static = append(be.static, place{"tcp", net.JoinHostPort(host, port), host})
		} else {
			be.names = append(be.names, lookup{name: host, port: port})
		}
	}
	return nil
}

// lookUp is a goroutine of a backend that has names.
func (be *backend) lookUp() {
	failures := 0
	for {
		began := time.Now()
		found, err := be.resolve()
		interval := lookUpInterval
		if failures++; err == nil {
			failures = 0
		} else {
			interval = max(backoff(failures), lookUpPause)
		}
		if failures == 1 && be.ctx.Err() == nil {
			be.proxy.log.Warn("grpc backend's name cannot be looked up", "backend", be.Name, "err", err)
		}
		if err != nil && len(found) == 0 {
			be.lookUpFailed(err)
		} else {
			be.become(append(be.fixed(), found...))
		}
		select {
		case <-be.ctx.Done():
			return
		case <-be.lookAgain:
		case <-time.After(interval):
		}
		select {
		case <-be.ctx.Done():
			return
		case <-time.After(lookUpPause - time.Since(began)):
		}
	}
}

// askAgain has the names looked up soon.
func (be *backend) askAgain() {
	select {
	case be.lookAgain <- struct{}{}:
	default: // it will be, or there are none
	}
}

// fixed are the targets that have no name to look up.
func (be *backend) fixed() (all []candidate) {
	for _, at := range be.static {
		all = append(all, candidate{at, 0, 1})
	}
	return all
}

// resolve looks all names up; one that cannot be keeps what it had, and the error tells of it. Nothing is found where none can be.
// lookUp alone calls it.
func (be *backend) resolve() (all []candidate, err error) {
	ctx, cancel := context.WithTimeout(be.ctx, lookUpWait)
	defer cancel()
	var problems []error
	for i := range be.names {
		l := &be.names[i]
		resolve := l.addresses
		if l.srv {
			resolve = l.services
		}
		found, err := resolve(ctx, be.proxy.resolver)
		if err != nil && len(found) == 0 {
			problems = append(problems, err)
		} else {
			l.known = found
		}
		all = append(all, l.known...)
	}
	if len(problems) == len(be.names) {
		all = nil
	}
	return all, errors.Join(problems...)
}

// addresses are those of a host.
func (l lookup) addresses(ctx context.Context, r *net.Resolver) (all []candidate, err error) {
	addresses, err := r.LookupHost(ctx, l.name)
	for _, a := range addresses {
		all = append(all, candidate{place{"tcp", net.JoinHostPort(a, l.port), l.name}, 0, 1})
	}
	return all, err
}

// services are the addresses of a service's hosts. A priority has as many shares as records, by their weights; a host's
// addresses divide its own.
func (l lookup) services(ctx context.Context, r *net.Resolver) (all []candidate, err error) {
	_, records, err := r.LookupSRV(ctx, "", "", l.name) // by priority
	if err != nil {
		return nil, err
	}
	weights, counts := map[uint16]float64{}, map[uint16]float64{}
	for _, record := range records {
		weights[record.Priority] += float64(record.Weight)
		counts[record.Priority]++
	}
	rank := 0
	for i, record := range records {
		if i > 0 && record.Priority != records[i-1].Priority {
			rank++
		}
		share := 1.0
		if sum := weights[record.Priority]; sum > 0 {
			share = float64(record.Weight) / sum * counts[record.Priority]
		}
		host := lookup{name: strings.TrimSuffix(record.Target, "."), port: strconv.Itoa(int(record.Port))}
		found, problem := host.addresses(ctx, r)
		if problem != nil {
			err = problem
		}
		for _, at := range found {
			all = append(all, candidate{at.place, rank, share / float64(len(found))})
		}
	}
	return all, err
}

// lookUpFailed keeps the targets that there are.
func (be *backend) lookUpFailed(err error) {
	before := be.set.Load()
	be.set.Store(&targetSet{targets: before.targets, tiers: before.tiers, err: err})
	if be.ctx.Err() != nil {
		return
	}
	var b batch
	be.failWaiting(&b)
	b.run()
}

// become makes the candidates the backend's targets. It is called by begin, and then by lookUp alone.
func (be *backend) become(candidates []candidate) {
	before := be.set.Load()
	next := &targetSet{looking: before.looking && len(candidates) == 0}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return a.rank - b.rank })
	var fresh []*target
	rank := -1
	for _, c := range candidates {
		at := func(t *target) bool { return t.place == c.place }
		if slices.ContainsFunc(next.targets, at) {
			continue
		}
		var t *target
		if i := slices.IndexFunc(before.targets, at); i >= 0 {
			t = before.targets[i]
		} else {
			t = newTarget(be, c.place)
			fresh = append(fresh, t)
		}
		next.add(t, c, c.rank != rank)
		rank = c.rank
	}
	for i := range next.tiers {
		next.tiers[i].finish(be.Balance)
	}
	be.set.Store(next)
	for _, t := range before.targets {
		if !slices.Contains(next.targets, t) {
			t.end()
		}
	}
	for _, t := range fresh {
		t.begin()
	}
	var b batch
	b.wake(be) // calls that wait have the fresh ones connected
	b.run()
}
