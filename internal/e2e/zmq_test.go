//go:build libzmq

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// zmqTimeout bounds each send and receive: a lost message fails the test instead of hanging it, also on a busy machine.
const zmqTimeout = time.Minute

// zmqSocket makes a libzmq socket that times out and does not linger past the test.
func zmqSocket(t *testing.T, kind zmq.Type) *zmq.Socket {
	t.Helper()
	s, err := zmq.NewSocket(kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	must(t, s.SetSndtimeo(zmqTimeout), s.SetRcvtimeo(zmqTimeout), s.SetLinger(0))
	return s
}

// bound is a libzmq socket bound to a free port of loopback, and its address as tcp://host:port.
func bound(t *testing.T, kind zmq.Type, prepare ...func(*zmq.Socket)) (s *zmq.Socket, endpoint string) {
	t.Helper()
	s = zmqSocket(t, kind)
	for _, p := range prepare {
		p(s)
	}
	must(t, s.Bind("tcp://127.0.0.1:*"))
	endpoint, err := s.GetLastEndpoint()
	must(t, err)
	return s, strings.TrimRight(endpoint, "\x00")
}

func send(t *testing.T, s *zmq.Socket, parts ...string) {
	t.Helper()
	if _, err := s.SendMessage(parts); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func recv(t *testing.T, s *zmq.Socket) []string {
	t.Helper()
	parts, err := s.RecvMessage(0)
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	return parts
}

// want compares a message, part by part.
func want(t *testing.T, got []string, parts ...string) {
	t.Helper()
	if len(got) != len(parts) {
		t.Fatalf("got %d parts, want %d", len(got), len(parts))
	}
	for i := range parts {
		if got[i] != parts[i] {
			t.Fatalf("part %d: got %d bytes %.40q, want %d bytes %.40q", i, len(got[i]), got[i], len(parts[i]), parts[i])
		}
	}
}

// messages are what each pattern must carry: small, multipart, empty frames, a megabyte.
var messages = [][]string{
	{"hello"},
	{"", "body", ""},
	{"a", "", "c", "", ""},
	{""},
	{strings.Repeat("x", 1<<20)},
	{"head", strings.Repeat("y", 1<<20), ""},
}

// curveKeys are two key pairs.
type curveKeys struct{ serverPublic, serverSecret, clientPublic, clientSecret string }

func newCurveKeys(t *testing.T) (k curveKeys) {
	t.Helper()
	var err error
	k.serverPublic, k.serverSecret, err = zmq.NewCurveKeypair()
	must(t, err)
	k.clientPublic, k.clientSecret, err = zmq.NewCurveKeypair()
	must(t, err)
	return k
}

// pattern is one pair of sockets on its own loopback source address, so that all share the one exposed port.
type pattern struct {
	name           string
	client, worker zmq.Type
	curve          bool
	run            func(t *testing.T, client, worker *zmq.Socket)
}

var patterns = []pattern{
	{"PushPull", zmq.PUSH, zmq.PULL, false, func(t *testing.T, client, worker *zmq.Socket) {
		for _, m := range messages {
			send(t, client, m...)
			want(t, recv(t, worker), m...)
		}
	}},
	{"ReqRep", zmq.REQ, zmq.REP, false, func(t *testing.T, client, worker *zmq.Socket) {
		for _, m := range messages {
			send(t, client, m...)
			want(t, recv(t, worker), m...)
			send(t, worker, m...)
			want(t, recv(t, client), m...)
		}
	}},
	{"DealerRouter", zmq.DEALER, zmq.ROUTER, false, dealerRouter},
	{"CurveDealerRouter", zmq.DEALER, zmq.ROUTER, true, dealerRouter},
	{"SubPub", zmq.SUB, zmq.PUB, false, func(t *testing.T, client, worker *zmq.Socket) {
		must(t, client.SetSubscribe("topic"), client.SetRcvtimeo(50*time.Millisecond))
		eventually(t, zmqTimeout, "the subscription arrives", func() bool {
			send(t, worker, "topic", "first")
			_, err := client.RecvMessage(0)
			return err == nil
		})
		must(t, client.SetRcvtimeo(zmqTimeout))
		send(t, worker, "topic", "last")
		for recv(t, client)[1] != "last" { // what the polling sent too much
		}
		for _, m := range messages {
			send(t, worker, "other", "never seen")
			send(t, worker, append([]string{"topic"}, m...)...)
			want(t, recv(t, client), append([]string{"topic"}, m...)...)
		}
	}},
}

func dealerRouter(t *testing.T, client, worker *zmq.Socket) {
	for _, m := range messages {
		send(t, client, m...)
		got := recv(t, worker) // the routing id comes first
		want(t, got[1:], m...)
		send(t, worker, got...)
		want(t, recv(t, client), m...)
	}
}

// TestEveryPatternAndGRPCAndSSHShareOnePort runs five ZeroMQ patterns, gRPC calls and SSH at the same time through one
// listener. The patterns are told apart by the client's source address.
func TestEveryPatternAndGRPCAndSSHShareOnePort(t *testing.T) {
	keys := newCurveKeys(t)
	var config strings.Builder
	workers := make([]*zmq.Socket, len(patterns))
	for i, p := range patterns {
		var endpoint string
		workers[i], endpoint = bound(t, p.worker, func(s *zmq.Socket) {
			if p.curve {
				must(t, s.SetCurveServer(1), s.SetCurveSecretkey(keys.serverSecret))
			}
		})
		fmt.Fprintf(&config, "relay %q {\n  match { source = [\"127.0.1.%d/32\"] }\n  dial = [%q]\n}\n", p.name, i+1, endpoint)
	}
	fmt.Fprintf(&config, "relay \"ssh\" {\n  match { protocol = \"ssh\" }\n  dial = [\"tcp://%s\"]\n}\n", sshServer(t))
	fmt.Fprintf(&config, "backend \"interop\" { grpc = [%q] }\ngrpc \"*\" {\n  to \"interop\" {}\n}\n", grpcServer(t))
	g := startGateway(t, "listen \"127.0.0.1:0\" { name = \"public\" }\nadmin { listen = \"127.0.0.1:0\" }\n"+config.String())
	addr := g.addr("public")

	t.Run("at once", func(t *testing.T) {
		for i, p := range patterns {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				client := zmqSocket(t, p.client)
				if p.curve {
					must(t, client.SetCurveServerkey(keys.serverPublic), client.SetCurvePublickey(keys.clientPublic),
						client.SetCurveSecretkey(keys.clientSecret))
				}
				must(t, client.Connect(fmt.Sprintf("tcp://127.0.1.%d:0;%s", i+1, addr)))
				p.run(t, client, workers[i])
			})
		}
		t.Run("GRPC", func(t *testing.T) {
			t.Parallel()
			grpcCalls(t, addr)
		})
		t.Run("SSH", func(t *testing.T) {
			t.Parallel()
			for range 5 {
				must(t, sshRoundTrip(addr))
			}
		})
	})
	for _, p := range patterns {
		eventually(t, patience, p.name+" is logged with its block", func() bool {
			return strings.Contains(g.log.String(), "protocol=zmtp block="+p.name)
		})
	}
	for _, sample := range []string{
		`gateway_connections_total{block="ssh",protocol="ssh"`, `gateway_connections_total{block="grpc",protocol="http2"`,
		`gateway_bytes_total{block="PushPull",direction="in"`,
	} {
		if g.metric(sample) == 0 {
			t.Errorf("nothing counted for %s", sample)
		}
	}
}
