//go:build libzmq

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// echoConfig is a gateway before an echo server.
func echoConfig(t *testing.T, listen string) string {
	t.Helper()
	return fmt.Sprintf("listen %q { name = \"public\" }\nrelay \"echo\" { dial = [\"tcp://%s\"] }\nadmin { listen = \"127.0.0.1:0\" }\n", listen, echoServer(t))
}

// needRoot fails where the test cannot do what needs root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test mounts something: run it as root, as in: sudo make test PKGS=./internal/e2e/...")
	}
}

// TestServiceGoesOnWhenTheDiskOfTheLogIsFull fills the disk, frees it, and reads in the log what is missing.
func TestServiceGoesOnWhenTheDiskOfTheLogIsFull(t *testing.T) {
	needRoot(t)
	disk := t.TempDir()
	must(t, syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"))
	t.Cleanup(func() { must(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	file := filepath.Join(disk, "gateway.log")
	g := launchGateway(t, echoConfig(t, "127.0.0.1:0"), []string{"sh", "-c", `exec "$0" "$@" 2>>` + file, binary})
	g.log.file = file
	addr := g.addr("public")
	must(t, goodClient(addr))

	filler, err := os.Create(filepath.Join(disk, "filler"))
	must(t, err)
	if _, err := io.Copy(filler, zeros{}); err == nil {
		t.Fatal("the disk does not fill")
	}
	eventually(t, zmqTimeout, "lines of the log are lost, and counted", func() bool {
		must(t, goodClient(addr))
		return g.metric("gateway_log_lines_lost_total ") > 10
	})
	if status := g.get("/status"); !strings.Contains(status, "log_lines_lost") {
		t.Errorf("the status does not tell:\n%s", status)
	}
	must(t, filler.Close(), os.Remove(filler.Name()))
	eventually(t, zmqTimeout, "the log goes on and tells what is missing", func() bool {
		must(t, goodClient(addr))
		return strings.Contains(g.log.String(), "log lines are missing")
	})
}

// zeros is as many as anybody wants.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestServiceGoesOnWhenNobodyReadsTheLog(t *testing.T) {
	addr := freeAddr(t)
	file := filepath.Join(t.TempDir(), "gateway.hcl")
	must(t, os.WriteFile(file, []byte(echoConfig(t, addr)), 0o600))
	cmd := exec.Command(binary, "serve", "-config", file)
	log, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), "msg=ready") {
	}
	must(t, log.Close()) // a write to it would now end a program that does not care
	for range 20 {
		must(t, goodClient(addr))
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Errorf("the gateway ended with %v", err)
	}
}

// TestStartIsRefusedWhenThePortIsTaken: of the admin port and of the exposed one, with a word about who has it.
func TestStartIsRefusedWhenAPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	file := filepath.Join(t.TempDir(), "gateway.hcl")
	for _, config := range []string{
		echoConfig(t, l.Addr().String()),
		strings.Replace(echoConfig(t, "127.0.0.1:0"), "admin { listen = \"127.0.0.1:0\" }", fmt.Sprintf("admin { listen = %q }", l.Addr()), 1),
	} {
		must(t, os.WriteFile(file, []byte(config), 0o600))
		out, err := exec.Command(binary, "serve", "-config", file).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("it ended with %v", err)
		}
		for _, word := range []string{"gateway.hcl:", "another program has port " + port, "ss -ltnp"} {
			if !strings.Contains(string(out), word) {
				t.Errorf("%q is not in:\n%s", word, out)
			}
		}
	}
}

// TestReloadIsRefusedWhenTheAdminPortIsTaken: it moves to a port that somebody has.
func TestReloadIsRefusedWhenTheAdminPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	config := echoConfig(t, "127.0.0.1:0")
	g := startGateway(t, config)
	g.replace(strings.Replace(config, "admin { listen = \"127.0.0.1:0\" }", fmt.Sprintf("admin { listen = %q }", l.Addr()), 1))
	if code, body := g.post("/reload"); code != http.StatusUnprocessableEntity || !strings.Contains(body, "another program has port") {
		t.Errorf("answered %d %s", code, body)
	}
	must(t, goodClient(g.addr("public")))
}

func TestTooFewDescriptorsAreAWarning(t *testing.T) {
	config := strings.Replace(echoConfig(t, "127.0.0.1:0"), `name = "public" }`, "name = \"public\"\n max_connections = 500\n}", 1)
	g := startGatewayBy(t, strings.Replace(config, "{ name", "{\n name", 1), []string{"prlimit", "--nofile=1000:1000"})
	g.waitLog(`level=WARN msg="fewer descriptors.*max_connections" limit=1000 needed=1100`, startWait)
}

// TestNamesAreLookedUpAgainWhenTheResolverIsBack: the name of a target does not resolve at first, as at the start of a machine.
func TestNamesAreLookedUpAgainWhenTheResolverIsBack(t *testing.T) {
	needRoot(t)
	target := echoServer(t)
	_, port, _ := net.SplitHostPort(target)
	resolver := startResolver(t, "127.0.0.1")
	resolvConf := filepath.Join(t.TempDir(), "resolv.conf")
	must(t, os.WriteFile(resolvConf, []byte("nameserver "+resolver.host+"\noptions timeout:1 attempts:1\n"), 0o644))
	g := startGatewayBy(t, fmt.Sprintf("listen \"127.0.0.1:0\" { name = \"public\" }\nrelay \"echo\" { dial = [\"tcp://worker.example:%s\"] }\nadmin { listen = \"127.0.0.1:0\" }\n", port),
		[]string{"unshare", "--mount", "sh", "-c", `mount --bind ` + resolvConf + ` /etc/resolv.conf && exec "$0" "$@"`})
	addr := g.addr("public")
	if err := goodClient(addr); err == nil {
		t.Fatal("a client was served by a target whose name does not resolve")
	}
	g.waitLog(`result="no target" error=.*worker\.example`, zmqTimeout)
	if status := g.get("/status"); !strings.Contains(status, "worker.example") {
		t.Errorf("the status does not name the target:\n%s", status)
	}
	resolver.works.Store(true)
	eventually(t, zmqTimeout, "a client is served", func() bool { return goodClient(addr) == nil })
	resolver.works.Store(false)
	for range 3 {
		must(t, goodClient(addr)) // what was found goes on to be used
	}
}

// resolver is a DNS server with one answer, or none.
type resolver struct {
	host  string
	works atomic.Bool // or it fails (SERVFAIL)
}

func startResolver(t *testing.T, answer string) *resolver {
	t.Helper()
	pid := os.Getpid() // each run of the tests has an address of its own
	r := &resolver{host: net.IPv4(127, 53, byte(pid>>8), byte(pid)).String()}
	c, err := new(net.ListenConfig).ListenPacket(context.Background(), "udp", net.JoinHostPort(r.host, "53"))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		for b := make([]byte, 4096); ; {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil {
				continue
			}
			m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeServerFailure, nil
			if r.works.Load() {
				m.RCode = dnsmessage.RCodeSuccess
				if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
					m.Answers = []dnsmessage.Resource{{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1},
						Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(answer).To4())},
					}}
				}
			}
			if packed, err := m.Pack(); err == nil {
				c.WriteTo(packed, from)
			}
		}
	}()
	return r
}
