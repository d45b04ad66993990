package grpcproxy

import (
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
)

// Passive ejection: a target whose calls end UNAVAILABLE ejectAfter times in a row gets none for a while, longer each time.
const (
	ejectAfter = 5
	ejectFirst = time.Second
	ejectMax   = time.Minute
	// ejectForget is how long a target must have been in use again for its next ejection to be the first.
	ejectForget = 5 * time.Minute
)

// ejection is a target's record. The zero record is a good one.
type ejection struct {
	failures atomic.Int32 // in a row
	until    atomic.Int64 // on the proxy's clock; 0: not ejected
	times    atomic.Int32
	counted  atomic.Bool // in backend.ejected
}

// active reports whether the target is ejected.
func (e *ejection) active(now time.Duration) bool { return int64(now) < e.until.Load() }

// clear takes the target out of backend.ejected.
func (e *ejection) clear(be *backend) {
	if e.counted.CompareAndSwap(true, false) {
		be.ejected.Add(-1)
	}
}

// judge notes how a call ended on a backend's half, for ejection.
func (be *backend) judge(s *half, code codes.Code) {
	t := s.conn.role.(*backendConn).target
	e := &t.eject
	if code != codes.Unavailable {
		if e.failures.Load() != 0 {
			e.failures.Store(0)
		}
		return
	}
	if e.failures.Add(1) < ejectAfter {
		return
	}
	now := be.proxy.now()
	if e.active(now) || !be.hasOther(t, now) {
		return
	}
	e.failures.Store(0)
	if now-time.Duration(e.until.Load()) > ejectForget {
		e.times.Store(0)
	}
	wait := min(ejectFirst<<min(e.times.Add(1)-1, 10), ejectMax)
	e.until.Store(int64(now + wait))
	if e.counted.CompareAndSwap(false, true) {
		be.ejected.Add(1)
	}
	be.proxy.metrics.GRPC.Ejected.WithLabelValues(be.Name).Inc()
	be.proxy.log.Warn("grpc target ejected", "backend", be.Name, "target", t.address, "for", wait)
}

// hasOther reports whether calls can go elsewhere: the last target is never ejected.
func (be *backend) hasOther(t *target, now time.Duration) bool {
	for _, other := range be.set.Load().targets {
		if other != t && !other.sick.Load() && !other.resting.Load() && !other.eject.active(now) {
			return true
		}
	}
	return false
}

// readmit ends ejections whose time is over.
func (be *backend) readmit(now time.Duration) {
	if be.ejected.Load() == 0 {
		return
	}
	for _, t := range be.set.Load().targets {
		if !t.eject.active(now) {
			t.eject.clear(be)
		}
	}
}
