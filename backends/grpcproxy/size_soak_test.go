//go:build soak

package grpcproxy

import "time"

const (
	agedFor     = 20 * time.Second
	streamsMany = 10000
)
