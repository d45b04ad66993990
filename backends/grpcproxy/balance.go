package grpcproxy

import (
	"slices"

	"golang.org/x/net/http2/hpack"
)

// The ways to choose a target.
const (
	roundRobin   = "round_robin"
	leastRequest = "least_request"
	ringHash     = "ring_hash"
)

// pointsPerTarget is how often a target is on the ring: enough for shares within some per cent of each other.
const pointsPerTarget = 160

// point is a place of a target on the ring.
type point struct {
	hash   uint64
	target *target
}

// newRing places the targets. Where a target is depends on its address alone, so every gateway has the same ring, and a
// target that comes or goes moves its own share. shares are in the order of the targets, 1 on the average; nil: equal.
func newRing(targets []*target, shares []float64) []point {
	ring := make([]point, 0, len(targets)*pointsPerTarget)
	for i, t := range targets {
		points := pointsPerTarget
		if shares != nil {
			points = max(1, int(shares[i]*pointsPerTarget))
		}
		h := hashText(t.address)
		for range points {
			h = mix(h + weyl)
			ring = append(ring, point{h, t})
		}
	}
	slices.SortFunc(ring, func(a, b point) int {
		if a.hash < b.hash {
			return -1
		}
		return 1
	})
	return ring
}

// hashText is FNV-1a, mixed.
func hashText(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// mix is the finalizer of SplitMix64: every bit of x changes half of the result's.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashOf is the call's place on the ring; 0 for none.
func (be *backend) hashOf(fields []hpack.HeaderField) uint64 {
	if be.Balance != ringHash {
		return 0
	}
	value, found := valueOf(fields, be.HashKey)
	if !found {
		return 0
	}
	return max(hashText(value), 1)
}

// choose returns a connection with a free stream, or nil. hope says whether it makes sense to wait for one: a connection
// is being made, or all streams are taken. Targets that are ejected, and avoid, are taken where there is no other.
func (be *backend) choose(hash uint64, avoid *target) (bc *backendConn, hope bool) {
	set := be.set.Load()
	if len(set.targets) == 0 {
		return nil, set.looking
	}
	for i := range set.tiers {
		if bc, hope = be.among(&set.tiers[i], hash, avoid, true); bc != nil || hope {
			return bc, hope
		}
	}
	if avoid == nil && be.ejected.Load() == 0 {
		return nil, false
	}
	for i := range set.tiers {
		if bc, hope = be.among(&set.tiers[i], hash, nil, false); bc != nil || hope {
			break
		}
	}
	return bc, hope
}

// among chooses; strict leaves out what is ejected.
func (be *backend) among(tier *tier, hash uint64, avoid *target, strict bool) (best *backendConn, hope bool) {
	strict = strict && be.ejected.Load() > 0
	usable := func(t *target) bool {
		return t != avoid && !t.sick.Load() && !(strict && t.eject.active(be.proxy.now()))
	}
	if hash != 0 {
		return onRing(tier.ring, hash, usable)
	}
	first, bestAt := tier.first(be.turn.Add(1)), 0
	for i := range tier.targets {
		at := (first + i) % len(tier.targets)
		t := tier.targets[at]
		if !usable(t) {
			continue
		}
		free, more := t.free()
		hope = hope || more
		if free == nil {
			continue
		}
		if be.Balance != leastRequest {
			return free, true
		}
		if best == nil || tier.lighter(at, bestAt) {
			best, bestAt = free, at
		}
	}
	return best, hope
}

// onRing takes the first usable target from hash on. One that is being connected is waited for, so that a key stays with
// its target.
func onRing(ring []point, hash uint64, usable func(*target) bool) (*backendConn, bool) {
	at, _ := slices.BinarySearchFunc(ring, hash, func(p point, h uint64) int {
		if p.hash < h {
			return -1
		}
		return 1
	})
	var tried *target
	for i := range ring {
		t := ring[(at+i)%len(ring)].target
		if t == tried || !usable(t) {
			continue
		}
		if free, hope := t.free(); free != nil || hope {
			return free, hope
		}
		tried = t
	}
	return nil, false
}
