package grpcproxy

import (
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"gateway/internal/grpcwire"
)

// deadlines ends the calls of a route that take longer than its timeout. Its calls have one timeout, so they expire in
// the order in which they came: a list and one timer are enough. The caller's own grpc-timeout is the caller's and the
// backend's to keep.
type deadlines struct {
	proxy   *Proxy
	timeout time.Duration // 0: none
	header  string        // the timeout as grpc-timeout

	mu    sync.Mutex
	calls list
	timer *time.Timer
}

func (d *deadlines) init(p *Proxy, timeout time.Duration) {
	d.proxy, d.timeout, d.header = p, timeout, grpcwire.FormatTimeout(timeout)
	d.calls.init()
}

// add starts the call's time.
func (d *deadlines) add(call *call) {
	if d.timeout == 0 {
		return
	}
	call.due = d.proxy.now() + d.timeout
	d.mu.Lock()
	defer d.mu.Unlock()
	first := d.calls.empty()
	d.calls.push(&call.time, call)
	if !first {
		return
	}
	if d.timer == nil {
		d.timer = time.AfterFunc(d.timeout, d.expire)
	} else {
		d.timer.Reset(d.timeout)
	}
}

// remove may be called for a call that was never added, or has expired.
func (d *deadlines) remove(call *call) {
	if d.timeout == 0 {
		return
	}
	d.mu.Lock()
	call.time.unlink()
	if d.calls.empty() && d.timer != nil {
		d.timer.Stop() // it may be running: then it finds nothing
	}
	d.mu.Unlock()
}

// expire is the timer's.
func (d *deadlines) expire() {
	var b batch
	for {
		call := d.next()
		if call == nil {
			break
		}
		call.mu.Lock()
		call.expire(&b)
		call.mu.Unlock()
	}
	b.run()
}

// expire ends a call whose time is over.
func (call *call) expire(b *batch) {
	call.cut(codes.DeadlineExceeded, "the gateway's time limit for this route has passed", b)
}

// expired reports whether the route's time for the call is over. The backend, which was told, may notice before our timer.
func (call *call) expired() bool { return call.due > 0 && call.proxy.now() >= call.due }

// next returns the next call that is due, or sets the timer.
func (d *deadlines) next() *call {
	d.mu.Lock()
	defer d.mu.Unlock()
	call := d.calls.first()
	if call == nil {
		return nil
	}
	if left := call.due - d.proxy.now(); left > 0 {
		d.timer.Reset(left)
		return nil
	}
	call.time.unlink()
	return call
}

// link puts a call into a list without allocating. The zero link is in none.
type link struct {
	prev, next *link
	call       *call
}

func (l *link) unlink() {
	if l.next != nil {
		l.prev.next, l.next.prev = l.next, l.prev
		l.prev, l.next = nil, nil
	}
}

// list is a ring of links around root.
type list struct{ root link }

func (l *list) init() { l.root.prev, l.root.next = &l.root, &l.root }

func (l *list) empty() bool { return l.root.next == &l.root }

// first returns nil when the list is empty.
func (l *list) first() *call { return l.root.next.call }

// push adds to the end.
func (l *list) push(k *link, call *call) {
	k.call = call
	k.prev, k.next = l.root.prev, &l.root
	k.prev.next, l.root.prev = k, k
}
