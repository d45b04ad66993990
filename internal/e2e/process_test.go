package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startWait = 20 * time.Second // for the binary to be ready, on a busy machine
	stopWait  = 20 * time.Second // for it to end after TERM
	patience  = 20 * time.Second // for anything else that must happen
	pollEvery = 5 * time.Millisecond
)

// binary is the gateway under test, built with the race detector by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gateway-e2e")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "gateway")
		if out, err := exec.Command("go", "build", "-race", "-o", binary, "gateway/cmd/gateway").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the gateway: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// gatewayProcess is a running gateway.
type gatewayProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	dir    string // of its configuration
	log    *logBuffer
	exited chan struct{}
	err    error // of Wait, after exited
}

// startGateway runs `gateway serve` with a configuration, in which every listen address may have port 0. It is stopped
// with TERM at the end of the test, and must then exit 0 with no race and no panic in its log.
func startGateway(t *testing.T, config string, more ...string) *gatewayProcess {
	t.Helper()
	return startGatewayBy(t, config, nil, more...)
}

// startGatewayBy is startGateway through a wrapper command, prlimit for one.
func startGatewayBy(t *testing.T, config string, wrapper []string, more ...string) *gatewayProcess {
	t.Helper()
	return startCommand(t, config, append(wrapper, binary), more...)
}

// startGatewayAs is startGateway with another file as the program.
func startGatewayAs(t *testing.T, program, config string) *gatewayProcess {
	t.Helper()
	return startCommand(t, config, []string{program})
}

func startCommand(t *testing.T, config string, command []string, more ...string) *gatewayProcess {
	t.Helper()
	g := launchGateway(t, config, command, more...)
	g.waitLog(`msg=ready`, startWait)
	return g
}

// launchGateway does not wait until the gateway is ready.
func launchGateway(t *testing.T, config string, command []string, more ...string) *gatewayProcess {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "gateway.hcl")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append(append(command, "serve", "-config", file), more...)
	g := &gatewayProcess{t: t, dir: dir, cmd: exec.Command(args[0], args[1:]...), log: &logBuffer{}, exited: make(chan struct{})}
	g.cmd.Stderr, g.cmd.Stdout = g.log, g.log
	g.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=10") // instead of a second at every end
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		g.err = g.cmd.Wait()
		close(g.exited)
	}()
	t.Cleanup(g.stop)
	return g
}

// stop ends the gateway with TERM and checks how it ended.
func (g *gatewayProcess) stop() {
	g.t.Helper()
	g.signal(syscall.SIGTERM)
	g.waitExit(stopWait)
	if g.t.Failed() {
		g.t.Logf("the gateway's log:\n%s", g.log.tail(60))
	}
}

// signal is for the process that serves: after an upgrade the last one.
func (g *gatewayProcess) signal(s syscall.Signal) {
	g.t.Helper()
	select {
	case <-g.exited:
	default:
		if err := syscall.Kill(g.pid(), s); err != nil {
			g.t.Logf("signal %v: %v", s, err)
		}
	}
}

// pid is the process that serves.
func (g *gatewayProcess) pid() int {
	pid := g.cmd.Process.Pid
	if all := readyPID.FindAllStringSubmatch(g.log.String(), -1); len(all) > 1 {
		fmt.Sscan(all[len(all)-1][1], &pid)
	}
	return pid
}

var readyPID = regexp.MustCompile(`msg=ready .* pid=(\d+)`)

// waitExit waits until the process ended, and fails unless it ended well.
func (g *gatewayProcess) waitExit(limit time.Duration) {
	g.t.Helper()
	select {
	case <-g.exited:
	case <-time.After(limit):
		g.t.Errorf("the gateway did not end within %v", limit)
		g.cmd.Process.Signal(syscall.SIGQUIT) // its stacks tell why
		select {
		case <-g.exited:
		case <-time.After(stopWait):
			g.cmd.Process.Kill()
			select {
			case <-g.exited:
			case <-time.After(stopWait):
				g.t.Fatalf("it has ended, but a process that it started holds its log open:\n%s", g.log.tail(60))
			}
		}
	}
	if g.err != nil {
		g.t.Errorf("the gateway ended with %v", g.err)
	}
	for _, bad := range []string{"DATA RACE", "panic:", "goroutine 1 ["} {
		if strings.Contains(g.log.String(), bad) {
			g.t.Errorf("the gateway's log contains %q", bad)
		}
	}
}

// addr is where the listener of that name listens, from the log.
func (g *gatewayProcess) addr(name string) string {
	g.t.Helper()
	return g.waitLog(`msg=listening name=`+regexp.QuoteMeta(name)+` addr=(\S+)`, startWait)[1]
}

// waitLog waits for a log line and returns the match.
func (g *gatewayProcess) waitLog(expr string, limit time.Duration) []string {
	g.t.Helper()
	re := regexp.MustCompile(expr)
	for deadline := time.Now().Add(limit); ; time.Sleep(pollEvery) {
		if m := re.FindStringSubmatch(g.log.String()); m != nil {
			return m
		}
		select {
		case <-g.exited:
			g.t.Fatalf("the gateway ended (%v) before it logged %s:\n%s", g.err, expr, g.log.tail(40))
		default:
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("the gateway did not log %s within %v:\n%s", expr, limit, g.log.tail(40))
		}
	}
}

// admin is how to reach the admin server, at a port or at a unix socket.
func (g *gatewayProcess) admin() (client *http.Client, url string) {
	g.t.Helper()
	addr := g.addr("admin")
	if !strings.HasPrefix(addr, "/") {
		return http.DefaultClient, "http://" + addr
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", addr)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}, "http://gateway"
}

// get asks the admin server.
func (g *gatewayProcess) get(path string) string {
	g.t.Helper()
	client, url := g.admin()
	r, err := client.Get(url + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		g.t.Fatalf("GET %s: %s %v", path, r.Status, err)
	}
	return string(body)
}

// metric sums the samples whose line begins with prefix; 0 when there is none.
func (g *gatewayProcess) metric(prefix string) float64 {
	g.t.Helper()
	sum := 0.0
	for line := range strings.Lines(g.get("/metrics")) {
		if strings.HasPrefix(line, prefix) {
			var v float64
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err != nil {
				g.t.Fatalf("metric line %q: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}

// descriptors counts the process's open files.
func (g *gatewayProcess) descriptors() int {
	g.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	return len(entries)
}

// eventually polls until ok, and fails with what after limit.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Fatalf("within %v: %s", limit, what)
		}
	}
}

// serveEach is a server on a port of its own, and of an address of this machine: what to do with each connection, on a goroutine.
func serveEach(t *testing.T, host string, serve func(c net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	must(t, err)
	serveFrom(t, l, serve)
	return l.Addr().String()
}

// serveFrom serves the connections of a listener until the test ends, and closes each that was served.
func serveFrom(t *testing.T, l net.Listener, serve func(c net.Conn)) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// logBuffer collects what a process writes.
type logBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	file string // where it writes instead, if that is not empty
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != "" {
		text, _ := os.ReadFile(l.file) // what is not there yet will be
		return string(text)
	}
	return l.b.String()
}

// tail is the last n lines.
func (l *logBuffer) tail(n int) string {
	lines := strings.SplitAfter(l.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
