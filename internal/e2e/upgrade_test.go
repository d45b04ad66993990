//go:build libzmq

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

func upgradeConfig(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf(`
listen "127.0.0.1:0" {
  name          = "public"
  sniff_timeout = "1m"
}
relay "echo" { dial = ["tcp://%s"] }
backend "interop" { grpc = [%q] }
grpc "*" {
  to "interop" {}
}
admin { listen = "127.0.0.1:0" }
drain_timeout = "1m"
`, echoServer(t), grpcServer(t))
}

// TestUpgradeUnderConnectsRefusesNobody has the gateway replace itself, again and again, while clients connect and call.
func TestUpgradeUnderConnectsRefusesNobody(t *testing.T) {
	g := startGateway(t, upgradeConfig(t))
	addr := g.addr("public")
	ctx, cancel := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		traffic.Wait()
	})
	connects, calls := g.connects(ctx, addr, &traffic), g.calls(ctx, addr, &traffic)

	for n := 1; n <= upgrades; n++ {
		long, late := signedConn(t, addr), dialled(t, addr)
		must(t, echoRound(long, 1))
		eventually(t, zmqTimeout, "the silent client is accepted", func() bool { return g.metric(`gateway_sniffing{listener="public"}`) > 0 })
		pid := g.pid()
		if code, body := g.post("/upgrade"); code != http.StatusOK || !strings.Contains(body, fmt.Sprintf("process %d drains", pid)) {
			t.Fatalf("upgrade %d was answered %d %s", n, code, body)
		}
		eventually(t, startWait, "the process before drains", func() bool {
			return strings.Count(g.log.String(), "msg=draining successor=") == n
		})
		must(t, echoRound(long, 2)) // on the process before, for as long as it likes
		_, err := late.Write(zmtpSignature)
		must(t, err)
		must(t, echoed(late, zmtpSignature), echoRound(late, 3)) // it had connected, and not said a word
		long.Close()
		late.Close()
		eventually(t, stopWait, "the process before ends, and cuts nobody", func() bool {
			return strings.Count(g.log.String(), "msg=stopped cut=0") == n
		})
		before, callsBefore := connects.Load(), calls.Load()
		eventually(t, zmqTimeout, "traffic goes on", func() bool { return connects.Load() > before && calls.Load() > callsBefore })
	}
	cancel()
	traffic.Wait()
	t.Logf("figure: %d upgrades, %d connections at %d a second and %d calls, none refused", upgrades, connects.Load(), upgradeRate, calls.Load())
}

// connects has upgradeRate clients a second connect until ctx ends. Each must be served.
func (g *gatewayProcess) connects(ctx context.Context, addr string, traffic *sync.WaitGroup) *atomic.Int64 {
	var served atomic.Int64
	ctx, stop := context.WithCancel(ctx)
	traffic.Go(func() {
		defer stop()
		tick := time.NewTicker(time.Second / upgradeRate)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			traffic.Go(func() {
				c, err := net.DialTimeout("tcp", addr, zmqTimeout)
				if err == nil {
					_, err = c.Write(zmtpSignature)
				}
				if err == nil {
					err = echoed(c, zmtpSignature)
				}
				if err != nil {
					g.t.Errorf("a client was refused: %v", err)
					stop() // one tells enough
					return
				}
				c.Close()
				served.Add(1)
			})
		}
	})
	return &served
}

// calls has one gRPC client call, over and over, until ctx ends. No call may fail.
func (g *gatewayProcess) calls(ctx context.Context, addr string, traffic *sync.WaitGroup) *atomic.Int64 {
	g.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(g.t, err)
	g.t.Cleanup(func() { conn.Close() })
	client := testgrpc.NewTestServiceClient(conn)
	var answered atomic.Int64
	traffic.Go(func() {
		for ctx.Err() == nil {
			if _, err := client.EmptyCall(ctx, &testgrpc.Empty{}); err != nil && ctx.Err() == nil {
				g.t.Errorf("a call failed: %v", err)
				return
			}
			answered.Add(1)
			time.Sleep(time.Millisecond) // a pace, so that calls do not burn the machine
		}
	})
	return &answered
}

