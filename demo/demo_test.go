// Package demo tests the demo's separate programs as a newcomer runs them: by the script, in tmux.
package demo

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gateway/internal/freeport"
)

const (
	seenWait  = 20 * time.Second      // for something that must be seen
	pollPause = 50 * time.Millisecond // between two looks at panes and processes
	startWait = 120 * time.Second     // for the script, which builds the binaries
	ports     = 4                     // that the demo listens on
	tmuxHint  = "tmux is missing; run: apt-get install -y tmux"
)

// bin holds the binaries that the script builds, for all tests.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "gateway-demo-bin"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		os.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -ldflags=-w") // builds take half the time without debug information
		return m.Run()
	}())
}

// session is a demo with ports, a tmux server and a folder for temporary files of its own.
type session struct {
	t      *testing.T
	socket string
	tmp    string
	ports  [ports]string // gateway, pull, greeter, admin
	env    []string
}

func newSession(t *testing.T) *session {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatal(tmuxHint)
	}
	tmp, err := os.MkdirTemp("", "gwd") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, socket: fmt.Sprintf("demo-test-%d", os.Getpid()), tmp: tmp}
	for i := range s.ports {
		_, s.ports[i], _ = net.SplitHostPort(freeport.Keep(t))
	}
	files := filepath.Join(tmp, "files")
	if err := os.Mkdir(files, 0o700); err != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "TMUX=", "TMUX_TMPDIR="+tmp, "TMPDIR="+files, "DEMO_BIN="+bin, "DEMO_SOCKET="+s.socket,
		"GATEWAY_PORT="+s.ports[0], "PULL_PORT="+s.ports[1], "GREETER_PORT="+s.ports[2], "ADMIN_PORT="+s.ports[3])
	t.Cleanup(func() {
		_, _ = s.tmux("kill-server") // it fails where the test has ended it
		os.RemoveAll(tmp)
	})
	return s
}

// start runs the script and returns what it wrote.
func (s *session) start() (string, error) { return s.command("./tmux.sh", "-d") }

func (s *session) tmux(args ...string) (string, error) {
	return s.command("tmux", append([]string{"-L", s.socket}, args...)...)
}

func (s *session) command(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// pane is one pane as tmux lists it.
type pane struct{ id, pid, window, title string }

func (s *session) panes() []pane {
	s.t.Helper()
	out, err := s.tmux("list-panes", "-a", "-F", "#{pane_id}\t#{pane_pid}\t#{window_name}\t#{pane_title}")
	if err != nil {
		s.t.Fatalf("list-panes: %v\n%s", err, out)
	}
	var panes []pane
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 4 {
			s.t.Fatalf("list-panes: %q", line)
		}
		panes = append(panes, pane{f[0], f[1], f[2], f[3]})
	}
	return panes
}

// await polls until seen is true, and fails the test with what was there instead.
func await(t *testing.T, what string, seen func() (ok bool, instead string)) {
	t.Helper()
	deadline := time.After(seenWait)
	for {
		ok, instead := seen()
		if ok {
			return
		}
		select {
		case <-time.After(pollPause):
		case <-deadline:
			t.Fatalf("not seen: %s; instead:\n%s", what, instead)
		}
	}
}

// processesOf lists the processes of the panes' terminal sessions, which a pane's first process leads.
func processesOf(t *testing.T, panes []pane) []string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		_, after, _ := strings.Cut(string(text), ") ") // state, parent, group, session; proc(5)
		if f := strings.Fields(after); len(f) > 3 && f[0] != "Z" && slices.ContainsFunc(panes, func(p pane) bool { return p.pid == f[3] }) {
			found = append(found, strings.TrimSpace(string(text)))
		}
	}
	return found
}

