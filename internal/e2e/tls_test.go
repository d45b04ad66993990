//go:build libzmq

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc/credentials"
)

// tlsConfig is a gateway that terminates TLS and serves every protocol inside. More stands in the listen block.
func tlsConfig(t *testing.T, zmqTarget, more string) string {
	return fmt.Sprintf(`
listen "127.0.0.1:0" {
  name          = "public"
  sniff_timeout = "10s"
  %s
}
relay "messages" {
  match { mechanism = ["NULL"] }
  dial = [%q]
}
relay "ssh" {
  match { protocol = "ssh" }
  dial = ["tcp://%s"]
}
backend "interop" { grpc = [%q] }
grpc "*" {
  to "interop" {}
}
admin { listen = "127.0.0.1:0" }
`, more, zmqTarget, sshServer(t), grpcServer(t))
}

func tlsBlock(cert, key string, more ...string) string {
	return fmt.Sprintf("tls {\n cert = %q\n key = %q\n %s\n}\n", cert, key, strings.Join(more, "\n"))
}

// intoTLS is a port whose connections go into TLS, for clients that know none.
func intoTLS(t *testing.T, addr string, config *tls.Config) string {
	t.Helper()
	return serveEach(t, "127.0.0.1", func(c net.Conn) {
		session, err := tls.Dial("tcp", addr, config)
		if err != nil {
			return
		}
		defer session.Close()
		go func() {
			io.Copy(session, c)
			session.CloseWrite()
		}()
		io.Copy(c, session)
	})
}

// TestEveryProtocolIsServedInsideTLS has libzmq, grpc-go, a browser's HTTP and SSH come in TLS, through one port.
func TestEveryProtocolIsServedInsideTLS(t *testing.T) {
	ca := newAuthority(t)
	pull, endpoint := bound(t, zmq.PULL)
	g := startGateway(t, tlsConfig(t, endpoint, tlsBlock(ca.issue("edge", time.Time{}, "edge.example"))))
	addr, config := g.addr("public"), &tls.Config{RootCAs: ca.pool, ServerName: "edge.example"}
	inside := intoTLS(t, addr, config)

	push := zmqSocket(t, zmq.PUSH)
	must(t, push.Connect("tcp://"+inside))
	for _, m := range messages {
		send(t, push, m...)
		want(t, recv(t, pull), m...)
	}
	grpcCallsBy(t, addr, credentials.NewTLS(config))
	must(t, sshRoundTrip(inside))
	client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: config}}
	r, err := client.Get("https://" + addr + "/nothing")
	must(t, err)
	defer r.Body.Close()
	if r.StatusCode != http.StatusNotFound {
		t.Errorf("HTTP/1.1 was answered %s", r.Status)
	}
	for _, sample := range []string{`block="messages",protocol="zmtp"`, `block="ssh",protocol="ssh"`, `block="grpc",protocol="http2"`} {
		push.Close()
		eventually(t, patience, sample+" is counted", func() bool { return g.metric("gateway_connections_total{"+sample) > 0 })
	}
}

// openssl is what OpenSSL's client says of the gateway's handshake.
func openssl(t *testing.T, addr string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", addr}, args...)...)
	out, _ := cmd.CombinedOutput() // the gateway closes what says nothing inside, which is no success to it
	return string(out)
}

// TestCertificateIsChosenByName asks with OpenSSL for names that certificates bear, and for none.
func TestCertificateIsChosenByName(t *testing.T) {
	ca := newAuthority(t)
	blocks := tlsBlock(ca.issue("first", time.Time{}, "first.example")) + tlsBlock(ca.issue("second", time.Time{}, "second.example", "*.second.example"))
	g := startGateway(t, tlsConfig(t, "tcp://127.0.0.1:1", blocks))
	for _, c := range []struct{ ask, subject string }{
		{"-servername=first.example", "first"}, {"-servername=second.example", "second"}, {"-servername=deep.second.example", "second"},
		{"-servername=unknown.example", "first"}, {"-noservername", "first"},
	} {
		said := openssl(t, g.addr("public"), append(strings.Split(c.ask, "="), "-alpn", "h2", "-CAfile", ca.file)...)
		if !strings.Contains(said, "subject=CN = "+c.subject+"\n") || !strings.Contains(said, "Verify return code: 0 (ok)") || !strings.Contains(said, "ALPN protocol: h2") {
			t.Errorf("%s: not the certificate %q:\n%s", c.ask, c.subject, said)
		}
	}
}

