package grpcproxy

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
)

// waitingMax is how many calls may wait for a connection to one backend, or for a free stream there.
const waitingMax = 10000

// backend is a Backend with its targets, and the calls that wait for one of them.
type backend struct {
	Backend
	proxy   *Proxy
	targets []*target
	turn    atomic.Uint32

	started, active atomic.Int64

	queued  atomic.Int64 // the length of waiting
	mu      sync.Mutex
	waiting list
}

// newBackend connects nothing yet: the first call does.
func newBackend(p *Proxy, b Backend) (*backend, error) {
	switch b.Balance {
	case "", "round_robin", "least_request":
	default:
		return nil, fmt.Errorf("backend %q: there is no balance %q: round_robin or least_request", b.Name, b.Balance)
	}
	if len(b.Targets) == 0 && b.Dial == nil {
		return nil, fmt.Errorf("backend %q: has no target", b.Name)
	}
	be := &backend{Backend: b, proxy: p}
	be.waiting.init()
	if b.Dial != nil {
		be.targets = []*target{newTarget(be, b.Name)}
		return be, nil
	}
	for _, address := range b.Targets {
		be.targets = append(be.targets, newTarget(be, address))
	}
	return be, nil
}

// choose returns a connection with a free stream, or nil. hope says whether it makes sense to wait for one: a connection
// is being made, or all streams are taken.
func (be *backend) choose() (bc *backendConn, hope bool) {
	turn := int(be.turn.Add(1) % uint32(len(be.targets)))
	var best *backendConn
	for i := range be.targets {
		t := be.targets[(turn+i)%len(be.targets)]
		free, more := t.free()
		hope = hope || more
		if free == nil {
			continue
		}
		if be.Balance != "least_request" {
			return free, true
		}
		if best == nil || t.load() < best.target.load() {
			best = free
		}
	}
	return best, hope
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
		if bc, _ := be.choose(); bc == nil {
			return
		}
		call := be.next()
		if call == nil {
			return
		}
		call.mu.Lock()
		if !call.done && call.server == nil {
			call.dispatch(call.replay.fields(), b)
		}
		call.mu.Unlock()
	}
}

// failWaiting answers the waiting calls when no connection is to be expected soon. No lock is held.
func (be *backend) failWaiting(b *batch) {
	for range be.queued.Load() {
		if bc, hope := be.choose(); bc != nil || hope {
			b.wake(be)
			return
		}
		call := be.next()
		if call == nil {
			return
		}
		call.mu.Lock()
		if !call.done && call.server == nil {
			call.fail(codes.Unavailable, fmt.Sprintf("the gateway cannot reach backend %q", be.Name), b)
		}
		call.mu.Unlock()
	}
}

func (be *backend) status() BackendStatus {
	s := BackendStatus{Name: be.Name, Active: be.active.Load(), Started: be.started.Load()}
	for _, t := range be.targets {
		s.Targets = append(s.Targets, t.status())
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
