//go:build unix

// Package freeport gives tests ports on which nobody listens, and which nobody else gets.
//
// A port that a test has listened on and left is anybody's: another test may get it before the first one has met its refusal
// there, or listens there again. A port that is kept is bound, by a socket that does not listen. So whoever connects to it is
// refused, and the kernel gives it to nobody who asks for any port; but whoever asks for this very one with SO_REUSEADDR, as
// Go, libzmq and most servers do, can listen on it, and again after that.
package freeport

import (
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
)

// Keep returns the address, 127.0.0.1 and a port, that is kept until the test ends.
func Keep(t testing.TB) (addr string) {
	t.Helper()
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: local.As4()}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(local.String(), strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
}
