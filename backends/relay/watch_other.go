//go:build !linux

package relay

import (
	"errors"
	"net"
)

// Report has nothing to do: no report is late here.
func Report() {}

// Watch always fails here.
func Watch(net.Listener, func() bool) (stop func(), err error) { return nil, errors.ErrUnsupported }
