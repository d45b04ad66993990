package bare

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Dial begins a connection to a TCP address or, if addr is not valid, to the unix socket at path ("@" begins an abstract one).
// It is for who has something to send at once: TCP keeps the last packet of its handshake back for that, up to 200 ms, which saves
// a packet and lets the peer accept the connection with its first bytes.
// On this machine that is done at once, and connected is true. Otherwise the connection is on its way, and the caller, who
// does not want to wait here, closes it. An error is what connect(2) says.
func Dial(addr netip.AddrPort, path string) (c *Conn, connected bool, err error) {
	var sa unix.RawSockaddrAny
	family, size, ok := fill(&sa, addr, path)
	if !ok {
		return nil, false, unix.EINVAL
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return nil, false, os.NewSyscallError("socket", errno)
	}
	c = &Conn{fd: int(fd), unix: path}
	if family != unix.AF_UNIX {
		setTCP(fd, unix.TCP_NODELAY, 1)
		setTCP(fd, unix.TCP_QUICKACK, 0) // while it connects: the handshake's acknowledgement goes with the first bytes
		if !addr.Addr().IsLoopback() {   // on this machine a dead peer's kernel says so itself
			keepAlive(int(fd))
		}
	}
	_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&sa)), uintptr(size))
	switch {
	case errno == 0:
		return c, true, nil
	case errno == unix.EINPROGRESS:
		connected, err = c.settled()
	default:
		err = os.NewSyscallError("connect", errno)
	}
	if err != nil {
		c.Close()
		return nil, false, err
	}
	return c, connected, nil
}

func setTCP(fd uintptr, option int, value int32) {
	unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.IPPROTO_TCP, uintptr(option), uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
}

// settled asks how a connection attempt stands, without waiting.
func (c *Conn) settled() (connected bool, err error) {
	poll := unix.PollFd{Fd: int32(c.fd), Events: unix.POLLOUT}
	var noWait unix.Timespec
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&noWait)), 0, 0, 0)
	if errno != 0 || n == 0 {
		return false, nil // not yet
	}
	if poll.Revents&(unix.POLLERR|unix.POLLHUP) == 0 {
		return true, nil
	}
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return err == nil, os.NewSyscallError("connect", err)
}

func keepAlive(fd int) {
	// What fails here makes a dead peer live longer, no more.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAliveIdle.Seconds()))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveInterval.Seconds()))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveProbes)
	boundRetransmits(fd)
}

// boundRetransmits sets retransmitEvery where the kernel can.
func boundRetransmits(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, tcpRTOMaxMS, int(retransmitEvery.Milliseconds()))
}

// Control is for a net.Dialer that dials TCP: a peer that dies while bytes are on their way to it is found as on connections of
// Dial. The dialer sets keepalive itself.
func Control(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) { boundRetransmits(int(fd)) })
}

// fill writes a socket address.
func fill(sa *unix.RawSockaddrAny, addr netip.AddrPort, path string) (family, size int, ok bool) {
	switch a := addr.Addr().Unmap(); {
	case a.Is4():
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		v4.Family, v4.Addr = unix.AF_INET, a.As4()
		putNetworkOrder(&v4.Port, addr.Port())
		return unix.AF_INET, unix.SizeofSockaddrInet4, true
	case a.Is6() && a.Zone() == "":
		v6 := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		v6.Family, v6.Addr = unix.AF_INET6, a.As16()
		putNetworkOrder(&v6.Port, addr.Port())
		return unix.AF_INET6, unix.SizeofSockaddrInet6, true
	case addr.IsValid():
		return 0, 0, false // a zone: the ordinary dialer knows interfaces
	}
	un := (*unix.RawSockaddrUnix)(unsafe.Pointer(sa))
	if path == "" || len(path) >= len(un.Path) {
		return 0, 0, false
	}
	un.Family = unix.AF_UNIX
	for i := range len(path) {
		un.Path[i] = int8(path[i])
	}
	size = 2 + len(path) + 1
	if path[0] == '@' {
		un.Path[0] = 0
		size-- // an abstract name is as long as it is, without a closing zero
	}
	return unix.AF_UNIX, size, true
}

func putNetworkOrder(to *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(to))[:], port)
}
