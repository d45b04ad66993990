package main

import (
	"slices"
	"sync"
	"time"
)

// history remembers the configurations that connections were chosen by and still use. It has a mutex of its own: metrics are
// read while a reload or a stop goes on.
type history struct {
	mu  sync.Mutex
	all []*generation // the last is current
}

// add makes g current.
func (h *history) add(g *generation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget()
	h.all = append(h.all, g)
}

// oldest is how long ago the oldest configuration was applied that a connection still uses, or the current one.
func (h *history) oldest() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget()
	if len(h.all) == 0 {
		return 0
	}
	return time.Since(h.all[0].since)
}

// forget drops what no connection uses, but for the current one.
func (h *history) forget() {
	last := len(h.all) - 1
	if last < 0 {
		return
	}
	current := h.all[last]
	h.all = append(slices.DeleteFunc(h.all[:last], func(g *generation) bool { return g.table.InUse() == 0 }), current)
}
