package grpcproxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// waitingMax is how many calls may wait for a connection to one backend, or for a free stream there.
const waitingMax = 10000

// backend is a Backend with its targets, and the calls that wait for one of them.
//
// Rules. It begins when a plan is applied in which a route names it, and ends when a later one does not and its last call is over. Its
// goroutines (those of its targets too) end with ctx.
type backend struct {
	Backend
	proxy  *Proxy
	static []place // targets without a name to look up
	names  []lookup
	tls    *tls.Config // nil: plaintext
	set    atomic.Pointer[targetSet]
	turn   atomic.Uint32

	started, active atomic.Int64
	ejected         atomic.Int64 // targets

	ctx       context.Context
	cancel    context.CancelFunc
	lookAgain chan struct{} // something has failed; room for one

	own ownClient

	queued  atomic.Int64 // the length of waiting
	mu      sync.Mutex
	waiting list
	retired time.Duration // when it was no longer named, on the proxy's clock; proxy.mu guards it
}

// newBackend connects nothing yet: begin does what needs no call, the first call the rest.
func newBackend(p *Proxy, b Backend) (*backend, error) {
	switch b.Balance {
	case "", roundRobin, leastRequest:
	case ringHash:
		if b.HashKey == "" {
			return nil, fmt.Errorf("backend %q: ring_hash needs a hash key", b.Name)
		}
	default:
		return nil, fmt.Errorf("backend %q: there is no balance %q: round_robin, least_request or ring_hash", b.Name, b.Balance)
	}
	if len(b.Targets) == 0 && b.Dial == nil {
		return nil, fmt.Errorf("backend %q: has no target", b.Name)
	}
	be := &backend{Backend: b, proxy: p, lookAgain: make(chan struct{}, 1)}
	be.waiting.init()
	if err := be.places(); err != nil {
		return nil, err
	}
	var err error
	if be.tls, err = clientTLS(b); err != nil {
		return nil, fmt.Errorf("backend %q: %w", b.Name, err)
	}
	be.set.Store(&targetSet{looking: len(be.names) > 0})
	return be, nil
}

// begin starts what runs without calls, if it does not run.
func (be *backend) begin() {
	if be.ctx != nil {
		return
	}
	be.ctx, be.cancel = context.WithCancel(be.proxy.ctx)
	be.become(be.fixed())
	if len(be.names) > 0 {
		be.proxy.start(be.lookUp)
	}
}

// end closes the connections. There are no calls any more.
func (be *backend) end() {
	if be.ctx == nil {
		return // it was never named
	}
	be.cancel()
	be.own.close()
	for _, t := range be.set.Load().targets {
		t.end()
	}
}

// enqueue lets the call wait. It reports false when too many do. The call's lock is held.
func (be *backend) enqueue(call *call) bool {
	be.mu.Lock()
	defer be.mu.Unlock()
	if be.queued.Load() >= waitingMax {
		return false
	}
	call.waitSince = be.proxy.now()
	be.waiting.push(&call.wait, call)
	be.queued.Add(1)
	return true
}

// leave takes the call out of the waiting ones, if it is there. The call's lock is held.
func (be *backend) leave(call *call) {
	if be.queued.Load() == 0 {
		return
	}
	be.mu.Lock()
	be.unlink(call)
	be.mu.Unlock()
}

// unlink is called with backend.mu held.
func (be *backend) unlink(call *call) {
	if call.wait.next != nil {
		call.wait.unlink()
		be.queued.Add(-1)
	}
}

// next takes the first waiting call.
func (be *backend) next() *call {
	be.mu.Lock()
	defer be.mu.Unlock()
	call := be.waiting.first()
	if call != nil {
		be.unlink(call)
	}
	return call
}

// dispatchWaiting sends the waiting calls for which there is a place now. No lock is held.
func (be *backend) dispatchWaiting(b *batch) {
	for range be.queued.Load() {
		if bc, _ := be.choose(0, nil); bc == nil {
			return
		}
		call := be.next()
		if call == nil {
			return
		}
		call.mu.Lock()
		if !call.done && call.server == nil {
			call.dispatch(countAttempts(call.replay.fields(), call.resent), b)
		}
		call.mu.Unlock()
	}
}

// failWaiting answers the waiting calls when no connection is to be expected soon; those that wait for ready stay. No lock
// is held.
func (be *backend) failWaiting(b *batch) {
	for range be.queued.Load() {
		if bc, hope := be.choose(0, nil); bc != nil || hope {
			b.wake(be)
			return
		}
		call := be.next()
		if call == nil {
			return
		}
		call.mu.Lock()
		switch {
		case call.done || call.server != nil:
		case call.route.WaitForReady:
			call.await(b)
		default:
			call.unreachable(b)
		}
		call.mu.Unlock()
	}
}

func (be *backend) status() BackendStatus {
	s := BackendStatus{Name: be.Name, Active: be.active.Load(), Started: be.started.Load()}
	set := be.set.Load()
	for _, t := range set.targets {
		s.Targets = append(s.Targets, t.status())
	}
	if set.err != nil {
		s.LastError = set.err.Error()
	}
	return s
}

// backoff is how long a target is left alone after its n-th failure in a row.
func backoff(failures int) time.Duration {
	d := backoffFirst
	for range min(failures-1, 20) {
		d = min(d*8/5, backoffMax)
	}
	return d
}

const (
	backoffFirst = 100 * time.Millisecond
	backoffMax   = 10 * time.Second
)
