//go:build !linux

package grpcproxy

import "net"

// takeSeat finds no event loops here: each connection has a goroutine.
func takeSeat(net.Conn, bool) socket { return nil }
