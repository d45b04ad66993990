//go:build libzmq

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	spb "google.golang.org/genproto/googleapis/rpc/status"

	demov1 "gateway/proto/demo/v1"
	gatewayv1 "gateway/proto/gateway/v1"
)

// meetingGateway has every kind of zmq block, and routes to a gRPC and to a ZeroMQ service.
func meetingGateway(t *testing.T) *gatewayProcess {
	t.Helper()
	newService, _ := startGreeter(t, "new", "127.0.0.1:0")
	return startGateway(t, bridgeConfig(`
backend "new" { grpc = [%q] }
backend "old" {
  zmq    = [%q]
  socket = "DEALER"
}
zmq "mapped" {
  match { socket_type = ["REQ"] }
  socket = "REP"
  method = "/demo.v1.Greeter/SayHello"
  to "new" {}
}
zmq "streams" {
  match { identity = "stream" }
  socket = "ROUTER"
  stream = true
  method = "/demo.v1.Greeter/SayHelloBidiStream"
  to "new" {}
}
zmq "forwards" {
  socket = "ROUTER"
  to "old" {}
}
zmq "news" {
  socket      = "PUB"
  method      = "/demo.v1.Greeter/SayHelloServerStream"
  topic_field = 1
  to "new" {}
}
grpc "/demo.v1.Greeter/SayHello" {
  to "old" {}
}
grpc "/gateway.v1.Bridge/*" {
  to "old" {}
}
grpc "*" {
  to "new" {}
}
`, newService, oldGreeter(t, "old")))
}

func TestOldAndNewClientsMeetOldAndNewServicesOnOnePort(t *testing.T) {
	g := meetingGateway(t)
	if by := ask(t, asksAs(t, g), "anna"); by != "new" {
		t.Errorf("the old client was served by %s", by)
	}
	ctx, cancel := context.WithTimeout(t.Context(), zmqTimeout)
	defer cancel()
	calls := callsOf(t, g)
	for range 5 {
		if reply, err := demov1.NewGreeterClient(calls).SayHello(ctx, &demov1.HelloRequest{Name: "bert"}); err != nil || reply.ServedBy != "old" {
			t.Errorf("the new client was served by %v, %v", reply, err)
		}
	}
	raw, err := gatewayv1.NewBridgeClient(calls).Request(ctx, &gatewayv1.Multipart{Frames: [][]byte{[]byte(asks("raw"))}})
	if err != nil || len(raw.Frames) != 1 || servedBy(t, []string{string(raw.Frames[0])}, "raw") != "old" {
		t.Errorf("the raw client got %v, %v", raw, err)
	}
	stream, err := demov1.NewGreeterClient(calls).SayHelloBidiStream(ctx)
	must(t, err, stream.Send(&demov1.HelloRequest{Name: "x"}))
	if reply, err := stream.Recv(); err != nil || reply.ServedBy != "new" {
		t.Errorf("the stream got %v, %v", reply, err)
	}

	dealer := zmqSocket(t, zmq.DEALER)
	must(t, dealer.SetIdentity("stream 1"), dealer.Connect("tcp://"+g.addr("public")))
	for i := range 5 {
		send(t, dealer, asks(fmt.Sprint(i)))
		if by := servedBy(t, recv(t, dealer), fmt.Sprint(i)); by != "new" {
			t.Errorf("the stream of a DEALER was served by %s", by)
		}
	}
	forwarded := zmqSocket(t, zmq.DEALER)
	must(t, forwarded.Connect("tcp://"+g.addr("public")))
	send(t, forwarded, "my id", "", asks("x"))
	got := recv(t, forwarded)
	want(t, got[:2], "my id", "")
	if by := servedBy(t, got[2:], "x"); by != "old" {
		t.Errorf("the forwarded request was served by %s", by)
	}
	sub := zmqSocket(t, zmq.SUB)
	must(t, sub.SetSubscribe("weather"), sub.Connect("tcp://"+g.addr("public")))
	if got := recv(t, sub); len(got) != 2 || got[0] != "weather" || servedBy(t, got[1:], "weather") != "new" {
		t.Errorf("the subscriber got %q", got)
	}
	sub.Close()
	eventually(t, zmqTimeout, "the clients are counted", func() bool {
		return g.metric(`gateway_bridge_calls_total{block="mapped",code="OK"}`) == 1 &&
			g.metric(`gateway_bridge_messages_total{block="forwards",direction="out"}`) == 1 &&
			g.metric(`gateway_bridge_backend_calls_total{backend="old",code="OK"}`) == 6 &&
			g.metric(`gateway_connections_total{block="news",protocol="zmtp",result="client left"}`) == 1
	})
}

