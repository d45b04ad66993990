package relay

import (
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"gateway/internal/bare"
)

// The system calls of the event loops. Those on ready descriptors are raw: they return at once, and telling the scheduler
// about each would cost more than the call.

// isStreamSocket tells whether c is a socket that an event loop can serve; what wraps one (TLS) is not.
func isStreamSocket(c net.Conn) bool {
	switch c := c.(type) {
	case *bare.Conn:
		return true
	case *net.TCPConn:
		return c != nil
	case *net.UnixConn:
		return c != nil && c.LocalAddr() != nil && c.LocalAddr().Network() == "unix"
	}
	return false
}

func isUnix(c net.Conn) bool {
	if b, is := c.(*bare.Conn); is {
		return b.IsUnix()
	}
	_, is := c.(*net.UnixConn)
	return is
}

// ordinary is what a bare connection has become, if somebody has used it.
func ordinary(c net.Conn) net.Conn {
	if b, is := c.(*bare.Conn); is {
		return b.Used()
	}
	return c
}

// descriptors gives descriptors of our own for the sockets of a and b; ok is false if that fails, and then both are as before.
func descriptors(a, b net.Conn) (fd [2]int32, ok bool) {
	var own [2]bool // duplicates; those of bare connections are taken, which cannot fail, when nothing else can
	conns := [2]net.Conn{a, b}
	for i, c := range conns {
		if _, is := c.(*bare.Conn); is {
			continue
		}
		if fd[i], own[i] = duplicate(c); !own[i] {
			if i > 0 && own[0] {
				unix.Close(int(fd[0]))
			}
			return fd, false
		}
	}
	for i, c := range conns {
		if !own[i] {
			n, _ := c.(*bare.Conn).Take()
			fd[i] = int32(n)
		}
	}
	return fd, true
}

// duplicate gives a descriptor of our own for c's socket.
func duplicate(c net.Conn) (fd int32, ok bool) {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1, false
	}
	errControl := raw.Control(func(s uintptr) {
		var n int
		n, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0)
		fd = int32(n)
	})
	return fd, err == nil && errControl == nil
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

func peerAddr(fd int32) net.Addr {
	sa, err := unix.Getpeername(int(fd))
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
