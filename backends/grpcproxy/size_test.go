//go:build !soak

package grpcproxy

import "time"

// Sizes that fit into a test run; size_soak_test.go has the full ones.
const (
	agedFor     = 500 * time.Millisecond
	streamsMany = 2000
)
