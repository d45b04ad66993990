//go:build !soak

package zmtp

import "time"

// Sizes of the tests of every day; those of tag soak are the full ones.
const (
	heartbeatFor     = 4 * time.Second
	halfOpenMax      = 500
	floodFrames      = 20_000
	largestBodyBytes = 16 << 20
)
