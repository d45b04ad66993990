package sniff

import (
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tryListener can be asked without waiting.
type tryListener struct{ *net.TCPListener }

func (l tryListener) TryAccept() (net.Conn, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var c net.Conn
	errControl := raw.Control(func(s uintptr) {
		var fd int
		if fd, _, err = unix.Accept4(int(s), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC); err != nil {
			return
		}
		f := os.NewFile(uintptr(fd), "accepted")
		defer f.Close()
		c, err = net.FileConn(f)
	})
	if errControl != nil {
		return nil, net.ErrClosed
	}
	return c, err
}

// poll is an Options.Watch: one goroutine that asks all the time.
func poll(_ net.Listener, ready func() bool) (stop func(), err error) {
	var asking sync.WaitGroup
	stopped := make(chan struct{})
	asking.Go(func() {
		for ready() {
			select {
			case <-stopped:
				return
			default:
			}
		}
	})
	return func() { close(stopped); asking.Wait() }, nil
}

// openWatched opens a port whose listener is watched.
func openWatched(t *testing.T, o Options) *port {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Watch = poll
	return openOn(t, tryListener{l.(*net.TCPListener)}, o)
}

func TestWatchedListenerKeepsToItsCaps(t *testing.T) {
	for name, o := range map[string]Options{"all": {ConnectionsMax: 2}, "sniffing": {SniffingMax: 2}} {
		t.Run(name, func(t *testing.T) {
			p := openWatched(t, o)
			first := "SSH-"
			if o.SniffingMax > 0 {
				first = "S" // not enough to be known
			}
			var clients []net.Conn
			for range 5 {
				clients = append(clients, p.dial(first))
			}
			for freed := range 3 {
				eventually(t, "two to be accepted", func() bool { return p.accepted() == 2+freed })
				if o.SniffingMax > 0 {
					io.WriteString(clients[freed], "SH-")
				}
				if p.accepted() > 3+freed {
					t.Fatalf("%d accepted, %d had left", p.accepted(), freed)
				}
				p.next().end()
			}
			eventually(t, "all to be accepted", func() bool { return p.accepted() == 5 })
		})
	}
}

func TestWatchedListenerThatRanOutOfDescriptorsRecovers(t *testing.T) {
	const clients = 20
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for range clients {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "SSH-")
	}
	restore := forbidDescriptors(t)
	start := time.Now()
	p := openOn(t, tryListener{l.(*net.TCPListener)}, Options{Watch: poll})
	eventually(t, "accept to fail", func() bool { return p.acceptErrors("EMFILE") >= 5 })
	if took := time.Since(start); took < 75*time.Millisecond { // 5+10+20+40
		t.Errorf("five failures within %v: accept spins", took)
	}
	restore()
	for range clients {
		p.next().end()
	}
}

func TestStopWhileAWatchedListenerIsFull(t *testing.T) {
	p := openWatched(t, Options{ConnectionsMax: 1})
	p.dial("SSH-")
	p.dial("SSH-")
	taken := p.next()
	p.server.Close() // returns
	if p.accepted() != 1 {
		t.Errorf("%d accepted", p.accepted())
	}
	taken.end()
	shutdown(t, p.server)
}
