package sniff

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener accepts what dial connects, and fails on demand. It can live in a synctest bubble.
type pipeListener struct {
	conns  chan net.Conn
	errs   chan error // failures come before connections
	once   sync.Once
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), errs: make(chan error, 1024), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "pipe"} }

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// dial returns once the connection is accepted.
func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// fail makes the next n calls of Accept fail as the net package would.
func (l *pipeListener) fail(n int, errno syscall.Errno) {
	for range n {
		l.errs <- &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}
	}
}

func TestAcceptBacksOffWhileResourcesAreShort(t *testing.T) {
	for reason, errno := range map[string]syscall.Errno{
		"EMFILE": syscall.EMFILE, "ENFILE": syscall.ENFILE, "ENOBUFS": syscall.ENOBUFS, "ENOMEM": syscall.ENOMEM,
		"ECONNABORTED": syscall.ECONNABORTED,
	} {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipeListener()
				l.fail(12, errno)
				start := time.Now()
				p := openOn(t, l, Options{})
				client := l.dial() // accepted after all the failures
				defer client.Close()
				// 5, 10, 20 ... 640 ms are 1275 ms; then four times a second.
				if waited := time.Since(start); waited != 1275*time.Millisecond+4*time.Second {
					t.Errorf("waited %v", waited)
				}
				if n := p.acceptErrors(reason); n != 12 {
					t.Errorf("%d errors counted, want 12", n)
				}
				if n := p.log.count("cannot accept"); n < 2 || n > 6 {
					t.Errorf("%d lines in 5 s: %s", n, p.log)
				}

				io.WriteString(client, "SSH-") // it serves
				p.next().end()
				l.fail(1, errno) // and has forgotten the delay, once a call has succeeded
				l.dial().Close()
				start = time.Now()
				l.dial().Close()
				if waited := time.Since(start); waited != acceptDelayMin {
					t.Errorf("waited %v after a new failure", waited)
				}
			})
		})
	}
}

func TestStopDuringBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		l.fail(100, syscall.EMFILE)
		p := openOn(t, l, Options{})
		time.Sleep(10 * time.Second)
		start := time.Now()
		p.server.Close()
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestListenerThatFailsForGoodEndsServe(t *testing.T) {
	l := newPipeListener()
	l.fail(1, syscall.EINVAL)
	s := NewServer(Options{})
	err := s.Serve(l)
	if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "pipe") {
		t.Error(err)
	}
	shutdown(t, s)
}

// The real thing: no descriptor is left for the connections in the backlog, then there are some again.
func TestPortThatRanOutOfDescriptorsRecovers(t *testing.T) {
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
	p := openOn(t, l, Options{})
	eventually(t, "accept to fail", func() bool { return p.acceptErrors("EMFILE") >= 5 })
	if !strings.Contains(p.log.String(), "ulimit -n") {
		t.Errorf("the log does not say what to do: %s", p.log)
	}
	if p.accepted() != 0 {
		t.Fatalf("%d accepted without descriptors", p.accepted())
	}
	if took := time.Since(start); took < 75*time.Millisecond { // 5+10+20+40
		t.Errorf("five failures within %v: accept spins", took)
	}
	restore()
	for range clients {
		p.next().end()
	}
}

// forbidDescriptors lowers the limit of descriptors below what the process has, until restore is called.
func forbidDescriptors(t *testing.T) (restore func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	restore = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(restore)
	return restore
}

func TestPatientListenerOutlivesErrorsThatPassAndEndsWithOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newPipeListener()
		inner.fail(3, syscall.ENOBUFS)
		l := Patient(inner)
		go inner.dial()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		inner.fail(1, syscall.EINVAL)
		if _, err := l.Accept(); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("an error that stays: %v", err)
		}
		inner.fail(1024, syscall.EMFILE)
		ended := make(chan error)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		synctest.Wait()
		l.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed while it waited: %v", err)
		}
	})
}
