package grpcproxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"

	"gateway/internal/bare"
)

const (
	dialWait = 10 * time.Second
	// connsMax is how many connections one target gets: another one is made when all streams of the others are taken.
	connsMax = 8
	// steadyAfter is how long a connection must have lived for its end to count as the first failure again.
	steadyAfter = 10 * time.Second
)

// target is one address of a backend, and the connections to it.
//
// Rules. free is on the way of each call and takes no lock. A goroutine, connect, runs from the time when a connection is
// wanted until there is one, through back-offs, or until the proxy is shut down.
type target struct {
	place
	backend *backend
	ctx     context.Context // ends with the target
	cancel  context.CancelFunc
	ready   atomic.Pointer[[]*backendConn]
	wanted  atomic.Bool // connect runs
	resting atomic.Bool // connect waits, as the last attempt failed
	sick    atomic.Bool // grpc.health.v1 says so
	eject   ejection
	started atomic.Int64 // requests sent

	mu       sync.Mutex
	failures int // in a row
	lastErr  error
}

func newTarget(be *backend, at place) *target {
	t := &target{place: at, backend: be}
	t.ctx, t.cancel = context.WithCancel(be.ctx)
	t.ready.Store(new([]*backendConn))
	return t
}

// begin starts what runs without calls.
func (t *target) begin() {
	if t.backend.Health != "" {
		t.backend.proxy.start(t.watchHealth)
	}
}

// end lets the calls that are there finish, and takes no more.
func (t *target) end() {
	t.cancel()
	t.mu.Lock()
	ready := *t.ready.Load()
	t.ready.Store(new([]*backendConn))
	t.mu.Unlock()
	var b batch
	for _, bc := range ready {
		bc.drainStreams(&b)
	}
	b.run()
	t.eject.clear(t.backend)
}

// open returns a connection with a free stream, or nil.
func (t *target) open() *backendConn {
	for _, bc := range *t.ready.Load() {
		if !bc.unfit.Load() && bc.open.Load() < bc.openMax.Load() {
			return bc
		}
	}
	return nil
}

// free is open, and has a connection made where there is none. hope says whether there will be one soon.
func (t *target) free() (bc *backendConn, hope bool) {
	if bc := t.open(); bc != nil {
		return bc, true
	}
	ready := *t.ready.Load()
	if len(ready) < connsMax && t.wanted.CompareAndSwap(false, true) && !t.backend.proxy.start(t.connect) {
		return nil, false // shut down
	}
	return nil, len(ready) > 0 || !t.resting.Load()
}

// load is the number of calls.
func (t *target) load() (calls int64) {
	for _, bc := range *t.ready.Load() {
		calls += bc.open.Load()
	}
	return calls
}

// connect makes one connection, however long it takes.
func (t *target) connect() {
	ctx := t.ctx
	for {
		bc, err := t.dial(ctx)
		if err == nil {
			t.connected(bc)
			return
		}
		wait := t.failed(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		t.resting.Store(false)
	}
}

// dial returns a connection whose reader runs, and which has got the backend's SETTINGS.
func (t *target) dial(ctx context.Context) (*backendConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	socket, err := t.socket(ctx)
	if err != nil {
		return nil, err
	}
	bc := newBackendConn(t, socket)
	if !t.backend.proxy.serveBackend(bc) {
		bc.drop()
		return nil, net.ErrClosed
	}
	select {
	case <-bc.settings:
		return bc, nil
	case <-bc.gone:
		select {
		case <-bc.settings:
			return bc, nil // it came and went
		default:
		}
		bc.mu.Lock()
		defer bc.mu.Unlock()
		return nil, fmt.Errorf("no HTTP/2 there: %w", bc.err)
	case <-ctx.Done():
		bc.abort(ctx.Err())
		return nil, fmt.Errorf("wait for SETTINGS: %w", ctx.Err())
	}
}

// socket connects, with TLS where the backend has it.
func (t *target) socket(ctx context.Context) (net.Conn, error) {
	if t.backend.Dial != nil {
		return t.backend.Dial.DialContext(ctx)
	}
	dialer := net.Dialer{Control: bare.Control}
	socket, err := dialer.DialContext(ctx, t.network, t.address)
	if err != nil || t.backend.tls == nil {
		return socket, err
	}
	return t.secure(ctx, socket)
}

// connected offers the connection to calls.
func (t *target) connected(bc *backendConn) {
	t.mu.Lock()
	lost := t.lastErr != nil
	t.lastErr = nil
	ended := t.ctx.Err() != nil
	select {
	case <-bc.gone: // already: closed has been here, or waits for the lock
	default:
		if ended {
			break
		}
		ready := append([]*backendConn{bc}, *t.ready.Load()...)
		t.ready.Store(&ready)
	}
	t.mu.Unlock()
	t.wanted.Store(false)
	if lost {
		t.backend.proxy.log.Info("grpc target is back", "backend", t.backend.Name, "target", t.address)
	}
	var b batch
	if ended {
		bc.drainStreams(&b)
	}
	b.wake(t.backend)
	b.run()
}

// failed notes a failure, logs the first in a row, and returns how long to rest.
func (t *target) failed(err error) time.Duration {
	t.mu.Lock()
	t.failures++
	failures, first := t.failures, t.lastErr == nil
	t.lastErr = err
	t.mu.Unlock()
	t.resting.Store(true)
	t.backend.askAgain()
	if first && t.ctx.Err() == nil {
		t.backend.proxy.log.Warn("grpc target lost", "backend", t.backend.Name, "target", t.address, "err", err)
	}
	var b batch
	t.backend.failWaiting(&b)
	b.run()
	wait := backoff(failures)
	return wait - wait/5 + rand.N(wait*2/5) // by a fifth, so that gateways do not come all at once
}

// retire stops offering the connection.
func (t *target) retire(bc *backendConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ready []*backendConn
	for _, have := range *t.ready.Load() {
		if have != bc {
			ready = append(ready, have)
		}
	}
	t.ready.Store(&ready)
	if t.backend.proxy.now()-bc.since > steadyAfter {
		t.failures = 0
	}
}

func (t *target) status() TargetStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := TargetStatus{Address: t.address, Connections: len(*t.ready.Load()), Active: t.load(), Started: t.started.Load()}
	if t.lastErr != nil {
		s.LastError = t.lastErr.Error()
	}
	s.Ejected, s.Unhealthy = t.eject.active(t.backend.proxy.now()), t.sick.Load()
	return s
}

