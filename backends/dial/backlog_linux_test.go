package dial

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fullSocket listens on a unix socket with a backlog that is full.
func fullSocket(t *testing.T) (target string, l net.Listener) {
	t.Helper()
	at := filepath.Join(t.TempDir(), "worker.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), at)
	defer file.Close()
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: at}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	if l, err = net.FileListener(file); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for { // Listen's number is a hint
		c, err := net.Dial("unix", at)
		if errors.Is(err, syscall.EAGAIN) {
			return "unix://" + at, l
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
}

func TestUnixTargetThatIsBusyIsWaitedFor(t *testing.T) {
	target, l := fullSocket(t)
	b := newBackend(t, Options{Targets: []string{target}, EjectAfter: 1})
	if c, _ := b.tryDial(); c != nil {
		t.Fatal("connected at once")
	}
	attempts, again := 0, make(chan struct{})
	b.dialer.Control = func(string, string, syscall.RawConn) error {
		if attempts++; attempts == 2 {
			close(again)
		}
		return nil
	}
	go func() { // it makes room
		<-again
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	c, dialled, err := b.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	dialled.Release()
	if s := b.Status()[0]; s.Failures != 0 || s.EjectedFor != 0 {
		t.Errorf("the target was blamed: %+v", s)
	}
}

func TestUnixTargetThatAcceptsNobodyIsNamed(t *testing.T) {
	target, _ := fullSocket(t)
	b := newBackend(t, Options{Targets: []string{target}, ConnectTimeout: 20 * time.Millisecond})
	_, _, err := b.Dial(t.Context())
	if !errors.Is(err, ErrBacklogFull) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), target+": its backlog is full") {
		t.Errorf("the error is: %v", err)
	}
}

func TestClientOfABusyUnixTargetMeetsAnother(t *testing.T) {
	full, _ := fullSocket(t)
	w := startWorker(t, "tcp", "127.0.0.1:0")
	b := newBackend(t, Options{Targets: []string{full, w.target}, Balance: RoundRobin, ConnectTimeout: time.Hour})
	for range 4 {
		c, target, err := b.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		target.Release()
		if target.Name != w.target {
			t.Errorf("connected to %s", target.Name)
		}
	}
}
