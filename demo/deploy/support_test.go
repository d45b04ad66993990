package deploy

import (
	"bytes"
	"fmt"
	"io"
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

	"gateway/internal/config"
)

const (
	patience  = 30 * time.Second // for anything that must happen, on a busy machine
	pollEvery = 10 * time.Millisecond
	cutGrace  = 5 * time.Second // that a stop may take beyond drain_timeout
)

// binary is the gateway as the Dockerfile builds it.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gateway-deploy")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		os.Setenv("ADMIN_TOKEN", "for-the-test")
		os.Setenv("AGENT_TOKEN", "for-the-test-too")
		binary = filepath.Join(dir, "gateway")
		if err := buildAsTheDockerfileDoes(binary); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// checked loads a configuration after `gateway check` has accepted it without a word of warning.
func checked(t *testing.T, path string) *config.Config {
	t.Helper()
	out, err := exec.Command(binary, "check", "-config", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "Warning") {
		t.Fatalf("gateway check -config %s: %v\n%s", path, err, out)
	}
	cfg, diags := config.Load(path)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return cfg
}

// checkCommand holds a command line against the binary: the subcommand, and each flag.
func checkCommand(t *testing.T, args []string) {
	t.Helper()
	if len(args) == 0 {
		t.Fatal("the command line names no subcommand")
	}
	help, _ := exec.Command(binary, args[0], "-h").CombinedOutput() // its exit code is tested elsewhere
	if strings.Contains(string(help), "there is no command") {
		t.Errorf("gateway has no subcommand %q", args[0])
	}
	for _, arg := range args[1:] {
		if strings.HasPrefix(arg, "-") && !regexp.MustCompile(`(?m)^  `+regexp.QuoteMeta(arg)+`\b`).Match(help) {
			t.Errorf("gateway %s has no flag %s:\n%s", args[0], arg, help)
		}
	}
}

// anyPort is a configuration with a free port wherever it listens on a fixed one.
func anyPort(text string) string {
	return regexp.MustCompile(`(listen\s*=?\s*)"(?:0\.0\.0\.0|127\.0\.0\.1):\d+"`).ReplaceAllString(text, `$1"127.0.0.1:0"`)
}

// running is a gateway that a test started.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	exited chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *running) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// run starts cmd, which is killed at the end of the test if it still runs.
func run(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{t: t, cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = r, r
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(r.exited)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-r.exited
		if t.Failed() {
			t.Logf("its log:\n%s", r.text())
		}
	})
	return r
}

// wait returns what pattern's group is in the log, as soon as it is there.
func (r *running) wait(pattern string) string {
	r.t.Helper()
	wanted := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pollEvery) {
		if m := wanted.FindStringSubmatch(r.text()); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-r.exited:
			r.t.Fatalf("it ended: %v", r.cmd.ProcessState)
		default:
		}
	}
	r.t.Fatalf("%s is not in the log", pattern)
	return ""
}

// stop ends process pid of it with TERM, which must make it exit 0.
func (r *running) stop(pid int) {
	r.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	select {
	case <-r.exited:
	case <-time.After(patience):
		r.t.Fatal("it does not stop")
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		r.t.Errorf("it exits with %d", code)
	}
}

// get asks by HTTP.
func get(t *testing.T, client *http.Client, url string) (code int, body string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}
