package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// suites builds what is pinned in conformance/suites, a module of its own, and returns the folder with the programs.
func suites(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"build", "-C", "conformance/suites", "-o", dir + "/", "tool"},
		{"build", "-o", filepath.Join(dir, "conformance"), "./conformance"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

// verdict runs a suite, which exits with 1 where cases fail, and returns what it printed.
func verdict(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// TestGRPCConformance holds that connectrpc's suite says the same of grpc-go's reference server behind the gateway's
// engine as of that server alone.
func TestGRPCConformance(t *testing.T) {
	dir := suites(t)
	runSuite := func(server ...string) (passed int, failed []string) {
		args := append([]string{"--conf", "conformance/suites/grpc.yaml", "--mode", "server", "--"}, server...)
		out := verdict(t, filepath.Join(dir, "connectconformance"), args...)
		total := regexp.MustCompile(`(\d+) passed, (\d+) failed`).FindStringSubmatch(out)
		if total == nil {
			t.Fatalf("no result of %v:\n%s", server, out)
		}
		for _, m := range regexp.MustCompile(`(?m)^FAILED: (.*):$`).FindAllStringSubmatch(out, -1) {
			failed = append(failed, m[1])
		}
		passed, _ = strconv.Atoi(total[1]) // the pattern holds digits alone
		slices.Sort(failed)
		return passed, failed
	}
	server := filepath.Join(dir, "grpcserver")
	wantPassed, wantFailed := runSuite(server)
	passed, failed := runSuite(filepath.Join(dir, "conformance"), server)
	t.Logf("passed %d, as %d directly; failed as directly: %q", passed, wantPassed, wantFailed)
	if passed == 0 || passed != wantPassed || !slices.Equal(failed, wantFailed) {
		t.Errorf("behind the gateway %d pass and %q fail; directly %d and %q", passed, failed, wantPassed, wantFailed)
	}
}

// TestH2Spec holds that the exposed port fails no more cases of h2spec than HAProxy's does in the same run.
func TestH2Spec(t *testing.T) {
	dir, backend := suites(t), grpcServer(t)
	g := startGateway(t, `listen "127.0.0.1:0" {
  name = "public"
}
backend "b" {
  grpc = ["`+backend+`"]
}
grpc "*" {
  to "b" {}
}`)
	h2spec := func(addr string) (failed int) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		out := verdict(t, filepath.Join(dir, "h2spec"), "-h", host, "-p", port, "-o", "5")
		total := regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`).FindStringSubmatch(out)
		if total == nil {
			t.Fatalf("no result of h2spec:\n%s", out)
		}
		failed, _ = strconv.Atoi(total[4]) // the pattern holds digits alone
		t.Logf("%s: %s", addr, total[0])
		return failed
	}
	ours, theirs := h2spec(g.addr("public")), h2spec(startHAProxy(t, backend))
	if ours > theirs {
		t.Errorf("the gateway fails %d cases, HAProxy %d", ours, theirs)
	}
}

// startHAProxy runs HAProxy, HTTP/2 on both sides, until the test ends.
func startHAProxy(t *testing.T, backend string) (addr string) {
	t.Helper()
	host := net.IPv4(127, byte(1+rand.N(254)), byte(1+rand.N(254)), byte(1+rand.N(254))) // whose ports nobody else asks for
	l, err := net.Listen("tcp", net.JoinHostPort(host.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_ = l.Close() // HAProxy takes the port over
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	config := fmt.Sprintf(`defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen grpc
  bind %s proto h2
  server s %s proto h2
`, addr, backend)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("haproxy", "-db", "-f", file)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()         // killed
		if t.Failed() {
			t.Logf("HAProxy: %s", strings.TrimSpace(log.String()))
		}
	})
	eventually(t, patience, "HAProxy listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return addr
}
