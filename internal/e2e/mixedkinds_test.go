//go:build libzmq

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"github.com/gorilla/websocket"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"gateway/internal/zmtp"
)

// mixedKinds are clients of every protocol, by how often they come in a hundred. Each says a text that nobody else says, and
// takes no other answer.
func mixedKinds(public, secure string, pool *x509.CertPool, keys curveKeys) []mixedKind {
	kinds := []mixedKind{
		{name: "ZMTP relayed", weight: 42, addr: public, net: 1, talk: talkRelayed},
		{name: "ZMTP paired", weight: 8, addr: public, net: 2, talk: func(c net.Conn, text string) error {
			return talkZMTP(c, text, "worker ", zmtp.Null{})
		}},
		{name: "CURVE", weight: 4, addr: public, net: 3, talk: talkCurve(keys)},
		{name: "CURVE HELLO forged", weight: 4, addr: public, net: 3, talk: talkForged},
		{name: "gRPC", weight: 6, addr: public, net: 4, talk: talkGRPC},
		{name: "HTTP/1", weight: 10, addr: public, net: 5, talk: talkHTTP},
		{name: "SockJS", weight: 5, addr: public, net: 6, talk: talkSockJS},
		{name: "TLS", weight: 5, addr: secure, net: 7, talk: talkTLS(pool)},
		{name: "SSH", weight: 1, addr: public, net: 8, talk: talkSSH},
		{name: "junk", weight: 15, addr: public, net: 9, talk: talkJunk},
	}
	for i := range kinds {
		kinds[i].count = new(atomic.Int64)
	}
	return kinds
}

// talkRelayed has an echo server at the other end.
func talkRelayed(c net.Conn, text string) error {
	sent := append(append([]byte(nil), zmtpSignature...), text...)
	if _, err := c.Write(sent); err != nil {
		return err
	}
	return wantBytes(c, string(sent))
}

func wantBytes(c io.Reader, want string) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

// talkZMTP has a libzmq ROUTER at the other end, which answers with its tag before the text.
func talkZMTP(c net.Conn, text, tag string, security zmtp.Security) error {
	ctx, cancel := context.WithTimeout(context.Background(), mixedWait)
	defer cancel()
	conn, err := zmtp.Connect(ctx, c, zmtp.Options{SocketType: zmtp.DEALER, Security: security})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Send(ctx, zmtp.NewMessage([]byte(text))); err != nil {
		return err
	}
	var m zmtp.Message
	if err := conn.Recv(&m); err != nil {
		return err
	}
	if m.Len() != 1 || string(m.Part(0)) != tag+text {
		return fmt.Errorf("got %q, want %q", m.Parts(), tag+text)
	}
	return nil
}

func talkCurve(keys curveKeys) func(net.Conn, string) error {
	return func(c net.Conn, text string) error {
		server, err := zmtp.ParsePublicKey(keys.serverPublic)
		if err != nil {
			return err
		}
		return talkZMTP(c, text, "vault ", zmtp.CurveClient{Server: server})
	}
}

// talkForged sends what only the server can tell from a good HELLO, and is not answered.
func talkForged(c net.Conn, _ string) error {
	if _, err := io.WriteString(c, zmtpGreeting("CURVE")+forgedHello()); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, len(zmtpGreeting("CURVE"))))
	return err
}

func talkGRPC(c net.Conn, text string) error {
	dialled := make(chan net.Conn, 1)
	dialled <- c
	conn, err := grpc.NewClient("passthrough:///mixed", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			select {
			case c := <-dialled:
				return c, nil
			default:
				return nil, errFault // it has one connection
			}
		}))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), mixedWait)
	defer cancel()
	reply, err := testgrpc.NewTestServiceClient(conn).UnaryCall(ctx, &testgrpc.SimpleRequest{
		ResponseSize: int32(len(text)), Payload: &testgrpc.Payload{Body: []byte(text)},
	})
	if err == nil && len(reply.GetPayload().GetBody()) != len(text) {
		err = fmt.Errorf("the reply has %d bytes, want %d", len(reply.GetPayload().GetBody()), len(text))
	}
	return err
}

func talkHTTP(c net.Conn, text string) error {
	if _, err := fmt.Fprintf(c, "GET /chat/info HTTP/1.1\r\nHost: edge.example\r\nX-Text: %s\r\nConnection: close\r\n\r\n", text); err != nil {
		return err
	}
	return wantInfo(c)
}

// wantInfo reads the answer to a SockJS client's first question.
func wantInfo(c io.Reader) error {
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && (r.StatusCode != http.StatusOK || !strings.Contains(string(body), "websocket")) {
		err = fmt.Errorf("answered %s %q", r.Status, body)
	}
	return err
}

func talkSockJS(c net.Conn, text string) error {
	dialer := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
	ws, _, err := dialer.Dial("ws://edge.example/chat/websocket", nil)
	if err != nil {
		return err
	}
	b := plainBrowser{ws}
	defer b.Close()
	return b.ask(text, text)
}

func talkTLS(pool *x509.CertPool) func(net.Conn, string) error {
	config := &tls.Config{RootCAs: pool, ServerName: "edge.example"}
	return func(c net.Conn, text string) error { return talkHTTP(tls.Client(c, config), text) }
}

func talkSSH(c net.Conn, text string) error {
	conn, channels, requests, err := ssh.NewClientConn(c, "edge", &ssh.ClientConfig{
		User: "test", HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		return err
	}
	client := ssh.NewClient(conn, channels, requests)
	defer client.Close()
	ok, reply, err := client.SendRequest("echo@test", true, []byte(text))
	if err == nil && (!ok || string(reply) != text) {
		err = fmt.Errorf("answered %v %q", ok, reply)
	}
	return err
}

// talkJunk is closed without an answer, at once.
func talkJunk(c net.Conn, text string) error {
	if _, err := io.WriteString(c, "\x00junk: "+text); err != nil {
		return nil // closed already
	}
	n, err := c.Read(make([]byte, 1))
	switch {
	case n > 0:
		return errors.New("junk was answered")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("junk was not turned away: %w", err)
	}
	return nil
}
