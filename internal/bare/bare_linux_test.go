package bare

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"gateway/internal/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const wait = 10 * time.Second

// listener is a prepared TCP listener on a free port.
func listener(t *testing.T, addr string) (l *net.TCPListener, b *Listener) {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	any, err := config.Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { any.Close() })
	l = any.(*net.TCPListener)
	if b, err = Listen(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return l, b
}

func dialled(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAcceptedConnectionComesWithItsFirstBytesAndItsAddress(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, b := listener(t, addr)
		client := dialled(t, l.Addr().String())
		if _, err := client.Write([]byte("first")); err != nil {
			t.Fatal(err)
		}
		c, err := b.AcceptBare()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, want := c.RemoteAddr().String(), client.LocalAddr().String(); got != want {
			t.Errorf("the client is %s, want %s", got, want)
		}
		if c.LocalAddr().String() != l.Addr().String() {
			t.Errorf("the local address is %v, want %v", c.LocalAddr(), l.Addr())
		}
		buf := make([]byte, 16)
		if n, err := c.TryRead(buf); err != nil || string(buf[:n]) != "first" {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		if _, err := c.TryRead(buf); !errors.Is(err, syscall.EAGAIN) {
			t.Errorf("with nothing to read: %v", err)
		}
		client.Close()
		if n, err := io.ReadFull(c, buf[:1]); n != 0 || err != io.EOF {
			t.Errorf("after the client has left: %d, %v", n, err)
		}
		if c.LocalAddr().String() != l.Addr().String() {
			t.Errorf("the local address is %v, want %v", c.LocalAddr(), l.Addr())
		}
	}
}

func TestClosedListenerEndsAccept(t *testing.T) {
	_, b := listener(t, "127.0.0.1:0")
	ended := make(chan error, 1)
	go func() {
		_, err := b.Accept()
		ended <- err
	}()
	b.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept ended with %v", err)
		}
	case <-time.After(wait):
		t.Fatal("Accept did not end")
	}
	if _, err := b.TryAccept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("TryAccept says %v", err)
	}
}

func TestConnectionIsOrdinaryOnceItIsUsed(t *testing.T) {
	l, b := listener(t, "127.0.0.1:0")
	addr := netip.MustParseAddrPort(l.Addr().String())
	out, connected, err := Dial(addr, "")
	if err != nil || !connected {
		t.Fatalf("dialled: %v %v; on loopback it is done at once", connected, err)
	}
	defer out.Close()
	if out.RemoteAddr().String() != addr.String() {
		t.Errorf("the peer is %v, want %v", out.RemoteAddr(), addr)
	}
	if _, err := out.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	in, err := b.AcceptBare()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := in.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(in, buf); err != nil || string(buf) != "hello" {
		t.Fatalf("read %q, %v", buf, err)
	}
	if _, ok := in.Take(); ok {
		t.Error("an ordinary connection has no descriptor to take")
	}
	if err := in.CloseWrite(); err != nil {
		t.Error(err)
	}
	if n, err := out.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("after FIN: %d, %v", n, err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
}

func TestTakenDescriptorOutlivesTheConnection(t *testing.T) {
	l, b := listener(t, "127.0.0.1:0")
	client := dialled(t, l.Addr().String())
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	c, err := b.AcceptBare()
	if err != nil {
		t.Fatal(err)
	}
	fd, ok := c.Take()
	if !ok {
		t.Fatal("nothing to take")
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closing what was taken: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading what was taken: %v", err)
	}
	if _, err := syscall.Write(fd, []byte("y")); err != nil {
		t.Errorf("the descriptor is not usable: %v", err)
	}
	if err := syscall.Close(fd); err != nil {
		t.Error(err)
	}
}

func TestDialTellsWhoRefuses(t *testing.T) {
	addr := netip.MustParseAddrPort(freeport.Keep(t))
	if c, connected, err := Dial(addr, ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v %v %v, want connection refused", c, connected, err)
	}
	if _, _, err := Dial(netip.AddrPort{}, filepath.Join(t.TempDir(), "none.sock")); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v, want no such file", err)
	}
	if _, _, err := Dial(netip.AddrPort{}, string(make([]byte, 200))); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a path that is too long: %v", err)
	}
}

