//go:build linux

package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

func cores(w *Work) int {
	if w.OneCore {
		return 1
	}
	return runtime.NumCPU()
}

// of computes a figure; false where it says nothing.
func (f Figure) of(v Values, p *Peer) (float64, bool) {
	if f.OfProxy && p.Role == Direct || v == nil {
		return 0, false
	}
	x := f.From(v)
	return x, !math.IsNaN(x) && !math.IsInf(x, 0)
}

// trouble tells what a sample lost or failed; "" is a clean sample.
func (s Sample) trouble() string {
	if s.Trouble != "" {
		return s.Trouble
	}
	var parts []string
	if n := s.Values["lost"]; n > 0 {
		parts = append(parts, fmt.Sprintf("%.0f lost", n))
	}
	if n := s.Values["failed"]; n > 0 {
		parts = append(parts, fmt.Sprintf("%.0f failed", n))
	}
	return strings.Join(parts, ", ")
}

// Stat is what the samples of one peer say of one figure.
type Stat struct {
	Median, Min, Max float64
	N                int
}

// stat of no numbers has N = 0.
func stat(xs []float64) Stat {
	if len(xs) == 0 {
		return Stat{}
	}
	xs = slices.Sorted(slices.Values(xs))
	n := len(xs)
	return Stat{Median: (xs[(n-1)/2] + xs[n/2]) / 2, Min: xs[0], Max: xs[n-1], N: n}
}

// Board answers for the figures of some runs.
type Board struct {
	runs []*Run
}

// stat of a figure over all rounds of all runs on the board.
func (b Board) stat(w *Work, p *Peer, f Figure) Stat {
	var xs []float64
	for _, r := range b.runs {
		for _, s := range r.Samples {
			if s.Work != w.Name || s.Peer != p.Name {
				continue
			}
			if x, ok := f.of(s.Values, p); ok {
				xs = append(xs, x)
			}
		}
	}
	return stat(xs)
}

// troubles lists what went wrong for a peer in a work, and in how many samples of how many.
func (b Board) troubles(w *Work, p *Peer) (what []string, bad, all int) {
	for _, r := range b.runs {
		for _, s := range r.Samples {
			if s.Work != w.Name || s.Peer != p.Name {
				continue
			}
			all++
			if t := s.trouble(); t != "" {
				bad++
				what = append(what, t)
			}
		}
	}
	return what, bad, all
}

// best is the competitor with the best median, among those that lost and failed nothing.
func (b Board) best(w *Work, f Figure) (*Peer, Stat) {
	var peer *Peer
	var top Stat
	for _, p := range Peers {
		if p.Role != Competitor {
			continue
		}
		if _, bad, all := b.troubles(w, p); bad > 0 || all == 0 {
			continue
		}
		st := b.stat(w, p, f)
		if st.N > 0 && (peer == nil || (st.Median > top.Median) == f.Higher) {
			peer, top = p, st
		}
	}
	return peer, top
}

// number prints three significant digits, thousands as k and millions as M.
func number(x float64) string {
	switch a := math.Abs(x); {
	case a >= 999_500:
		return digits(x/1e6) + " M"
	case a >= 9_995:
		return digits(x/1e3) + " k"
	}
	return digits(x)
}

func digits(x float64) string {
	decimals := 2
	switch a := math.Abs(x); {
	case a >= 99.95 || a == 0:
		decimals = 0
	case a >= 9.995:
		decimals = 1
	case a < 0.0995:
		decimals = 4
	case a < 0.9995:
		decimals = 3
	}
	return strconv.FormatFloat(x, 'f', decimals, 64)
}

func workNamed(name string) *Work {
	for _, w := range Works {
		if w.Name == name {
			return w
		}
	}
	return nil
}

func peerNamed(name string) *Peer {
	for _, p := range Peers {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func (w *Work) figure(name string) (Figure, bool) {
	for _, f := range w.Figures {
		if f.Name == name {
			return f, true
		}
	}
	return Figure{}, false
}
