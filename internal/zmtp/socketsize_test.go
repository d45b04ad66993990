//go:build !soak

package zmtp

import "time"

// What goes through a socket each way, and how long that may take.
const (
	socketMessages     = 20_000
	socketMessagesWait = time.Minute
)
