//go:build libzmq

package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestUnixSocketIsServedLikeAPort has clients come by one, some behind a proxy that tells whose they are, across a reload.
func TestUnixSocketIsServedLikeAPort(t *testing.T) {
	dir := t.TempDir()
	plain, proxied := filepath.Join(dir, "plain.sock"), filepath.Join(dir, "proxied.sock")
	config := func(idle string) string {
		return fmt.Sprintf(`
listen "unix://%s" { name = "plain" }
listen "unix://%s" {
  name = "proxied"
  proxy_protocol {}
}
limits {
  per_source = 1 # which a client without an address has not to mind
}
relay "far" {
  match { source = ["192.0.2.0/24"] }
  dial = ["tcp://127.0.0.1:1"]
}
relay "echo" {
  dial         = ["tcp://%s"]
  idle_timeout = %q
}
drain_timeout = "100ms"
`, plain, proxied, echoServer(t), idle)
	}
	g := startGateway(t, config("1h"))
	connect := func(path, first string) net.Conn {
		c, err := net.Dial("unix", path)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		_, err = io.WriteString(c, first)
		must(t, err, c.SetDeadline(time.Now().Add(patience)))
		return c
	}
	echoes := func(c net.Conn) {
		t.Helper()
		got := make([]byte, len(zmtpSignature))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != string(zmtpSignature) {
			t.Errorf("read % x, %v", got, err)
		}
	}
	stays := connect(plain, string(zmtpSignature))
	echoes(stays)
	echoes(connect(plain, string(zmtpSignature)))
	echoes(connect(proxied, "PROXY TCP4 198.51.100.7 127.0.0.1 4711 5555\r\n"+string(zmtpSignature)))
	connect(proxied, "PROXY TCP4 192.0.2.7 127.0.0.1 4712 5555\r\n"+string(zmtpSignature))
	g.waitLog(`block=far .*client=192\.0\.2\.7:4712`, patience)

	g.replace(config("2h"))
	g.signal(syscall.SIGHUP)
	g.waitLog("msg=reloaded", patience)
	must(t, echoRound(stays, 7))
	fresh := connect(plain, string(zmtpSignature))
	echoes(fresh)
	fresh.Close()
	g.waitLog(`block=echo .*client=unix`, patience)
	stays.Close()
	g.stop()
	if _, err := os.Stat(plain); !os.IsNotExist(err) {
		t.Errorf("the socket is still there after the end: %v", err)
	}
}
