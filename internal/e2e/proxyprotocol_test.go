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
	"strings"
	"testing"
	"time"
)

// haproxy runs HAProxy with a configuration in which %d stands for the descriptor of a listener on a free port.
func haproxy(t *testing.T, config string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	must(t, err)
	defer socket.Close()
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	const firstExtra = 3
	must(t, os.WriteFile(file, fmt.Appendf(nil, "defaults\n timeout client 1m\n timeout server 1m\n timeout connect 5s\n"+config, firstExtra), 0o600))
	var said bytes.Buffer
	cmd := exec.Command("haproxy", "-db", "-f", file)
	cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = []*os.File{socket}, &said, &said
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("HAProxy said:\n%s", said.String())
		}
	})
	return l.Addr().String()
}

// clientFrom is an HTTP client whose connections come from a loopback address, each request on its own.
func clientFrom(host string) *http.Client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, addr)
		},
	}}
}

func getFrom(host, addr string) (string, error) {
	r, err := clientFrom(host).Get("http://" + addr + "/")
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return string(body), err
}

// TestClientsAddressTravelsThroughHAProxyAndTheGateway puts HAProxy in front, which sends PROXY headers, and another one
// behind, which reads one and answers with the client's address.
func TestClientsAddressTravelsThroughHAProxyAndTheGateway(t *testing.T) {
	teller := haproxy(t, `
frontend in
 mode http
 bind fd@%d accept-proxy
 http-request return status 200 content-type text/plain lf-string "%%[src] to %%[dst]"
`)
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" {
  name = "public"
  proxy_protocol { trust = ["127.0.0.1/32"] }
}
relay "known" {
  match {
    protocol = "http1"
    source   = ["127.0.0.9/32"]
  }
  dial           = ["tcp://%s"]
  proxy_protocol = "v2"
}
admin { listen = "127.0.0.1:0" }
`, teller))
	for _, version := range []string{"send-proxy", "send-proxy-v2"} {
		front := haproxy(t, fmt.Sprintf("listen in\n mode tcp\n bind fd@%%d\n server gateway %s %s\n", g.addr("public"), version))
		host, _, err := net.SplitHostPort(front)
		must(t, err)
		body, err := getFrom("127.0.0.9", front)
		if want := "127.0.0.9 to " + host; err != nil || body != want {
			t.Errorf("%s: the target was told %q, %v; want %q", version, body, err, want)
		}
		// Another client behind the same HAProxy is another source.
		if body, err := getFrom("127.0.0.10", front); err != nil || !strings.Contains(body, "Nothing is configured") {
			t.Errorf("%s: 127.0.0.10 got %q, %v", version, body, err)
		}
	}
	// Who comes directly is served by its own address, without a header.
	if body, err := getFrom("127.0.0.9", g.addr("public")); err != nil || body != "127.0.0.9 to 127.0.0.1" {
		t.Errorf("a direct client got %q, %v", body, err)
	}
	g.waitLog(`block=known target=\S+ client=127\.0\.0\.9:`, patience)
	g.waitLog(`block=http client=127\.0\.0\.10:`, patience)
	if strings.Contains(g.get("/metrics"), "127.0.0.9") {
		t.Error("a metric tells a client's address")
	}
}

// TestForgedProxyHeaderIsRefused sends headers from where nobody is trusted, and none from where one is a must.
func TestForgedProxyHeaderIsRefused(t *testing.T) {
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" {
  name = "public"
  proxy_protocol { trust = ["127.0.0.1/32"] }
}
relay "echo" { dial = ["tcp://%s"] }
admin { listen = "127.0.0.1:0" }
`, echoServer(t)))
	for _, c := range []struct{ from, first, reason string }{
		{"127.0.0.2", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + string(zmtpSignature), "proxy_header_untrusted"},
		{"127.0.0.1", "SSH-2.0-nobody\r\n", "proxy_header_missing"},
		{"127.0.0.1", "PROXY TCP4 somebody 10.0.0.2 1 2\r\n" + string(zmtpSignature), "proxy_header_malformed"},
	} {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}}
		conn, err := d.Dial("tcp", g.addr("public"))
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		_, err = io.WriteString(conn, c.first)
		must(t, err, conn.SetReadDeadline(time.Now().Add(patience)))
		if n, err := conn.Read(make([]byte, 1)); n != 0 || os.IsTimeout(err) {
			t.Errorf("%q from %s: read %d bytes, %v", c.first, c.from, n, err)
		}
		eventually(t, patience, c.reason+" is counted", func() bool {
			return g.metric(fmt.Sprintf(`gateway_refused_total{listener="public",reason=%q}`, c.reason)) == 1
		})
	}
	g.waitLog("msg=refused .*reason=proxy_header_untrusted client=127.0.0.2:", patience)
	conn, err := net.Dial("tcp", g.addr("public"))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"+string(zmtpSignature))
	must(t, err, conn.SetReadDeadline(time.Now().Add(patience)))
	if _, err = io.ReadFull(conn, make([]byte, len(zmtpSignature))); err != nil {
		t.Errorf("a client behind the trusted proxy: %v", err)
	}
}
