//go:build soak

package zmtp

import "time"

// The full sizes, for make soak.
const (
	heartbeatFor     = time.Minute
	halfOpenMax      = 10_000
	floodFrames      = 1_000_000
	largestBodyBytes = 16 << 20
)
