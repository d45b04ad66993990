package sniff

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/go-zeromq/zmq4"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// recognised checks that the next client of p is taken for protocol, and sends it away.
func recognised(t *testing.T, p *port, protocol string) {
	t.Helper()
	c := p.next()
	defer c.end()
	if c.Protocol() != protocol {
		t.Errorf("recognised as %q, want %q: %x", c.Protocol(), protocol, c.Prefix())
	}
}

func TestRealGoZeroMQ(t *testing.T) {
	p := open(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	push := zmq4.NewPush(ctx, zmq4.WithDialerMaxRetries(0))
	defer push.Close()
	go func() { _ = push.Dial("tcp://" + p.addr) }()
	recognised(t, p, "zmtp")
}

func TestRealGRPC(t *testing.T) {
	p := open(t, Options{})
	client, err := grpc.NewClient("passthrough:"+p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Connect()
	recognised(t, p, "http2")
}

func TestRealHTTP(t *testing.T) {
	p := open(t, Options{})
	methods := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for _, method := range methods {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.addr+"/chat", nil)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			response, err := transport.RoundTrip(request)
			if err == nil {
				response.Body.Close()
			}
			done <- err
		}()
		c := p.next()
		if c.Protocol() != "http1" {
			t.Errorf("%s: recognised as %q", method, c.Protocol())
		}
		io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		c.end()
		if err := receive(t, done, "the answer"); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestRealTLS(t *testing.T) {
	p := open(t, Options{})
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS12, tls.VersionTLS13} {
		raw := p.dial("")
		client := tls.Client(raw, &tls.Config{ServerName: "gateway.example", MinVersion: version, MaxVersion: version})
		done := make(chan error, 1)
		go func() { done <- client.Handshake() }()
		recognised(t, p, "tls")
		receive(t, done, "the handshake to fail")
	}
}

func TestRealSSH(t *testing.T) {
	p := open(t, Options{})
	raw := p.dial("")
	done := make(chan error, 1)
	go func() {
		_, _, _, err := ssh.NewClientConn(raw, p.addr, &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()})
		done <- err
	}()
	recognised(t, p, "ssh")
	receive(t, done, "the handshake to fail")
}

// A listener that terminates TLS hands in connections that shake hands at their first read: one deadline covers both,
// and what is inside is what is recognised.
func TestInsideOfTLSIsRecognised(t *testing.T) {
	certificate := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := openOn(t, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}}), Options{})
	silent := p.dial("\x16\x03\x01")
	for _, s := range samples {
		client := tls.Client(p.dial(""), &tls.Config{InsecureSkipVerify: true})
		if _, err := io.WriteString(client, s.bytes); err != nil {
			t.Fatal(err)
		}
		c := p.next()
		if c.Protocol() != s.protocol {
			t.Errorf("%s: recognised as %q", s.peer, c.Protocol())
		}
		expectRead(t, c, s.bytes)
		io.WriteString(c, "answer")
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if all, err := io.ReadAll(client); string(all) != "answer" || err != nil {
			t.Errorf("%s: the client read %q, %v", s.peer, all, err)
		}
		c.end()
	}
	p.server.Close()
	expectEnd(t, silent)
}
