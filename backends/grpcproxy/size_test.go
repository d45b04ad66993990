//go:build !soak

package grpcproxy

import "time"

// Sizes that fit into a test run; size_soak_test.go has the full ones.
const (
	agedFor         = 500 * time.Millisecond
	restartInterval = 200 * time.Millisecond
	restartingFor   = 900 * time.Millisecond
	splitCalls      = 1000
	mirrorHuge      = 20 << 20
	streamsMany     = 2000
)
