package bare

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn is a connected stream socket, TCP or unix.
//
// Rules: whoever holds a Conn closes it, takes its descriptor, or uses it as a net.Conn; the first use as a net.Conn makes an
// ordinary one, after which Take gives nothing. Methods of net.Conn may be called at the same time; Take and TryRead may not.
type Conn struct {
	mu   sync.Mutex
	fd   int // -1 once it was taken, closed, or made ordinary
	std  net.Conn
	try  *trying // std's TryWrite, once it was called
	peer *peer   // of TCP: who has connected; of who was dialled, once somebody has asked
	unix string  // the path of a unix socket that was dialled
}

// Take gives the descriptor away; ok is false if there is none any more. It is non-blocking and close-on-exec.
func (c *Conn) Take() (fd int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fd, c.fd = c.fd, -1
	return fd, fd >= 0
}

// TryRead reads without waiting. It returns syscall.EAGAIN if nothing is there, and 0, nil at the peer's FIN.
func (c *Conn) TryRead(b []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// IsUnix tells a unix socket from TCP.
func (c *Conn) IsUnix() bool { return c.unix != "" }

// Used is the ordinary connection that c has become, or c itself as long as nobody has used it.
func (c *Conn) Used() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.std != nil {
		return c.std
	}
	return c
}

// ordinary makes the net.Conn, once.
func (c *Conn) ordinary() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.std != nil {
		return c.std, nil
	}
	if c.fd < 0 {
		return nil, net.ErrClosed
	}
	f := os.NewFile(uintptr(c.fd), "socket")
	c.fd = -1
	std, err := net.FileConn(f) // a duplicate
	f.Close()
	if err != nil {
		return nil, err
	}
	c.std = std
	return std, nil
}

func (c *Conn) Read(b []byte) (int, error) {
	std, err := c.ordinary()
	if err != nil {
		return 0, err
	}
	return std.Read(b)
}

func (c *Conn) Write(b []byte) (int, error) {
	std, err := c.ordinary()
	if err != nil {
		return 0, err
	}
	return std.Write(b)
}

// trying is one attempt to write at a time, with nothing to allocate for each.
type trying struct {
	raw   syscall.RawConn
	once  func(fd uintptr) (done bool)
	b     []byte
	n     int
	errno syscall.Errno
}

// TryWrite writes what the socket has room for, without waiting; less than all of b, and no error, means that it is full.
// One goroutine may be in it at a time, and none in Write.
func (c *Conn) TryWrite(b []byte) (int, error) {
	if c.try == nil {
		raw, err := c.SyscallConn()
		if err != nil {
			return 0, err
		}
		t := &trying{raw: raw}
		t.once = t.write
		c.try = t
	}
	t := c.try
	t.b, t.n, t.errno = b, 0, 0
	err := t.raw.Write(t.once)
	t.b = nil
	if err == nil && t.errno != 0 {
		err = os.NewSyscallError("sendto", t.errno)
	}
	return t.n, err
}

func (t *trying) write(fd uintptr) (done bool) {
	if len(t.b) == 0 {
		return true
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&t.b[0])), uintptr(len(t.b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	switch errno {
	case 0:
		t.n = int(n)
	case unix.EAGAIN, unix.EINTR: // as if it were full
	default:
		t.errno = errno
	}
	return true
}

// CloseWrite sends FIN.
func (c *Conn) CloseWrite() error {
	std, err := c.ordinary()
	if err != nil {
		return err
	}
	return std.(interface{ CloseWrite() error }).CloseWrite()
}

// SyscallConn is syscall.Conn's.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	std, err := c.ordinary()
	if err != nil {
		return nil, err
	}
	return std.(syscall.Conn).SyscallConn()
}

// SetKeepAliveConfig is net.TCPConn's; of a unix socket it does nothing.
func (c *Conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	std, err := c.ordinary()
	if err != nil {
		return err
	}
	if tcp, ok := std.(*net.TCPConn); ok {
		return tcp.SetKeepAliveConfig(config)
	}
	return nil
}

// Close closes the socket, unless its descriptor was taken.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.std != nil {
		return c.std.Close()
	}
	if c.fd < 0 {
		return net.ErrClosed
	}
	fd := c.fd
	c.fd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

// LocalAddr is this side's address.
func (c *Conn) LocalAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.std != nil:
		return c.std.LocalAddr()
	case c.IsUnix():
		return &net.UnixAddr{Net: "unix"}
	}
	return net.TCPAddrFromAddrPort(c.local())
}

// Local is LocalAddr for TCP that nobody has used as a net.Conn, without a piece of memory for it.
func (c *Conn) Local() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local()
}

// local needs the mutex. Its address is not valid where the descriptor is closed, or not ours any more.
func (c *Conn) local() netip.AddrPort { return c.name(unix.SYS_GETSOCKNAME) }

// name is what getsockname(2) or getpeername(2) says, not valid if that fails.
func (c *Conn) name(call uintptr) netip.AddrPort {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	_, _, errno := unix.RawSyscall(call, uintptr(c.fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return netip.AddrPort{}
	}
	return addrPort(&sa)
}

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr {
	if c.IsUnix() {
		return &net.UnixAddr{Name: c.unix, Net: "unix"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer == nil {
		if c.std != nil {
			return c.std.RemoteAddr()
		}
		c.peer = newPeer(c.name(unix.SYS_GETPEERNAME))
	}
	return &c.peer.TCPAddr
}

// peer is a TCP address in one piece of memory. It is not part of a Conn, for it may be kept for longer.
type peer struct {
	net.TCPAddr
	ip [16]byte
}

func newPeer(from netip.AddrPort) *peer {
	p := &peer{TCPAddr: net.TCPAddr{Port: int(from.Port()), Zone: from.Addr().Zone()}}
	if a := from.Addr(); a.Is4() {
		v4 := a.As4()
		p.IP = p.ip[:copy(p.ip[:], v4[:])]
	} else if a.IsValid() {
		p.ip = a.As16()
		p.IP = p.ip[:]
	}
	return p
}

// SetDeadline is net.Conn's.
func (c *Conn) SetDeadline(t time.Time) error {
	std, err := c.ordinary()
	if err != nil {
		return err
	}
	return std.SetDeadline(t)
}

// SetReadDeadline is net.Conn's.
func (c *Conn) SetReadDeadline(t time.Time) error {
	std, err := c.ordinary()
	if err != nil {
		return err
	}
	return std.SetReadDeadline(t)
}

// SetWriteDeadline is net.Conn's.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	std, err := c.ordinary()
	if err != nil {
		return err
	}
	return std.SetWriteDeadline(t)
}
