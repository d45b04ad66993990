package relay

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"gateway/internal/bare"
)

// The system calls of the event loops. All but waitEvents are raw: they never block, and to tell the scheduler about each would
// cost more than most of them, above all when it then takes the processor away.

// taken is a descriptor of our own for the socket of a connection.
type taken struct {
	fd     int32
	isUnix bool
	of     net.Conn // what still has the socket too; nil for a bare connection, which has it no more
}

// take gives descriptors for the sockets of both connections. ok is false when they are not both raw stream sockets (but TLS,
// say), and when there are no descriptors left; then both are as they were.
func take(a, b net.Conn) (of [2]taken, ok bool) {
	conns := [2]net.Conn{ordinary(a), ordinary(b)}
	for i, c := range conns {
		if _, isBare := c.(*bare.Conn); isBare {
			continue // taking that is the end of it, and it cannot fail: last
		}
		if of[i], ok = takeOrdinary(c); !ok {
			if i > 0 && of[0].of != nil {
				closeFD(of[0].fd)
			}
			return of, false
		}
	}
	for i, c := range conns {
		if c, isBare := c.(*bare.Conn); isBare {
			fd, _ := c.Take()
			of[i] = taken{fd: int32(fd), isUnix: c.IsUnix()}
		}
	}
	return of, true
}

// ordinary is what a bare connection has become, if somebody has used it.
func ordinary(c net.Conn) net.Conn {
	if b, is := c.(*bare.Conn); is {
		return b.Used()
	}
	return c
}

func takeOrdinary(c net.Conn) (t taken, ok bool) {
	t.of = c
	switch c := c.(type) {
	case *net.TCPConn:
		t.fd, ok = duplicate(c)
	case *net.UnixConn:
		if a := c.LocalAddr(); a != nil && a.Network() == "unix" { // not a datagram or packet socket
			t.isUnix = true
			t.fd, ok = duplicate(c)
		}
	}
	return t, ok
}

// keep makes the descriptor the only one. The socket lives on; what Go's poller held for it is freed.
func (t taken) keep() {
	if t.of != nil {
		t.of.Close()
	}
}

func duplicate(c syscall.Conn) (fd int32, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, false
	}
	errControl := raw.Control(func(s uintptr) {
		n, _, errno := unix.RawSyscall(unix.SYS_FCNTL, s, unix.F_DUPFD_CLOEXEC, 0)
		fd, ok = int32(n), errno == 0
	})
	return fd, ok && errControl == nil
}

func recv(fd int32, b []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), 0
}

func send(fd int32, b []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// shutdownWrite sends FIN. It fails only where the peer is gone, which reading from it shows too.
func shutdownWrite(fd int32) { unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0) }

func closeFD(fd int32) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// watch adds (EPOLL_CTL_ADD) or changes (EPOLL_CTL_MOD) what epoll tells about a descriptor.
func watch(epoll int, op int, fd int32, event *unix.EpollEvent) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(event)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

// pollEvents asks for events without waiting.
func pollEvents(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0 // EINTR; any other error would be a bug here
	}
	return int(n)
}

// waitEvents waits for events, for milliseconds or for ever (-1); the scheduler knows.
func waitEvents(epoll int, events []unix.EpollEvent, milliseconds int) int {
	n, err := unix.EpollWait(epoll, events, milliseconds)
	if err != nil {
		return 0
	}
	return n
}

func peerAddr(fd int32) net.Addr { return addrOf(unix.Getpeername(int(fd))) }

func addrOf(sa unix.Sockaddr, err error) net.Addr {
	if err != nil {
		return nil
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)))
	case *unix.SockaddrInet6:
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)))
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: sa.Name, Net: "unix"}
	}
	return nil
}
