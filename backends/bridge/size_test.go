//go:build !soak

package bridge

import "time"

// Sizes that fit into a test run; size_soak_test.go has the full ones.
const (
	callers      = 100
	callsEach    = 10
	requests     = 20_000 // each way, against libzmq
	lanesEach    = 20     // of them at a time
	requestsWait = 2 * time.Minute
	heartbeatFor = 4 * time.Second
)