func dialled(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// TestBrokenUpgradeChangesNothing tries to upgrade to a broken configuration, and to a broken program.
func TestBrokenUpgradeChangesNothing(t *testing.T) {
	g := startGatewayAs(t, copyOfBinary(t), upgradeConfig(t))
	pid, addr := g.pid(), g.addr("public")
	file := filepath.Join(g.dir, "gateway.hcl")
	right, err := os.ReadFile(file)
	must(t, err)

	must(t, os.WriteFile(file, []byte("listen {"), 0o600))
	if code, body := g.post("/upgrade"); code != http.StatusUnprocessableEntity || !strings.Contains(body, "gateway.hcl line 1") {
		t.Errorf("an upgrade to a broken configuration was answered %d %s", code, body)
	}
	must(t, os.WriteFile(file, right, 0o600), os.Remove(g.cmd.Path), os.WriteFile(g.cmd.Path, []byte("#!/bin/sh\nexit 9\n"), 0o700))
	g.signal(syscall.SIGUSR2)
	g.waitLog(`upgrade refused, nothing has changed.*exit status 9`, startWait)
	must(t, os.WriteFile(g.cmd.Path, []byte("no program"), 0o700))
	if code, body := g.post("/upgrade"); code != http.StatusUnprocessableEntity || !strings.Contains(body, "exec format error") {
		t.Errorf("an upgrade to no program was answered %d %s", code, body)
	}
	must(t, goodClient(addr))
	if g.pid() != pid || g.metric(`gateway_upgrades_total{result="refused"}`) != 3 {
		t.Errorf("process %d serves and %v upgrades were refused, want process %d and 3",
			g.pid(), g.metric(`gateway_upgrades_total{result="refused"}`), pid)
	}
}

// TestUpgradeCommandAsksTheRunningGateway upgrades by command and by signal, with an admin socket, a token and a pid file.
func TestUpgradeCommandAsksTheRunningGateway(t *testing.T) {
	dir := t.TempDir()
	pidFile := filepath.Join(dir, "gateway.pid")
	t.Setenv("ADMIN_TOKEN", "let me in")
	g := startGatewayBy(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
relay "echo" { dial = ["tcp://%s"] }
admin {
  listen = "unix://%s/admin.sock"
  token  = env("ADMIN_TOKEN")
}
`, echoServer(t), dir), nil, "-pid", pidFile)
	addr := g.addr("public")
	for n, upgrade := range []func(){
		func() {
			out, err := exec.Command(binary, "upgrade", "-config", filepath.Join(g.dir, "gateway.hcl")).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "serves; process") {
				t.Errorf("gateway upgrade: %v\n%s", err, out)
			}
		},
		func() { g.signal(syscall.SIGUSR2) },
	} {
		upgrade()
		eventually(t, stopWait, "the process before ends, and the next is ready", func() bool {
			log := g.log.String()
			return strings.Count(log, "msg=stopped") == n+1 && strings.Count(log, "msg=ready") == n+2
		})
		if text, err := os.ReadFile(pidFile); err != nil || strings.TrimSpace(string(text)) != fmt.Sprint(g.pid()) {
			t.Errorf("the pid file says %q (%v), the process is %d", text, err, g.pid())
		}
		must(t, goodClient(addr))
		admin := dialledUnix(t, filepath.Join(dir, "admin.sock"))
		admin.Close()
	}
	g.signal(syscall.SIGTERM)
	g.waitExit(stopWait)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v is left behind (%v)", left, err)
	}
}

func dialledUnix(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	must(t, err)
	return c
}

// TestStopDuringAnUpgradeEndsBoth stops the gateway while a new process that never gets ready is starting.
func TestStopDuringAnUpgradeEndsBoth(t *testing.T) {
	g := startGatewayAs(t, copyOfBinary(t), upgradeConfig(t))
	must(t, os.Remove(g.cmd.Path), os.WriteFile(g.cmd.Path, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700))
	g.signal(syscall.SIGUSR2)
	g.waitLog(`upgrading: starting another process`, startWait)
	if code, body := g.post("/reload"); code != http.StatusUnprocessableEntity || !strings.Contains(body, "an upgrade is under way") {
		t.Errorf("a reload meanwhile was answered %d %s", code, body)
	}
	g.stop() // it would wait for the new process too: they write to the same log
}

// copyOfBinary is the gateway as a file of its own, to be replaced.
func copyOfBinary(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile(binary)
	must(t, err)
	path := filepath.Join(t.TempDir(), "gateway")
	must(t, os.WriteFile(path, program, 0o700))
	return path
}
