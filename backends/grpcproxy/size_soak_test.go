//go:build soak

package grpcproxy

import "time"

const (
	agedFor         = 20 * time.Second
	restartInterval = 2 * time.Second
	restartingFor   = 30 * time.Second
	splitCalls      = 100_000
	mirrorHuge      = 100 << 20
	streamsMany     = 10000
)
