//go:build !linux

package bare

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// Conn is never made here.
type Conn struct{ net.Conn }

// Local is never asked here.
func (*Conn) Local() netip.AddrPort { return netip.AddrPort{} }

// Dial always fails here.
func Dial(netip.AddrPort, string) (*Conn, bool, error) { return nil, false, errors.ErrUnsupported }

// Control sets nothing here.
func Control(_, _ string, _ syscall.RawConn) error { return nil }

// Listen gives an ordinary listener on the socket of l, with a descriptor of its own.
func Listen(l *net.TCPListener) (net.Listener, error) {
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}