func TestDialReachesUnixSockets(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "s"), fmt.Sprintf("@gateway-bare-test-%d", os.Getpid())} {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out, connected, err := Dial(netip.AddrPort{}, path)
		if err != nil || !connected {
			t.Fatalf("%s: %v %v", path, connected, err)
		}
		defer out.Close()
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if _, err := out.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 5)
		if _, err := io.ReadFull(in, buf); err != nil || string(buf) != "hello" {
			t.Errorf("%s: read %q, %v", path, buf, err)
		}
		if out.RemoteAddr().String() != path {
			t.Errorf("the peer is %q, want %q", out.RemoteAddr(), path)
		}
	}
}

// TestFirstBytesEndTheHandshake counts the packets of a connection until its first bytes have been sent: SYN, and those bytes. Where
// the machine is so slow that TCP does not wait for them, it tries again.
func TestFirstBytesEndTheHandshake(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for began := time.Now(); ; {
		n := packetsOfFirstByte(t, l.Addr())
		if n == 2 {
			return
		}
		if time.Since(began) > wait {
			t.Fatalf("%d packets", n)
		}
	}
}

// packetsOfFirstByte is how many packets a connection takes to connect and to send a byte.
func packetsOfFirstByte(t *testing.T, to net.Addr) uint32 {
	t.Helper()
	out, connected, err := Dial(netip.MustParseAddrPort(to.String()), "")
	if err != nil || !connected {
		t.Fatalf("dialled: %v %v", connected, err)
	}
	defer out.Close()
	if _, err := syscall.Write(out.fd, []byte("x")); err != nil {
		t.Fatal(err)
	}
	info, err := unix.GetsockoptTCPInfo(out.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	return info.Segs_out
}

func TestConnectionThatSendsNothingIsAcceptedAllTheSame(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, connected, err := Dial(netip.MustParseAddrPort(l.Addr().String()), "")
	if err != nil || !connected {
		t.Fatalf("dialled: %v %v", connected, err)
	}
	defer out.Close()
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
}

// TestPeerThatDiesWhileBytesAreOnTheirWayIsFoundSoon holds what the kernel is asked for against what it does, where it can.
func TestPeerThatDiesWhileBytesAreOnTheirWayIsFoundSoon(t *testing.T) {
	l, b := listener(t, "127.0.0.1:0")
	c, err := (&net.Dialer{Control: Control}).Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	accepted, err := b.AcceptBare()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	for name, conn := range map[string]syscall.Conn{"accepted": accepted, "dialled": c.(*net.TCPConn)} {
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			ms, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, tcpRTOMaxMS)
			if errors.Is(err, unix.ENOPROTOOPT) {
				t.Logf("this kernel knows net.ipv4.tcp_retries2 alone")
			} else if err != nil || ms != int(retransmitEvery.Milliseconds()) {
				t.Errorf("%s: %d ms between retransmissions, %v", name, ms, err)
			}
		})
	}
}

func TestKeepAliveOfAnAcceptedConnectionCanBeSet(t *testing.T) {
	l, b := listener(t, "127.0.0.1:0")
	if _, err := dialled(t, l.Addr().String()).Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	c, err := b.AcceptBare()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const idle = 7 * time.Second
	if err := c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: idle, Interval: time.Second, Count: 2}); err != nil {
		t.Fatal(err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE); err != nil || got != int(idle.Seconds()) {
			t.Errorf("idle for %d s before the first probe, %v", got, err)
		}
	})
}

// The peer's address is asked for several times a connection, and costs memory once.
func TestPeersAddressIsMadeOnce(t *testing.T) {
	for _, address := range []string{"127.0.0.1:80", "[2001:db8::1]:80", "[fe80::1%lo]:80"} {
		c := &Conn{fd: -1, peer: newPeer(netip.MustParseAddrPort(address))}
		if got := c.RemoteAddr().String(); got != address {
			t.Errorf("%s, want %s", got, address)
		}
		if n := testing.AllocsPerRun(100, func() { c.RemoteAddr() }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func TestWriteWithoutWaitingTakesWhatThereIsRoomFor(t *testing.T) {
	l, b := listener(t, "127.0.0.1:0")
	client := dialled(t, l.Addr().String())
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	any, err := b.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := any.(*Conn)
	defer c.Close()
	var sent int64
	for n, chunk := -1, make([]byte, 1<<20); n != 0; sent += int64(n) {
		if n, err = c.TryWrite(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.Copy(io.Discard, client); got != sent || err != nil {
		t.Errorf("%d bytes arrived of %d: %v", got, sent, err)
	}
	c.Close()
	if _, err := c.TryWrite([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
}
