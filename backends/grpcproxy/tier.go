package grpcproxy

// Service records order a backend's targets: RFC 2782, "Priority" and "Weight". Targets of one priority are a tier; calls
// go to the first tier in which somebody can take them, and there by share.

import "slices"

// turnsMax is how fine the shares of a tier are: none is less than one turn of these, if there are no more targets.
const turnsMax = 256

// candidate is a place that a name has, or that the configuration tells.
type candidate struct {
	place
	rank  int     // 0 before 1
	share float64 // of its rank's calls; plain addresses have 1 each
}

// tier is the targets of one rank. It does not change.
type tier struct {
	targets []*target
	shares  []float64 // in the order of targets; nil: equal
	turns   []int     // whose turn it is: each as often as its share says, spread evenly; nil: one after the other
	ring    []point   // by hash; for ring_hash
}

// targetSet is a backend's targets at a time. It does not change.
type targetSet struct {
	targets []*target // of all tiers
	tiers   []tier    // none is empty
	looking bool      // names have not been looked up yet
	err     error     // of the last look-up
}

// add puts a target where the candidate belongs. Candidates come in the order of their ranks.
func (s *targetSet) add(t *target, at candidate, first bool) {
	if first {
		s.tiers = append(s.tiers, tier{})
	}
	last := &s.tiers[len(s.tiers)-1]
	last.targets, last.shares = append(last.targets, t), append(last.shares, at.share)
	s.targets = append(s.targets, t)
}

// finish makes what the balance goes by.
func (t *tier) finish(balance string) {
	if slices.Min(t.shares) == slices.Max(t.shares) {
		t.shares = nil
	}
	if t.shares != nil {
		t.turns = spread(t.shares)
	}
	if balance == ringHash {
		t.ring = newRing(t.targets, t.shares)
	}
}

// first is the target whose turn it is.
func (t *tier) first(turn uint32) int {
	if t.turns != nil {
		return t.turns[turn%uint32(len(t.turns))]
	}
	return int(turn % uint32(len(t.targets)))
}

// spread gives each target its share of turns, never in a row where it can be helped: the one that is furthest behind is
// next. A share of nothing is one turn (RFC 2782: "a very small chance").
func spread(shares []float64) (turns []int) {
	sum := 0.0
	for _, share := range shares {
		sum += share
	}
	slots, behind := make([]int, len(shares)), make([]int, len(shares))
	total := 0
	for i, share := range shares {
		slots[i] = max(1, int(share/sum*turnsMax+0.5))
		total += slots[i]
	}
	for range total {
		next := 0
		for i := range behind {
			if behind[i] += slots[i]; behind[i] > behind[next] {
				next = i
			}
		}
		behind[next] -= total
		turns = append(turns, next)
	}
	return turns
}

// lighter reports whether target a has less to do than b, for its share. Of two that are idle neither has.
func (t *tier) lighter(a, b int) bool {
	loadA, loadB := t.targets[a].load(), t.targets[b].load()
	if t.shares == nil {
		return loadA < loadB
	}
	return float64(loadA)*t.shares[b] < float64(loadB)*t.shares[a]
}