// TestClientWithoutCertificateIsRefused asks for certificates of one authority.
func TestClientWithoutCertificateIsRefused(t *testing.T) {
	ca, clients, others := newAuthority(t), newAuthority(t), newAuthority(t)
	cert, key := ca.issue("edge", time.Time{}, "edge.example")
	g := startGateway(t, tlsConfig(t, "tcp://127.0.0.1:1", tlsBlock(cert, key, fmt.Sprintf("client_ca = %q", clients.file))))
	get := func(certificates ...tls.Certificate) error {
		config := &tls.Config{RootCAs: ca.pool, ServerName: "edge.example", Certificates: certificates}
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		r, err := (&http.Client{Timeout: patience, Transport: transport}).Get("https://" + g.addr("public"))
		if err == nil {
			r.Body.Close()
		}
		return err
	}
	must(t, get(clients.pair(clients.issue("client", time.Time{}))))
	for name, err := range map[string]error{
		"no certificate":             get(),
		"another authority's":        get(others.pair(others.issue("client", time.Time{}))),
		"one that is no longer good": get(clients.pair(clients.issue("late", time.Now().Add(-time.Hour)))),
	} {
		if err == nil {
			t.Errorf("%s: served", name)
		}
	}
	eventually(t, patience, "all are counted", func() bool {
		return g.metric(`gateway_refused_total{listener="public",reason="client_certificate"}`) == 2 &&
			g.metric(`gateway_refused_total{listener="public",reason="tls_handshake"}`) == 1
	})
	g.waitLog("refused.*reason=(client_certificate|tls_handshake).*error=.*certificate", patience)
}

// TestRenewedCertificateIsTakenUpWithoutARestart puts a new one in place while a connection is open, and a broken one before.
func TestRenewedCertificateIsTakenUpWithoutARestart(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue("edge", time.Time{}, "edge.example")
	g := startGateway(t, tlsConfig(t, "tcp://"+echoServer(t), tlsBlock(cert, key)))
	config := &tls.Config{RootCAs: ca.pool, ServerName: "edge.example", NextProtos: []string{"h2"}}
	shake := func() tls.ConnectionState {
		c, err := tls.Dial("tcp", g.addr("public"), config)
		must(t, err)
		defer c.Close()
		return c.ConnectionState()
	}
	before := shake()
	plain := config.Clone()
	plain.NextProtos = nil
	open, err := net.Dial("tcp", intoTLS(t, g.addr("public"), plain))
	must(t, err)
	defer open.Close()
	_, err = open.Write([]byte(sshHello))
	must(t, err)

	must(t, os.WriteFile(cert, []byte("not a certificate"), 0o600))
	eventually(t, patience, "the broken file is complained about", func() bool {
		if !shake().PeerCertificates[0].Equal(before.PeerCertificates[0]) {
			t.Fatal("another certificate is shown")
		}
		return strings.Contains(g.log.String(), "files have changed but cannot be used")
	})
	notAfter := time.Now().Add(30 * time.Hour)
	ca.issue("edge", notAfter, "edge.example")
	eventually(t, patience, "the new certificate is shown", func() bool {
		now := shake()
		if now.NegotiatedProtocol != "h2" {
			t.Fatal("ALPN was lost")
		}
		return !now.PeerCertificates[0].Equal(before.PeerCertificates[0])
	})
	if n := g.metric(`gateway_certificate_not_after_seconds{file="` + cert); n != float64(notAfter.Unix()) {
		t.Errorf("the metric says it is good until %v, want %v", n, notAfter.Unix())
	}
	must(t, open.SetReadDeadline(time.Now().Add(patience)))
	if _, err := open.Read(make([]byte, 1)); err != nil { // the SSH server's banner
		t.Errorf("the connection from before broke: %v", err)
	}
	if n := g.metric("gateway_generation "); n != 1 {
		t.Errorf("generation %v: it was reloaded", n)
	}
}

// TestRequestForAnotherNameIsMisdirected coalesces requests as browsers do, on a connection whose certificate bears another
// name, over HTTP/1.1 and HTTP/2.
func TestRequestForAnotherNameIsMisdirected(t *testing.T) {
	ca := newAuthority(t)
	blocks := tlsBlock(ca.issue("first", time.Time{}, "first.example", "also.example")) + tlsBlock(ca.issue("second", time.Time{}, "second.example"))
	g := startGateway(t, tlsConfig(t, "tcp://127.0.0.1:1", blocks))
	config := &tls.Config{RootCAs: ca.pool, ServerName: "first.example"}
	var second http.Protocols
	second.SetHTTP2(true)
	http1, http2 := &http.Transport{TLSClientConfig: config}, &http.Transport{TLSClientConfig: config, Protocols: &second}
	for _, c := range []struct {
		by     *http.Transport
		host   string
		status int
	}{
		{http1, "first.example", 404}, {http1, "First.Example:443", 404}, {http1, "also.example", 404},
		{http1, "second.example", 421}, {http1, "unknown.example", 421}, {http1, "127.0.0.1", 404}, {http1, "[::1]:443", 404},
		{http2, "first.example", 415}, {http2, "also.example:1", 415},
		{http2, "second.example", 421}, {http2, "unknown.example", 421},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+g.addr("public")+"/x", strings.NewReader("{}"))
		must(t, err)
		r.Host = c.host
		answer, err := (&http.Client{Timeout: patience, Transport: c.by}).Do(r)
		must(t, err)
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != c.status {
			t.Errorf("%s for %s: %s %s, want %d", answer.Proto, c.host, answer.Status, text, c.status)
		}
	}
	grpcCallsBy(t, g.addr("public"), credentials.NewTLS(config))
}

