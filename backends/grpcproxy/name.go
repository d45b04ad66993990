package grpcproxy

// Targets by name: looked up again every lookUpInterval, and after failures. Each address is a target; those that stay keep
// their connections, those that go finish their calls.

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
		places, err := be.resolve()
		interval := lookUpInterval
		if failures++; err == nil {
			failures = 0
			be.become(append(slices.Clone(be.static), places...))
		} else {
			interval = max(backoff(failures), lookUpPause)
			be.lookUpFailed(err, failures)
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

// resolve looks all names up. It fails only where none has an address.
func (be *backend) resolve() (places []place, err error) {
	ctx, cancel := context.WithTimeout(be.ctx, lookUpWait)
	defer cancel()
	var problems []error
	for _, l := range be.names {
		found, err := l.resolve(ctx, be.proxy.resolver)
		if err != nil {
			problems = append(problems, err)
		}
		places = append(places, found...)
	}
	if len(places) == 0 {
		return nil, errors.Join(problems...)
	}
	return places, nil
}

func (l lookup) resolve(ctx context.Context, r *net.Resolver) (places []place, err error) {
	if !l.srv {
		addresses, err := r.LookupHost(ctx, l.name)
		for _, a := range addresses {
			places = append(places, place{"tcp", net.JoinHostPort(a, l.port), l.name})
		}
		return places, err
	}
	_, records, err := r.LookupSRV(ctx, "", "", l.name)
	if err != nil {
		return nil, err
	}
	for _, record := range records { // by priority; only the first counts (RFC 2782)
		if record.Priority != records[0].Priority {
			break
		}
		host := lookup{name: strings.TrimSuffix(record.Target, "."), port: strconv.Itoa(int(record.Port))}
		found, problem := host.resolve(ctx, r)
		if problem != nil {
			err = problem
			continue
		}
		places = append(places, found...)
	}
	return places, err
}

// lookUpFailed keeps the targets that there are.
func (be *backend) lookUpFailed(err error, failures int) {
	before := be.set.Load()
	be.set.Store(&targetSet{targets: before.targets, ring: before.ring, err: err})
	if be.ctx.Err() != nil {
		return
	}
	if failures == 1 {
		be.proxy.log.Warn("grpc backend's name cannot be looked up", "backend", be.Name, "err", err)
	}
	var b batch
	be.failWaiting(&b)
	b.run()
}

// become makes places the backend's targets. It is called by begin, and then by lookUp alone.
func (be *backend) become(places []place) {
	before := be.set.Load()
	next := &targetSet{looking: before.looking && len(places) == 0}
	var fresh []*target
	for _, at := range places {
		if slices.ContainsFunc(next.targets, func(t *target) bool { return t.place == at }) {
			continue
		}
		if i := slices.IndexFunc(before.targets, func(t *target) bool { return t.place == at }); i >= 0 {
			next.targets = append(next.targets, before.targets[i])
			continue
		}
		t := newTarget(be, at)
		next.targets, fresh = append(next.targets, t), append(fresh, t)
	}
	if be.Balance == ringHash {
		next.ring = newRing(next.targets)
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