// backendConn is the role of a connection that the gateway made: it is the HTTP/2 client.
type backendConn struct {
	*conn
	target   *target
	settings chan struct{} // closed by the backend's first SETTINGS
	gone     chan struct{} // closed when the connection is no more
	nextID   uint32        // conn.mu guards it
}

func newBackendConn(t *target, socket net.Conn) *backendConn {
	bc := &backendConn{
		target: t, settings: make(chan struct{}), gone: make(chan struct{}), nextID: 1,
	}
	bc.conn = newConn(t.backend.proxy, socket, bc)
	return bc
}

// streamIDMax is where a connection is used up (section 5.1.1).
const streamIDMax = 1<<31 - 1

// attach opens a stream for s. It reports false if the connection takes no more streams. The call's lock is held.
func (bc *backendConn) attach(s *half, fields []hpack.HeaderField, end bool, b *batch) bool {
	bc.mu.Lock()
	defer bc.mu.Unlock()
	if bc.dead || bc.draining || int64(len(bc.streams)) >= bc.openMax.Load() ||
		bc.out.waiting() > outputBytesMax {
		return false
	}
	s.id = bc.nextID
	if bc.nextID += 2; bc.nextID > streamIDMax { // it is used up: calls to come have another connection made
		bc.unfit.Store(true)
		bc.draining = true
	}
	bc.streams[s.id] = s
	s.sendWindow = bc.initialWindow
	bc.open.Add(1)
	bc.appendHeaders(s.id, fields, end)
	b.touch(bc.conn)
	return true
}

func (bc *backendConn) preface() (whole bool, err error) { return true, nil }

func (bc *backendConn) settled() { close(bc.settings) }

func (bc *backendConn) idle(stream uint32) bool { return stream%2 == 0 || stream >= bc.nextID }

func (bc *backendConn) headers(stream uint32, _ []hpack.HeaderField, _, _ bool) error {
	return bc.stray(stream)
}

// goAway sends the calls that the backend will not act on elsewhere, and lets the others finish (section 6.8).
func (bc *backendConn) goAway(last uint32) {
	bc.unfit.Store(true)
	bc.target.retire(bc)
	bc.mu.Lock()
	bc.draining = true
	var unseen []*half
	for id, s := range bc.streams {
		if id > last {
			unseen = append(unseen, s)
		}
	}
	bc.mu.Unlock()
	for _, s := range unseen {
		s.call.mu.Lock()
		if !s.closed {
			s.close(bc.batch)
			s.call.lost(s, true, bc.batch)
		}
		s.call.mu.Unlock()
	}
	bc.drainStreams(bc.batch)
}

// closed fails the calls that a backend has left behind.
func (bc *backendConn) closed(orphans []*half, _ error) {
	close(bc.gone)
	bc.target.retire(bc)
	for _, s := range orphans {
		s.call.mu.Lock()
		s.call.lost(s, false, bc.batch)
		s.call.mu.Unlock()
	}
	bc.proxy.forget(bc.conn)
}

// pong is not waited for.
func (bc *backendConn) pong([]byte) {}
