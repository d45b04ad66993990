package dial

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Decisions about targets; no I/O, no locks: the caller holds the Backend's mutex.

// How connections are spread over the targets of a block.
const (
	LeastConnections = "least_connections"
	RoundRobin       = "round_robin"
)

// choose gives the best candidate that was not tried yet, nil when all were. turn rotates the candidates, so that equals
// take turns.
func choose(candidates, tried []*Target, balance string, turn int, now time.Duration) *Target {
	var best *Target
	for i := range candidates {
		t := candidates[(turn+i)%len(candidates)]
		if slices.Contains(tried, t) {
			continue
		}
		if best == nil || better(t, best, balance, now) {
			best = t
		}
	}
	return best
}

// better tells whether t is to be preferred to best, which comes before it in turn.
func better(t, best *Target, balance string, now time.Duration) bool {
	switch out, bestOut := t.ejected(now), best.ejected(now); {
	case out != bestOut:
		return bestOut
	case out:
		return t.ejectedUntil < best.ejectedUntil
	}
	return balance == LeastConnections && t.open < best.open
}

// ejection tells for how long a target is left out after so many failures in a row: nothing below the limit, then a time
// that doubles, spread by a quarter both ways so that the gateways of a fleet do not return all at once.
func ejection(failures int, o *Options) time.Duration {
	over := failures - o.EjectAfter
	if over < 0 {
		return 0
	}
	d := o.EjectMax
	if over < 32 && o.EjectMin<<over>>over == o.EjectMin {
		d = min(o.EjectMin<<over, o.EjectMax)
	}
	return d*3/4 + rand.N(d/2+1)
}
