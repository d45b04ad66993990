//go:build libzmq

package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// knock connects from a loopback address and sends what a client says first.
func knock(t *testing.T, from, addr, first string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = io.WriteString(c, first)
	must(t, err, c.SetReadDeadline(time.Now().Add(patience)))
	return c
}

// served tells whether the gateway relays c to an echo server.
func served(c net.Conn, first string) bool {
	got := make([]byte, len(first))
	_, err := io.ReadFull(c, got)
	return err == nil && string(got) == first
}

// closed tells whether the gateway has closed c, which got nothing.
func closed(c net.Conn) bool {
	n, err := c.Read(make([]byte, 1))
	return n == 0 && err != nil && !os.IsTimeout(err)
}

const sshHello = "SSH-2.0-test\r\n"

func limitsConfig(limits, source, target string) string {
	return fmt.Sprintf(`
listen "127.0.0.1:0" {
  name = "public"
  %s
}
limits { %s }
relay "ssh" {
  match { protocol = "ssh" }
  dial = ["tcp://%s"]
}
relay "zmq" { dial = ["tcp://%s"] }
admin { listen = "127.0.0.1:0" }
`, source, limits, target, target)
}

// TestSourceWithTooManyConnectionsDoesNotKeepOthersOut also reloads the limits.
func TestSourceWithTooManyConnectionsDoesNotKeepOthersOut(t *testing.T) {
	target := echoServer(t)
	g := startGateway(t, limitsConfig("per_source = 3", "", target))
	addr := g.addr("public")
	var first net.Conn
	for range 3 {
		first = knock(t, "127.0.0.2", addr, sshHello)
		if !served(first, sshHello) {
			t.Fatal("a connection within the limit was not served")
		}
	}
	if !closed(knock(t, "127.0.0.2", addr, sshHello)) {
		t.Error("the fourth connection of a source was served")
	}
	if !served(knock(t, "127.0.0.3", addr, sshHello), sshHello) {
		t.Error("another source was not served")
	}
	if n := g.metric(`gateway_refused_total{listener="public",reason="per_source"}`); n != 1 {
		t.Errorf("%v counted", n)
	}
	first.Close()
	eventually(t, patience, "a place is free again", func() bool {
		return served(knock(t, "127.0.0.2", addr, sshHello), sshHello)
	})
	g.replace(limitsConfig("per_source = 4", "", target))
	g.signal(syscall.SIGHUP)
	g.waitLog("msg=reloaded", patience)
	if !served(knock(t, "127.0.0.2", addr, sshHello), sshHello) {
		t.Error("the limit was raised, and the next connection refused")
	}
	if !closed(knock(t, "127.0.0.2", addr, sshHello)) {
		t.Error("a reload forgot the connections from before: one more was served than is allowed")
	}
}

func TestConnectionsThatComeTooFastAreRefused(t *testing.T) {
	g := startGateway(t, limitsConfig("new_per_source = 1", "", echoServer(t)))
	const sent = 20
	refused := 0
	for range sent {
		if !served(knock(t, "127.0.0.2", g.addr("public"), sshHello), sshHello) {
			refused++
		}
	}
	counted := g.metric(`gateway_refused_total{listener="public",reason="new_per_source"}`)
	if refused == 0 || refused == sent || counted != float64(refused) {
		t.Errorf("%d of %d refused, %v counted", refused, sent, counted)
	}
	eventually(t, patience, "it is served later", func() bool {
		return served(knock(t, "127.0.0.2", g.addr("public"), sshHello), sshHello)
	})
}

// TestRefusedLibzmqClientIsHeldSilent has a real libzmq client come from an address that is not welcome: closed, it would come
// back ten times a second.
func TestRefusedLibzmqClientIsHeldSilent(t *testing.T) {
	g := startGateway(t, limitsConfig("held = 10", `source = ["127.0.0.1/32"]`, echoServer(t)))
	push := zmqSocket(t, zmq.PUSH)
	must(t, push.Connect("tcp://127.0.0.2:0;"+g.addr("public")))
	eventually(t, patience, "the client is held", func() bool { return g.metric("gateway_held ") == 1 })
	if !closed(knock(t, "127.0.0.2", g.addr("public"), sshHello)) {
		t.Error("a client that is no libzmq was not closed")
	}
	if err := goodClient(g.addr("public")); err != nil {
		t.Errorf("a welcome client: %v", err)
	}
	const silence = time.Second // ten attempts of a libzmq client that is closed
	held := knock(t, "127.0.0.2", g.addr("public"), string(zmtpSignature))
	must(t, held.SetReadDeadline(time.Now().Add(silence)))
	if n, err := held.Read(make([]byte, 1)); n != 0 || !os.IsTimeout(err) {
		t.Errorf("the held one read %d bytes, %v", n, err)
	}
	if n := g.metric(`gateway_refused_total{listener="public",reason="source"}`); n != 3 {
		t.Errorf("%v refused, want 3: a libzmq client, the same by hand, another", n)
	}
	if strings.Contains(g.get("/metrics"), "127.0.0.2") {
		t.Error("a metric tells a client's address")
	}
}
