package bare

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peers that are gone without a word are found within three minutes, idle ones by keepalive.
const (
	keepAliveIdle     = 75 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveProbes   = 6

	// retransmitEvery is the longest pause between two attempts to deliver bytes to a peer that acknowledges nothing: the
	// kernel's 15 attempts (net.ipv4.tcp_retries2) then take two minutes instead of a quarter of an hour. A peer that only does not
	// read acknowledges, and stays; TCP_USER_TIMEOUT would cut it. Linux before 6.15 knows the sysctl alone.
	retransmitEvery = 10 * time.Second
	tcpRTOMaxMS     = 44 // TCP_RTO_MAX_MS of linux/tcp.h

	// deferAccept is how long the kernel keeps a client that says nothing to itself: all protocols here have the client speak
	// first, and a connection that is accepted with its first bytes needs no second wake-up.
	deferAccept = time.Second
)

// Listener is a net.Listener whose connections are *Conn.
type Listener struct {
	file *os.File
	raw  syscall.RawConn
	addr net.Addr

	closing sync.RWMutex // held for reading while fd is used beside the file
	fd      uintptr
	closed  bool
}

// Listen accepts from the socket of l, whose clients speak first, through a descriptor of its own: closing the one leaves the
// other open. It sets what accepted sockets inherit, so that nothing has to be set on each.
func Listen(l *net.TCPListener) (*Listener, error) {
	file, err := l.File()
	if err != nil {
		return nil, err
	}
	b := &Listener{file: file, addr: l.Addr()}
	b.raw, err = file.SyscallConn()
	if err == nil {
		err = errors.Join(prepare(b.raw), b.raw.Control(func(fd uintptr) { b.fd = fd }))
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return b, nil
}

func prepare(raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		set := func(level, option, value int) {
			failed = errors.Join(failed, os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), level, option, value)))
		}
		set(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		set(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAliveIdle.Seconds()))
		set(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveInterval.Seconds()))
		set(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveProbes)
		set(unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, int(deferAccept.Seconds()))
		boundRetransmits(int(fd))
	})
	return errors.Join(err, failed)
}

// Accept waits for a connection. Its errors are those of accept4(2), or net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptBare()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptBare is Accept.
func (l *Listener) AcceptBare() (*Conn, error) {
	var c *Conn
	var errno syscall.Errno
	err := l.raw.Read(func(fd uintptr) (done bool) {
		c, errno = accept(fd)
		return errno != unix.EAGAIN
	})
	switch {
	case err != nil:
		return nil, net.ErrClosed
	case errno != 0:
		return nil, os.NewSyscallError("accept4", errno)
	}
	return c, nil
}

// TryAccept is Accept that does not wait: where nobody has connected, its error is syscall.EAGAIN.
func (l *Listener) TryAccept() (net.Conn, error) {
	l.closing.RLock() // Control would do the same, with memory for its function
	defer l.closing.RUnlock()
	if l.closed {
		return nil, net.ErrClosed
	}
	c, errno := accept(l.fd)
	if errno != 0 {
		return nil, os.NewSyscallError("accept4", errno)
	}
	return c, nil
}

// Duplicate gives a descriptor for the same socket. The caller closes it.
func (l *Listener) Duplicate() (fd int, err error) {
	errControl := l.raw.Control(func(s uintptr) { fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	if errControl != nil {
		return -1, net.ErrClosed
	}
	return fd, os.NewSyscallError("fcntl", err)
}

// Close ends Accept.
func (l *Listener) Close() error {
	l.closing.Lock()
	l.closed = true
	l.closing.Unlock()
	return l.file.Close()
}

// Addr is where it listens.
func (l *Listener) Addr() net.Addr { return l.addr }

func accept(listener uintptr) (*Conn, syscall.Errno) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, listener, uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return nil, errno
	}
	return &Conn{fd: int(fd), peer: newPeer(addrPort(&sa))}, 0
}

// addrPort reads an IPv4 or IPv6 address; an IPv4 one mapped into IPv6 comes out as IPv4.
func addrPort(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), networkOrder(&v4.Port))
	case unix.AF_INET6:
		v6 := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(v6.Addr).Unmap(), networkOrder(&v6.Port))
	}
	return netip.AddrPort{}
}

func networkOrder(port *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(port))[:])
}
