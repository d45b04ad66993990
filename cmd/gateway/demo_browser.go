package main

import (
	"context"
	"sync"
	"time"

	"gateway/demo/browser"
)

// demoPageStays is how long the demo goes on after its last page left: long enough to load the page again.
const demoPageStays = 3 * time.Second

// demoPages is the program that answers the demo's page, and keeps the demo going while somebody looks at it.
type demoPages struct {
	screen *screen

	mu      sync.Mutex
	open    map[string]bool // sessions
	changed chan struct{}   // holds a token when open has changed
}

func newDemoPages(s *screen) *demoPages {
	return &demoPages{screen: s, open: map[string]bool{}, changed: make(chan struct{}, 1)}
}

// answer runs the program until ctx ends.
func (p *demoPages) answer(ctx context.Context, pull, push string) error {
	return browser.Reply(ctx, browser.Replier{Pull: pull, Push: push, Stay: true, Heard: p.heard})
}

func (p *demoPages) heard(kind, session, data string) {
	p.screen.line("dates", "received", "", kind+" "+data, cyan)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch kind {
	case "connect":
		p.open[session] = true
	case "disconnect":
		delete(p.open, session)
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *demoPages) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// gone waits until no page is open any more, and none comes back at once; without a page it does not wait.
func (p *demoPages) gone(ctx context.Context) {
	if p.count() == 0 {
		return
	}
	for {
		var left <-chan time.Time
		if p.count() == 0 {
			left = time.After(demoPageStays)
		}
		select {
		case <-p.changed:
		case <-left:
			return
		case <-ctx.Done():
			return
		}
	}
}
