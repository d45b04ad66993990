package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// tlsServer shows a certificate for its name, and answers each connection with it.
func tlsServer(t *testing.T, ca *authority, name string, hosts ...string) (addr string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.pair(ca.issue(name, time.Time{}, hosts...))}})
	must(t, err)
	serveFrom(t, l, func(c net.Conn) { io.WriteString(c, name) })
	return l.Addr().String()
}

// byteByByte writes each byte by itself.
type byteByByte struct{ net.Conn }

func (c byteByByte) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// answerOf is who answers a client that asks for a name; its certificate must bear it, or that of whoever answers the rest.
func answerOf(addr string, ca *authority, host string, slowly bool) (string, error) {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer raw.Close()
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	conn := raw
	if slowly {
		conn = byteByByte{raw}
	}
	config := &tls.Config{RootCAs: ca.pool, ServerName: host}
	if host == "" {
		config.InsecureSkipVerify = true
	}
	session := tls.Client(conn, config)
	said, err := io.ReadAll(session)
	return string(said), err
}

// TestTLSGoesThroughByName has three servers behind a port, each with its own certificate, which the gateway does not have.
func TestTLSGoesThroughByName(t *testing.T) {
	ca := newAuthority(t)
	first, second := tlsServer(t, ca, "first", "first.example"), tlsServer(t, ca, "second", "a.second.example", "b.a.second.example")
	rest := tlsServer(t, ca, "rest", "unknown.example", "second.example")
	relay := func(name, sni, target string) string {
		return fmt.Sprintf("relay %q {\n match {\n protocol = \"tls\"\n %s\n }\n dial = [\"tcp://%s\"]\n}\n", name, sni, target)
	}
	g := startGateway(t, "listen \"127.0.0.1:0\" {\n name = \"public\"\n sniff_timeout = \"1s\"\n}\nadmin { listen = \"127.0.0.1:0\" }\n"+
		relay("first", `sni = ["First.example"]`, first)+relay("second", `sni = ["*.second.example"]`, second)+relay("rest", "", rest))
	for _, c := range []struct {
		host, who string
		slowly    bool
	}{
		{"first.example", "first", false}, {"FIRST.example", "first", false}, {"first.example", "first", true},
		{"a.second.example", "second", false}, {"b.a.second.example", "second", true},
		{"second.example", "rest", false}, {"unknown.example", "rest", true}, {"", "rest", false},
	} {
		if who, err := answerOf(g.addr("public"), ca, c.host, c.slowly); who != c.who || err != nil {
			t.Errorf("%q was answered by %q, %v; want %q", c.host, who, err, c.who)
		}
	}
	g.waitLog(`protocol=tls block=first .* sni=first.example`, patience)

	half, err := net.Dial("tcp", g.addr("public"))
	must(t, err)
	defer half.Close()
	_, err = half.Write([]byte("\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03"))
	must(t, err, half.SetReadDeadline(time.Now().Add(patience)))
	if n, err := half.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a client that never ends its hello read %d bytes, %v", n, err)
	}
	if n := g.metric(`gateway_sniff_seconds_count{result="timeout"}`); n != 1 {
		t.Errorf("%v timed out", n)
	}
}

// TestSomeNamesGoThroughAndTheOthersEndHere has both on one port.
func TestSomeNamesGoThroughAndTheOthersEndHere(t *testing.T) {
	ca := newAuthority(t)
	through := tlsServer(t, ca, "through", "through.example")
	cert, key := ca.issue("here", time.Time{}, "here.example", "ssh.here.example")
	config := fmt.Sprintf(`
listen "127.0.0.1:0" {
  name = "public"
  tls {
    cert = %q
    key  = %q
  }
}
relay "through" {
  match {
    protocol = "tls"
    sni      = ["through.example"]
  }
  dial = ["tcp://%s"]
}
relay "named" {
  match {
    protocol = "ssh"
    sni      = ["ssh.here.example"]
  }
  dial = ["tcp://%s"]
}
relay "echo" {
  match { protocol = "any" }
  dial = ["tcp://%s"]
}
`, cert, key, through, echoServer(t), echoServer(t))
	g := startGateway(t, config)
	if who, err := answerOf(g.addr("public"), ca, "through.example", false); who != "through" || err != nil {
		t.Errorf("through.example was answered by %q, %v", who, err)
	}
	for host, block := range map[string]string{"here.example": "echo", "ssh.here.example": "named"} {
		c, err := tls.Dial("tcp", g.addr("public"), &tls.Config{RootCAs: ca.pool, ServerName: host})
		must(t, err)
		defer c.Close()
		const banner = "SSH-2.0-test\r\n"
		_, err = io.WriteString(c, banner)
		must(t, err, c.SetReadDeadline(time.Now().Add(patience)))
		got := make([]byte, len(banner))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != banner {
			t.Errorf("%s: %q, %v", host, got, err)
		}
		c.Close()
		g.waitLog("protocol=ssh block="+block+" .* sni="+host, patience)
	}
	if strings.Contains(g.log.String(), "msg=refused") {
		t.Error("somebody was refused")
	}
}
