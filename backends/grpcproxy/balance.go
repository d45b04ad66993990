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

// targetSet is a backend's targets at a time. It does not change.
type targetSet struct {
	targets []*target
	ring    []point // by hash; for ring_hash
	looking bool    // names have not been looked up yet
	err     error   // of the last look-up
}

// point is a place of a target on the ring.
type point struct {
	hash   uint64
	target *target
}

// newRing places the targets. Where a target is depends on its address alone, so every gateway has the same ring, and a
// target that comes or goes moves its own share.
func newRing(targets []*target) []point {
	ring := make([]point, 0, len(targets)*pointsPerTarget)
	for _, t := range targets {
		h := hashText(t.address)
		for range pointsPerTarget {
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
	bc, hope = be.among(set, hash, avoid, true)
	if bc == nil && !hope && (avoid != nil || be.ejected.Load() > 0) {
		bc, hope = be.among(set, hash, nil, false)
	}
	return bc, hope
}

// among chooses; strict leaves out what is ejected.
func (be *backend) among(set *targetSet, hash uint64, avoid *target, strict bool) (best *backendConn, hope bool) {
	strict = strict && be.ejected.Load() > 0
	usable := func(t *target) bool {
		return t != avoid && !t.sick.Load() && !(strict && t.eject.active(be.proxy.now()))
	}
	if hash != 0 {
		return onRing(set.ring, hash, usable)
	}
	turn := int(be.turn.Add(1) % uint32(len(set.targets)))
	for i := range set.targets {
		t := set.targets[(turn+i)%len(set.targets)]
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
		if best == nil || t.load() < best.target.load() {
			best = free
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