func TestKeysAndUsersDecideWhereClientsGo(t *testing.T) {
	newService, _ := startGreeter(t, "new", "127.0.0.1:0")
	first, second, untouched := newCurveKeys(t), newCurveKeys(t), newCurveKeys(t)
	files := t.TempDir()
	must(t, os.WriteFile(filepath.Join(files, "clients"), []byte(first.clientPublic+"\n"), 0o600),
		os.WriteFile(filepath.Join(files, "users"), []byte("# who may\nanna:secret\n"), 0o600))
	vault := oldGreeter(t, "vault", func(s *zmq.Socket) {
		must(t, s.SetCurveServer(1), s.SetCurveSecretkey(untouched.serverSecret))
	})
	block := func(name, access string) string {
		return fmt.Sprintf("zmq %q {\n  socket = \"REP\"\n  method = \"/demo.v1.Greeter/SayHello\"\n  to \"new\" {}\n%s}\n", name, access)
	}
	g := startGateway(t, bridgeConfig("backend \"new\" { grpc = [%q] }\n%s%s%srelay \"vault\" {\n  dial = [%q]\n}\n", newService,
		block("first", fmt.Sprintf("  curve_secret_key = %q\n  curve_clients = %q\n", first.serverSecret, filepath.Join(files, "clients"))),
		block("second", fmt.Sprintf("  curve_secret_key = %q\n", second.serverSecret)),
		block("users", fmt.Sprintf("  plain_users = %q\n", filepath.Join(files, "users"))), vault))
	curve := func(k curveKeys) func(*zmq.Socket) {
		return func(s *zmq.Socket) {
			must(t, s.SetCurveServerkey(k.serverPublic), s.SetCurvePublickey(k.clientPublic), s.SetCurveSecretkey(k.clientSecret))
		}
	}
	for name, c := range map[string]struct {
		client func(*zmq.Socket)
		by     string
		block  string
	}{
		"the first key":    {curve(first), "new", "first"},
		"the second key":   {curve(second), "new", "second"},
		"another key":      {curve(untouched), "vault", "vault"}, // the relay gets its bytes intact
		"a user":           {func(s *zmq.Socket) { must(t, s.SetPlainUsername("anna"), s.SetPlainPassword("secret")) }, "new", "users"},
		"a user elsewhere": {func(s *zmq.Socket) { must(t, s.SetPlainUsername("anna"), s.SetPlainPassword("wrong")) }, "", "users"},
		"an unknown key": {func(s *zmq.Socket) {
			must(t, s.SetCurveServerkey(first.serverPublic), s.SetCurvePublickey(second.clientPublic), s.SetCurveSecretkey(second.clientSecret))
		}, "", "first"},
	} {
		t.Run(name, func(t *testing.T) {
			req := asksAs(t, g, c.client)
			if c.by == "" {
				send(t, req, asks("x"))
				g.waitLog(`block=`+c.block+` .*result="handshake failed"`, zmqTimeout)
				return
			}
			for range 3 {
				if by := ask(t, req, "x"); by != c.by {
					t.Errorf("served by %s, want %s", by, c.by)
				}
			}
			req.Close()
			g.waitLog(`block=`+c.block+` `, zmqTimeout)
		})
	}
}

func TestWeightsOfAReloadCountForClientsThatAreThere(t *testing.T) {
	newService, _ := startGreeter(t, "new", "127.0.0.1:0")
	old := oldGreeter(t, "old")
	config := func(newWeight, oldWeight int) string {
		return bridgeConfig(`
backend "new" { grpc = [%q] }
backend "old" {
  zmq    = [%q]
  socket = "DEALER"
}
zmq "greet" {
  socket = "REP"
  method = "/demo.v1.Greeter/SayHello"
  to "new" { weight = %d }
  to "old" { weight = %d }
}
`, newService, old, newWeight, oldWeight)
	}
	g := startGateway(t, config(0, 1))
	req := asksAs(t, g)
	for _, share := range []int{0, 10, 50, 100, 50} {
		g.replace(config(share, 100-share))
		if code, body := g.post("/reload"); code != 200 {
			t.Fatalf("reload: %d %s", code, body)
		}
		byNew := 0
		for range 100 {
			if ask(t, req, "x") == "new" {
				byNew++
			}
		}
		if byNew < share-1 || byNew > share+1 {
			t.Errorf("%d of 100 requests went to the new service, asked were %d", byNew, share)
		}
	}
	if n := g.metric(`gateway_connections_total{block="greet"`); n != 0 {
		t.Errorf("%v connections ended", n)
	}
}

