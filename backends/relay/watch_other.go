//go:build !linux

package relay

import (
	"errors"
	"net"
)

// Watch always fails here.
func Watch(net.Listener, func() bool) (stop func(), err error) { return nil, errors.ErrUnsupported }
