//go:build soak

package bridge

import "time"

// The full sizes.
const (
	callers      = 100
	callsEach    = 1000
	requests     = 1_000_000 // each way, against libzmq
	lanesEach    = 20        // of them at a time
	requestsWait = 20 * time.Minute
	heartbeatFor = time.Minute
)