// TestPlainClientOfATLSPortLearnsWhy has them come without TLS.
func TestPlainClientOfATLSPortLearnsWhy(t *testing.T) {
	ca := newAuthority(t)
	g := startGateway(t, tlsConfig(t, "tcp://127.0.0.1:1", tlsBlock(ca.issue("edge", time.Time{}, "edge.example"))))
	r, err := http.Post("http://"+g.addr("public"), "text/plain", strings.NewReader(strings.Repeat("long ", 10000)))
	must(t, err)
	text, err := io.ReadAll(r.Body)
	r.Body.Close()
	if r.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "https://") {
		t.Errorf("%s %q, %v", r.Status, text, err)
	}
	if !closed(knock(t, "127.0.0.1", g.addr("public"), sshHello)) {
		t.Error("SSH without TLS was served")
	}
	push := zmqSocket(t, zmq.PUSH)
	must(t, push.Connect("tcp://"+g.addr("public")))
	eventually(t, patience, "libzmq is held silent", func() bool { return g.metric("gateway_held ") == 1 })
	if n := g.metric(`gateway_refused_total{listener="public",reason="plain_on_tls"}`); n != 3 {
		t.Errorf("%v refused", n)
	}
}

// TestExpiredCertificateIsSaidClearly starts with one: service goes on, for other names and for whoever does not care.
func TestExpiredCertificateIsSaidClearly(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue("edge", time.Now().Add(-time.Hour), "edge.example")
	g := startGateway(t, tlsConfig(t, "tcp://127.0.0.1:1", tlsBlock(cert, key)))
	if !strings.Contains(g.log.String(), "The certificate has expired") {
		t.Error("the start says nothing of it")
	}
	_, err := tls.Dial("tcp", g.addr("public"), &tls.Config{RootCAs: ca.pool, ServerName: "edge.example"})
	if err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("the client was told %v", err)
	}
	g.waitLog("a certificate has expired, clients will refuse it.*certificate=|certificate=.*a certificate has expired", patience)
	must(t, os.Remove(key))
	g.replace(strings.ReplaceAll(tlsConfig(t, "tcp://127.0.0.1:2", tlsBlock(cert, key)), "10s", "11s"))
	if code, body := g.post("/reload"); code != http.StatusUnprocessableEntity || !strings.Contains(body, "there is no file "+key) {
		t.Errorf("a reload without the key was answered %d %s", code, body)
	}
}

// TestReloadPutsTLSAndAProxyBeforeAPort changes what comes first on a port, under a connection that came before.
func TestReloadPutsTLSAndAProxyBeforeAPort(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue("edge", time.Time{}, "edge.example")
	target := echoServer(t)
	config := func(more string) string {
		return fmt.Sprintf("listen \"127.0.0.1:0\" {\n name = \"public\"\n %s\n}\nrelay \"echo\" {\n match { protocol = \"any\" }\n dial = [\"tcp://%s\"]\n}\nadmin { listen = \"127.0.0.1:0\" }\n", more, target)
	}
	g := startGateway(t, config(""))
	addr := g.addr("public")
	first := knock(t, "127.0.0.1", addr, sshHello)
	if !served(first, sshHello) {
		t.Fatal("a plain client was not served")
	}
	reload := func(more string, want int) {
		t.Helper()
		g.replace(config(more))
		if code, body := g.post("/reload"); code != want {
			t.Fatalf("the reload was answered %d %s", code, body)
		}
	}
	reload(tlsBlock(cert, key+".none"), http.StatusUnprocessableEntity)
	if !served(knock(t, "127.0.0.1", addr, sshHello), sshHello) {
		t.Error("after a reload that was refused a plain client is not served any more")
	}
	reload(tlsBlock(cert, key), http.StatusOK)
	if !closed(knock(t, "127.0.0.1", addr, sshHello)) {
		t.Error("a plain client is served beside TLS")
	}
	overTLS := intoTLS(t, addr, &tls.Config{RootCAs: ca.pool, ServerName: "edge.example"})
	if !served(knock(t, "127.0.0.1", overTLS, sshHello), sshHello) {
		t.Error("a TLS client was not served")
	}
	reload("proxy_protocol {\n trust = [\"127.0.0.1/32\"]\n}", http.StatusOK)
	header := "PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n"
	if !served(knock(t, "127.0.0.1", addr, header+sshHello), sshHello) {
		t.Error("a client behind a proxy was not served")
	}
	if !closed(knock(t, "127.0.0.1", addr, sshHello)) {
		t.Error("the trusted proxy sent no header and was served")
	}
	must(t, echoRound(first, 1))
}
