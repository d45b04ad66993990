//go:build soak

package zmtp

import "time"

// What goes through a socket each way, and how long that may take.
const (
	socketMessages     = 1_000_000
	socketMessagesWait = 10 * time.Minute
)