func TestTmuxDemoShowsTrafficInEveryPaneAndLeavesNothing(t *testing.T) {
	s := newSession(t)
	out, err := s.start()
	if err != nil {
		t.Fatalf("tmux.sh: %v\n%s", err, out)
	}
	panes := s.panes()
	wanted := []struct {
		window, title string
		traffic       []string
	}{
		{"servers", "gateway 127.0.0.1:" + s.ports[0], []string{`msg=detected protocol=zmtp`, `msg=detected protocol=http2`}},
		{"servers", "zmq_pull 127.0.0.1:" + s.ports[1], []string{`received +#\d+ +from push-1: Hello`, `received +#\d+ +from push-2: Hello`}},
		{"servers", "grpc_server 127.0.0.1:" + s.ports[2], []string{`received +from call-1`, `received +from call-2`}},
		{"clients", "zmq_push 1", []string{`push-1 +sent +#\d+ `}},
		{"clients", "zmq_push 2", []string{`push-2 +sent +#\d+ `}},
		{"clients", "grpc_client 1", []string{`call-1 +answered +#\d+ +Hello, call-1!`}},
		{"clients", "grpc_client 2", []string{`call-2 +answered +#\d+ +Hello, call-2!`}},
	}
	if len(panes) != len(wanted) {
		t.Fatalf("%d panes, want %d: %v", len(panes), len(wanted), panes)
	}
	for i, want := range wanted {
		p := panes[i]
		if p.window != want.window || p.title != want.title {
			t.Errorf("pane %d is %q in window %q, want %q in %q", i, p.title, p.window, want.title, want.window)
		}
		for _, pattern := range want.traffic {
			await(t, pattern+" in "+p.title, func() (bool, string) {
				text, err := s.tmux("capture-pane", "-p", "-J", "-S", "-", "-t", p.id)
				return err == nil && regexp.MustCompile(pattern).MatchString(text), text
			})
		}
	}

	if again, err := s.start(); err == nil || !strings.Contains(again, "it runs already") {
		t.Errorf("a second start: %v\n%s", err, again)
	}

	end := regexp.MustCompile(`(?m)^ *End it: (.+)$`).FindStringSubmatch(out)
	if end == nil {
		t.Fatalf("no command that ends it in:\n%s", out)
	}
	if n := len(processesOf(t, panes)); n < len(wanted) {
		t.Fatalf("only %d processes found in %d panes: the search is broken", n, len(wanted))
	}
	if out, err := s.command("sh", "-c", end[1]); err != nil {
		t.Fatalf("%s: %v\n%s", end[1], err, out)
	}
	s.awaitNothingLeft(panes)
}

// awaitNothingLeft waits until processes, listeners and temporary files are gone.
func (s *session) awaitNothingLeft(panes []pane) {
	s.t.Helper()
	await(s.t, "that all programs have ended", func() (bool, string) {
		left := processesOf(s.t, panes)
		return len(left) == 0, strings.Join(left, "\n")
	})
	await(s.t, "that the temporary files are gone", func() (bool, string) {
		left, err := filepath.Glob(filepath.Join(s.tmp, "files", "*"))
		return err == nil && len(left) == 0, fmt.Sprint(left, err)
	})
	if _, err := s.tmux("has-session"); err == nil {
		s.t.Error("the tmux server is still there")
	}
	for _, port := range s.ports {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			s.t.Errorf("somebody still listens on port %s", port)
		}
	}
}

func TestTmuxDemoSaysWhichPortIsTaken(t *testing.T) {
	s := newSession(t)
	taken, err := net.Listen("tcp", "127.0.0.1:"+s.ports[1])
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.start()
	if err == nil || !strings.Contains(out, "another program listens on 127.0.0.1:"+s.ports[1]) {
		t.Errorf("it ended with %v and said:\n%s", err, out)
	}
	taken.Close()
	s.awaitNothingLeft(nil)
}

// TestProgramsEndOnSignals: Ctrl-C, kill, and a closed terminal.
func TestProgramsEndOnSignals(t *testing.T) {
	if out, err := exec.Command("go", "build", "-o", bin+"/", "./peers/zmq_push", "./peers/zmq_pull", "./peers/grpc_client", "./peers/grpc_server").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pull := start(t, "zmq_pull", "-listen", "tcp://127.0.0.1:0")
	server := start(t, "grpc_server", "-listen", "127.0.0.1:0")
	push := start(t, "zmq_push", "-connect", pull.address(), "-every", "10ms")
	client := start(t, "grpc_client", "-connect", server.address(), "-every", "10ms")
	push.await("sent")
	client.await("answered")
	push.end(syscall.SIGINT)
	client.end(syscall.SIGTERM)
	pull.end(syscall.SIGHUP)
	server.end(syscall.SIGINT)
}

// program is one running program and the lines that it writes.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // closed at the end of its output
}

func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(filepath.Join(bin, name), args...), lines: make(chan string)}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			select {
			case p.lines <- scanner.Text():
			case <-t.Context().Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it fails where the program has ended
		_ = p.cmd.Wait()
	})
	return p
}

// await returns the first line that contains part.
func (p *program) await(part string) string {
	p.t.Helper()
	deadline := time.After(seenWait)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%s ended before it wrote %q", p.cmd.Path, part)
			}
			if strings.Contains(line, part) {
				return line
			}
		case <-deadline:
			p.t.Fatalf("%s did not write %q", p.cmd.Path, part)
		}
	}
}

// address is where a server listens.
func (p *program) address() string {
	p.t.Helper()
	fields := strings.Fields(p.await("listening"))
	return fields[len(fields)-1]
}

// end sends a signal and wants exit code 0.
func (p *program) end(signal syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	deadline := time.After(seenWait)
	for open := true; open; {
		select {
		case _, open = <-p.lines:
		case <-deadline:
			p.t.Fatalf("%s does not end on %v", p.cmd.Path, signal)
		}
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s, told to end by %v: %v", p.cmd.Path, signal, err)
	}
}