func TestClientIsToldThatTheServiceIsGoneUntilItIsBack(t *testing.T) {
	newService, stop := startGreeter(t, "new", freeAddr(t)) // which is free again after the stop
	g := startGateway(t, bridgeConfig(`
backend "new" { grpc = [%q] }
backend "gone" {
  zmq    = ["tcp://127.0.0.1:1"]
  socket = "REQ"
}
zmq "greet" {
  match { socket_type = ["REQ"] }
  socket  = "REP"
  method  = "/demo.v1.Greeter/SayHello"
  timeout = "20s"
  to "new" {}
}
grpc "*" {
  to "gone" {}
}
`, newService))
	req := asksAs(t, g)
	ask(t, req, "before")
	stop()
	eventually(t, zmqTimeout, "the client is told", func() bool {
		send(t, req, asks("meanwhile"))
		got := recv(t, req)
		var s spb.Status
		return len(got) == 2 && got[0] == "" && proto.Unmarshal([]byte(got[1]), &s) == nil && codes.Code(s.Code) == codes.Unavailable
	})
	startGreeter(t, "again", newService)
	eventually(t, zmqTimeout, "the client is served again", func() bool {
		send(t, req, asks("after"))
		return len(recv(t, req)) == 1
	})
	ctx, cancel := context.WithTimeout(t.Context(), zmqTimeout)
	defer cancel()
	_, err := demov1.NewGreeterClient(callsOf(t, g)).SayHello(ctx, &demov1.HelloRequest{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `"gone"`) {
		t.Errorf("a call to nobody got %v", err)
	}
}

// TestHostileBytesAtAZMQBlockHarmNobody sends what no ZeroMQ peer sends, beside a client that must not notice.
func TestHostileBytesAtAZMQBlockHarmNobody(t *testing.T) {
	newService, _ := startGreeter(t, "new", "127.0.0.1:0")
	keys := newCurveKeys(t)
	g := startGateway(t, bridgeConfig(`
backend "new" { grpc = [%q] }
zmq "locked" {
  socket           = "REP"
  method           = "/demo.v1.Greeter/SayHello"
  curve_secret_key = %q
  to "new" {}
}
zmq "greet" {
  socket      = "ROUTER"
  method      = "/demo.v1.Greeter/SayHello"
  max_message = "1MiB"
  to "new" {}
}
`, newService, keys.serverSecret))
	before := g.descriptors()
	req := asksAs(t, g)
	ask(t, req, "before")
	null := zmtpGreeting("NULL")
	ready := "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"
	for name, wire := range map[string]string{
		"a frame of 2^62 bytes":       null + ready + "\x02\x40\x00\x00\x00\x00\x00\x00\x00",
		"a message that is too large": null + ready + "\x02\x00\x00\x00\x00\x00\x20\x00\x00",
		"reserved flags":              null + ready + "\xf8\x00",
		"a truncated property":        null + "\x04\x0e\x05READY\x0bSocket",
		"no READY":                    null + "\x04\x06\x05HELLO",
		"a second READY":              null + ready + ready,
		"a socket that does not fit":  null + "\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PULL",
		"a forged HELLO":              zmtpGreeting("CURVE") + forgedHello(),
		"half a HELLO":                zmtpGreeting("CURVE") + forgedHello()[:50],
		"endless MORE":                null + ready + strings.Repeat("\x01\x00", 5000),
	} {
		for range badClientsPerKind {
			c, err := net.Dial("tcp", g.addr("public"))
			must(t, err)
			_, err = c.Write([]byte(wire))
			must(t, err)
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			for b := make([]byte, 512); ; {
				if _, err := c.Read(b); err != nil {
					break
				}
			}
			if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(name, err)
			}
		}
		ask(t, req, name)
	}
	eventually(t, zmqTimeout, "all bad clients are forgotten", func() bool {
		return g.metric(`gateway_bridge_clients{block="greet"}`) == 1 && g.descriptors() <= before+8
	})
}
