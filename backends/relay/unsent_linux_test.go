package relay

import (
	"net"
	"syscall"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func goleakOptions() []goleak.Option { return nil }

// unsent tells how many written bytes the peer's kernel has not acknowledged.
func unsent(c net.Conn) int {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1
	}
	n := -1
	raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}
