//go:build libzmq

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFirstClientStartsTheGateway has systemd-socket-activate, which is systemd's own, hold the port.
func TestFirstClientStartsTheGateway(t *testing.T) {
	addr, other := freeAddr(t), freeAddr(t)
	g := launchGateway(t, fmt.Sprintf(`
listen %q { name = "public" }
relay "echo" { dial = ["tcp://%s"] }
`, addr, echoServer(t)), []string{"systemd-socket-activate", "-l", addr, "-l", other, binary})
	g.waitLog("Listening on "+regexp.QuoteMeta(addr), startWait)
	clients := []net.Conn{dialled(t, addr), dialled(t, addr)} // nobody accepts yet
	for _, c := range clients {
		_, err := c.Write(zmtpSignature)
		must(t, err)
	}
	for _, c := range clients {
		must(t, echoed(c, zmtpSignature))
	}
	g.waitLog("sockets that no block listens on.*"+regexp.QuoteMeta(other), startWait)
}

// notifySocket is what a service manager listens on.
type notifySocket struct {
	t    *testing.T
	conn *net.UnixConn
}

func newNotifySocket(t *testing.T) *notifySocket {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &notifySocket{t, c}
}

// wait returns the first message that has all lines; beforehand may come what does not matter.
func (n *notifySocket) wait(lines ...string) string {
	n.t.Helper()
	must(n.t, n.conn.SetReadDeadline(time.Now().Add(startWait)))
	var seen []string
	for {
		b := make([]byte, 4096)
		size, err := n.conn.Read(b)
		if err != nil {
			n.t.Fatalf("%q was not told: %v; but %q", lines, err, seen)
		}
		message := string(b[:size])
		found := 0
		for _, line := range lines {
			if strings.Contains("\n"+message, "\n"+line) {
				found++
			}
		}
		if found == len(lines) {
			return message
		}
		seen = append(seen, message)
	}
}

// TestServiceManagerIsTold follows a gateway from its start through reloads and an upgrade to its stop.
func TestServiceManagerIsTold(t *testing.T) {
	n := newNotifySocket(t)
	t.Setenv("WATCHDOG_USEC", fmt.Sprint((200 * time.Millisecond).Microseconds()))
	config := fmt.Sprintf("listen \"127.0.0.1:0\" { name = \"public\" }\nrelay \"echo\" { dial = [\"tcp://%s\"] }\nadmin { listen = \"127.0.0.1:0\" }\n", echoServer(t))
	g := startGateway(t, config)
	n.wait("READY=1", "STATUS=generation 1")
	n.wait("WATCHDOG=1")
	n.wait("WATCHDOG=1")

	g.signal(syscall.SIGHUP)
	n.wait("RELOADING=1", "MONOTONIC_USEC=")
	n.wait("READY=1", "STATUS=generation 2")
	g.replace("listen {")
	g.signal(syscall.SIGHUP)
	n.wait("RELOADING=1")
	n.wait("READY=1", "STATUS=the last reload was refused, generation 2 goes on")

	g.replace(config)
	before := g.pid()
	g.signal(syscall.SIGUSR2)
	message := n.wait("MAINPID=", "READY=1")
	g.waitLog(`msg=draining successor=\d+`, startWait)
	eventually(t, startWait, "the new process is the one that the service manager was told", func() bool {
		return g.pid() != before && strings.Contains(message, fmt.Sprintf("MAINPID=%d\n", g.pid()))
	})
	eventually(t, stopWait, "the process before ends", func() bool { return strings.Contains(g.log.String(), "msg=stopped") })
	n.wait("WATCHDOG=1") // the new one feeds it: the process before is gone
	g.signal(syscall.SIGTERM)
	n.wait("STOPPING=1")
}

// TestServiceManagerThatDoesNotListenHoldsNothingUp never reads what it is told: its socket fills.
func TestServiceManagerThatDoesNotListenHoldsNothingUp(t *testing.T) {
	newNotifySocket(t)
	t.Setenv("WATCHDOG_USEC", fmt.Sprint((20 * time.Millisecond).Microseconds()))
	g := startGateway(t, fmt.Sprintf("listen \"127.0.0.1:0\" { name = \"public\" }\nrelay \"echo\" { dial = [\"tcp://%s\"] }\nadmin { listen = \"127.0.0.1:0\" }\n", echoServer(t)))
	g.waitLog(`the service manager was not told.*WATCHDOG=1.*timeout`, startWait)
	if code, body := g.post("/reload"); code != http.StatusOK {
		t.Errorf("a reload was answered %d %s", code, body)
	}
	must(t, goodClient(g.addr("public")))
} // and it can be stopped

// TestDrainingProcessOutlivesTheStopOfItsSuccessor: systemd sends TERM to every process of a service that is stopped.
func TestDrainingProcessOutlivesTheStopOfItsSuccessor(t *testing.T) {
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
relay "echo" { dial = ["tcp://%s"] }
admin { listen = "127.0.0.1:0" }
`, echoServer(t)))
	c := signedConn(t, g.addr("public"))
	before := g.pid()
	if code, body := g.post("/upgrade"); code != 200 {
		t.Fatalf("answered %d %s", code, body)
	}
	g.waitLog("msg=draining successor=", startWait)
	must(t, syscall.Kill(before, syscall.SIGTERM))
	g.waitLog(`msg="still draining"`, startWait)
	must(t, echoRound(c, 1))
	must(t, syscall.Kill(before, syscall.SIGTERM))
	g.waitLog(`msg=stopped cut=1`, stopWait)
}

// TestPIDFileThatCannotBeWrittenIsNoReasonToStop also holds that nothing is left when the file is in the way.
func TestPIDFileThatCannotBeWrittenIsNoReasonToStop(t *testing.T) {
	g := startGateway(t, fmt.Sprintf("listen \"127.0.0.1:0\" { name = \"public\" }\nrelay \"echo\" { dial = [\"tcp://%s\"] }\n", echoServer(t)),
		"-pid", filepath.Join(t.TempDir(), "missing", "gateway.pid"))
	g.waitLog("no pid file.*no such file or directory", startWait)
	must(t, goodClient(g.addr("public")))
}
