package grpcproxy

// Retries by configuration: gRFC A6. That a backend has not seen a call is another matter, see lost in call.go.

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	retryBudgetDefault  = 0.2
	retryBackoffDefault = 25 * time.Millisecond
	// retryBackoffGrowth is how many times retryBackoffDefault the mean wait becomes.
	retryBackoffGrowth = 20
	// retriesFree is how many calls of a route may be retries whatever its budget: few calls have no tenth.
	retriesFree = 3
	// pushbackMax is the longest that a server can have a call wait.
	pushbackMax = time.Minute
)

// retries is a Retry made ready.
type retries struct {
	attempts int
	on       uint32 // a bit for each code
	budget   float64
	first    time.Duration
	open     atomic.Int64 // calls in flight that are tried again
}

func (r *retries) init(o Retry) {
	r.attempts, r.budget, r.first = o.Attempts, o.Budget, o.BackoffFirst
	if r.budget == 0 {
		r.budget = retryBudgetDefault
	}
	if r.first == 0 {
		r.first = retryBackoffDefault
	}
	for _, code := range o.On {
		r.on |= 1 << code
	}
	if len(o.On) == 0 {
		r.on = 1 << codes.Unavailable
	}
}

// wait is the time before the n-th retry, with a fifth more or less.
func (r *retries) wait(n int) time.Duration {
	mean := min(r.first<<min(n-1, 10), r.first*retryBackoffGrowth)
	return mean - mean/5 + rand.N(mean*2/5+1)
}

// parsePushback reads grpc-retry-pushback-ms. given tells whether it is there; a server that says no, or nonsense, is not
// asked again.
func parsePushback(value string) (wait time.Duration, given, again bool) {
	if value == "" {
		return 0, false, true
	}
	ms, err := strconv.ParseInt(value, 10, 32)
	if err != nil || ms < 0 {
		return 0, true, false
	}
	return min(time.Duration(ms)*time.Millisecond, pushbackMax), true, true
}

// tryAgain arranges another attempt of a call that has failed with the code, and reports whether there will be one. The
// backend's half has been closed. The call's lock is held.
func (call *call) tryAgain(code codes.Code, pushback string) bool {
	r := &call.route.retries
	if call.committed || call.done || call.resent+1 >= r.attempts || code >= 32 || r.on&(1<<code) == 0 {
		return false
	}
	wait, given, again := parsePushback(pushback)
	if !again {
		return false
	}
	if call.resent == 0 {
		limit := max(retriesFree, int64(r.budget*float64(call.route.limits.open.Load())))
		if r.open.Add(1) > limit {
			r.open.Add(-1)
			call.route.counts.overBudget.Inc()
			return false
		}
	}
	call.resent++
	if !given {
		wait = r.wait(call.resent)
	}
	call.route.counts.retried.Inc()
	if call.server != nil {
		call.avoid = call.server.conn.role.(*backendConn).target
		call.server = nil
	}
	call.pause = time.AfterFunc(wait, call.again)
	return true
}

// outgrow ends a call that is between two attempts and of which no more can be kept: what is known of the first of them stands.
func (call *call) outgrow(b *batch) {
	switch {
	case call.proxy.budget.spent():
		call.fail(codes.ResourceExhausted, "the gateway's buffers are full", b)
	case call.code != codes.OK:
		call.fail(call.code, fmt.Sprintf("backend %q failed, and the call became too large to be tried again", call.backend.Name), b)
	default:
		call.fail(codes.Unavailable, fmt.Sprintf("backend %q was lost, and the call became too large to be tried again", call.backend.Name), b)
	}
}

// again is the timer's.
func (call *call) again() {
	var b batch
	call.mu.Lock()
	call.pause = nil
	if !call.done && call.server == nil {
		call.dispatch(countAttempts(call.replay.fields(), call.resent), &b)
	}
	call.mu.Unlock()
	b.run()
}
