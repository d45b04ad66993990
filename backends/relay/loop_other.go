//go:build !linux

package relay

import "net"

// startOnLoop takes a pair onto an event loop where there is one.
func startOnLoop(*Group, net.Conn, net.Conn, []byte, []byte, *flow, func(Stats, error)) bool {
	return false
}
