package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long anything may take on a busy machine.
const patience = 10 * time.Second

// roleEnv makes the test binary a process that was handed sockets.
const roleEnv = "HANDOVER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "serve":
		serveInherited()
	case "refuse":
		_, predecessor, _ := Inherit()
		fmt.Fprintln(predecessor, "gateway.hcl line 3: this is not right")
		os.Exit(1)
	case "broken":
		os.Exit(3)
	case "hang":
		select {}
	}
}

// serveInherited answers one connection a socket with the process id, and ends.
func serveInherited() {
	sockets, predecessor, err := Inherit()
	if err != nil || !predecessor.Exists() || len(sockets.inherited) == 0 || os.Getenv(handoverEnv) != "" {
		fmt.Fprintln(predecessor, "inherited:", sockets, err)
		os.Exit(1)
	}
	predecessor.Ready()
	for _, s := range sockets.inherited {
		if c, err := s.Accept(); err == nil {
			fmt.Fprint(c, os.Getpid())
			c.Close()
		}
		s.Close()
	}
	os.Exit(0)
}

func pass(t *testing.T, s *Sockets, role string, wait time.Duration) (int, error) {
	t.Helper()
	t.Setenv(roleEnv, role)
	return s.Pass(t.Context(), wait)
}

func listen(t *testing.T, s *Sockets, network, addr string) *Socket {
	t.Helper()
	l, err := s.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func connect(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// answer is what a client reads that connected before anybody accepts.
func answer(t *testing.T, c net.Conn) string {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestClientInTheBacklogIsServedByTheNewProcess(t *testing.T) {
	s := &Sockets{}
	path := filepath.Join(t.TempDir(), "admin.sock")
	one, two, unix := listen(t, s, "tcp", "127.0.0.1:0"), listen(t, s, "tcp", "127.0.0.1:0"), listen(t, s, "unix", path)
	first, second := connect(t, one), connect(t, two)
	pid, err := pass(t, s, "serve", patience)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close() // must not take the path away from the process that has it now
	for i, c := range []net.Conn{first, second, connect(t, unix)} {
		if got := answer(t, c); got != fmt.Sprint(pid) {
			t.Errorf("client %d was answered %q, want the process id %d", i, got, pid)
		}
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new process left its unix socket behind")
		}
	}
}

func TestNewProcessThatFailsChangesNothing(t *testing.T) {
	cases := []struct {
		role string
		wait time.Duration
		err  error
		says string
	}{
		{"refuse", patience, ErrEnded, "gateway.hcl line 3: this is not right (exit status 1)"},
		{"broken", patience, ErrEnded, "exit status 3"},
		{"hang", 100 * time.Millisecond, ErrNotReady, "100ms"},
	}
	for _, test := range cases {
		s := &Sockets{}
		l := listen(t, s, "tcp", "127.0.0.1:0")
		_, err := pass(t, s, test.role, test.wait)
		if !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v", test.role, err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				fmt.Fprint(c, "still here")
				c.Close()
			}
		}()
		if got := answer(t, connect(t, l)); got != "still here" {
			t.Errorf("%s: afterwards a client is answered %q", test.role, got)
		}
	}
}

func TestStopEndsTheNewProcessToo(t *testing.T) {
	s := &Sockets{}
	listen(t, s, "tcp", "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	t.Setenv(roleEnv, "hang")
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := s.Pass(ctx, patience); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// inherited is a Sockets with the sockets of a service manager.
func inherited(t *testing.T, network string, addrs ...string) *Sockets {
	t.Helper()
	s := &Sockets{}
	for _, addr := range addrs {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		l.Close()
		if err := s.adopt(f, place{}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestSocketIsFoundByItsAddress(t *testing.T) {
	cases := []struct{ bound, asked string }{
		{"127.0.0.1:0", "127.0.0.1:%s"},
		{"127.0.0.1:0", "localhost:%s"},
		{"[::1]:0", "[::1]:%s"},
		{"0.0.0.0:0", "0.0.0.0:%s"},
		{"[::]:0", ":%s"},
		{"[::]:0", "0.0.0.0:%s"}, // both mean every address; systemd binds the first
	}
	for _, test := range cases {
		s := inherited(t, "tcp", test.bound)
		have := s.inherited[0]
		_, port, _ := net.SplitHostPort(have.Addr().String())
		got := listen(t, s, "tcp", fmt.Sprintf(test.asked, port))
		if got != have || len(s.Rest()) != 0 {
			t.Errorf("%s is not found as %s", test.bound, test.asked)
		}
	}
	path := filepath.Join(t.TempDir(), "admin.sock")
	s := inherited(t, "unix", path)
	if have := s.inherited[0]; listen(t, s, "unix", path) != have {
		t.Error("the unix socket is not found")
	}
}

func TestSocketOfAnotherAddressIsNotTaken(t *testing.T) {
	s := inherited(t, "tcp", "127.0.0.1:0")
	have := s.inherited[0]
	defer have.Close()
	_, port, _ := net.SplitHostPort(have.Addr().String())
	for _, addr := range []string{"127.0.0.2:" + port, "127.0.0.1:0"} {
		if listen(t, s, "tcp", addr) == have {
			t.Errorf("%s was given for %s", have.Addr(), addr)
		}
	}
	if rest := s.Rest(); len(rest) != 1 || rest[0] != have.Addr().String() {
		t.Errorf("the rest is %v, want %v", rest, have.Addr())
	}
}

func TestStaleUnixSocketIsReplacedAndALiveOneIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	dead := inherited(t, "unix", path)
	dead.inherited[0].Listener.Close()
	s := &Sockets{}
	l := listen(t, s, "unix", path)
	if _, err := s.Listen("unix", path); err == nil {
		t.Error("a unix socket that somebody listens on was taken away")
	}
	l.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestLookedUpByTheNameItWasCalledBy(t *testing.T) {
	dir := t.TempDir()
	next := filepath.Join(dir, "v2")
	if err := os.WriteFile(next, []byte("#!/bin/sh\nexit 7\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "gateway")
	if err := os.Symlink(next, link); err != nil {
		t.Fatal(err)
	}
	before := os.Args[0]
	os.Args[0] = link
	defer func() { os.Args[0] = before }()
	s := &Sockets{}
	_, err := s.Pass(t.Context(), patience)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("error %v, want that of the program behind the link", err)
	}
}
