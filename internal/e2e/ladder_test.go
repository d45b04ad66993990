//go:build libzmq

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	gozmq "github.com/go-zeromq/zmq4"
	zmq "github.com/pebbe/zmq4"
)

// jeromq is Debian's libjeromq-java 0.3.6, which speaks ZMTP 2.
const jeromq = "/usr/share/java/jeromq.jar"

// jeroPeer starts a JeroMQ program.
func jeroPeer(t *testing.T, args ...string) (cmd *exec.Cmd, out *logBuffer) {
	t.Helper()
	if _, err := os.Stat(jeromq); err != nil {
		t.Fatalf("%v; install it: apt-get install libjeromq-java default-jdk-headless", err)
	}
	out = &logBuffer{}
	cmd = exec.Command("java", append([]string{"-cp", jeromq, "testdata/jeromq/Peer.java"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, out
}

// echoLoop answers on a libzmq socket until the test ends.
func echoLoop(t *testing.T, s *zmq.Socket, tag string) {
	t.Helper()
	must(t, s.SetRcvtimeo(50*time.Millisecond))
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if m, err := s.RecvMessage(0); err == nil {
				m[len(m)-1] = tag + " " + m[len(m)-1]
				s.SendMessage(m)
			}
		}
	}()
}

// ladderGateway has a block for each thing that a ZMTP client can show, and one for the rest.
func ladderGateway(t *testing.T, keys curveKeys) *gatewayProcess {
	t.Helper()
	var config strings.Builder
	config.WriteString("listen \"127.0.0.1:0\" { name = \"public\" }\nadmin { listen = \"127.0.0.1:0\" }\n")
	for _, b := range []struct {
		name, match string
		kind        zmq.Type
		prepare     func(*zmq.Socket)
	}{
		{"vault", `mechanism = ["CURVE"]`, zmq.ROUTER, func(s *zmq.Socket) {
			must(t, s.SetCurveServer(1), s.SetCurveSecretkey(keys.serverSecret))
		}},
		{"plain", `mechanism = ["PLAIN"]`, zmq.REP, func(s *zmq.Socket) { must(t, s.SetPlainServer(1)) }},
		{"legacy", `identity = "legacy-"`, zmq.ROUTER, nil},
		{"requests", `socket_type = ["REQ"]`, zmq.REP, nil},
		{"rest", ``, zmq.REP, nil},
	} {
		worker, endpoint := bound(t, b.kind, func(s *zmq.Socket) {
			if b.prepare != nil {
				b.prepare(s)
			}
		})
		echoLoop(t, worker, b.name)
		fmt.Fprintf(&config, "relay %q {\n  match {\n    %s\n  }\n  dial = [%q]\n}\n", b.name, b.match, endpoint)
	}
	return startGateway(t, config.String())
}

func TestClientsGoToTheirBlockByWhatTheyShow(t *testing.T) {
	keys := newCurveKeys(t)
	authenticate(t)
	g := ladderGateway(t, keys)
	endpoint := "tcp://" + g.addr("public")
	for _, c := range []struct {
		name    string
		kind    zmq.Type
		prepare func(*zmq.Socket)
		block   string
	}{
		{"CURVE", zmq.DEALER, func(s *zmq.Socket) {
			must(t, s.SetCurveServerkey(keys.serverPublic), s.SetCurvePublickey(keys.clientPublic), s.SetCurveSecretkey(keys.clientSecret))
		}, "vault"},
		{"PLAIN", zmq.REQ, func(s *zmq.Socket) {
			must(t, s.SetPlainUsername("user"), s.SetPlainPassword("password"))
		}, "plain"},
		{"identity", zmq.DEALER, func(s *zmq.Socket) { must(t, s.SetIdentity("legacy-7")) }, "legacy"},
		{"another identity", zmq.REQ, func(s *zmq.Socket) { must(t, s.SetIdentity("modern-7")) }, "requests"},
		{"socket type", zmq.REQ, func(*zmq.Socket) {}, "requests"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := zmqSocket(t, c.kind)
			c.prepare(client)
			must(t, client.Connect(endpoint))
			for _, m := range messages {
				sent := append([]string{}, m...)
				send(t, client, sent...)
				sent[len(sent)-1] = c.block + " " + sent[len(sent)-1]
				want(t, recv(t, client), sent...)
			}
		})
	}
}

func TestGoZeroMQClientIsSeenThrough(t *testing.T) {
	g := ladderGateway(t, newCurveKeys(t))
	ctx, cancel := context.WithTimeout(t.Context(), zmqTimeout)
	defer cancel()
	client := gozmq.NewReq(ctx)
	defer client.Close()
	must(t, client.Dial("tcp://"+g.addr("public")), client.Send(gozmq.NewMsgString("hello")))
	reply, err := client.Recv()
	must(t, err)
	if string(reply.Bytes()) != "requests hello" {
		t.Errorf("the reply was %q", reply.Bytes())
	}
}

// TestZMTP2ClientGoesToTheBlockThatAsksForNothing: its version shows before the gateway has committed itself.
func TestZMTP2ClientGoesToTheBlockThatAsksForNothing(t *testing.T) {
	g := ladderGateway(t, newCurveKeys(t))
	cmd, out := jeroPeer(t, "req", "tcp://"+g.addr("public"), "3")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(out.String(), "reply rest request 2") {
		t.Errorf("the replies were\n%s", out)
	}
}

// TestZMTP2WorkerServesClientsOfABlockThatAsksForNothing: libzmq speaks ZMTP 2 with it, end to end.
func TestZMTP2WorkerServesClientsOfABlockThatAsksForNothing(t *testing.T) {
	target := freeAddr(t)
	_, out := jeroPeer(t, "rep", "tcp://"+target)
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
relay "curve" {
  match {
    source    = ["127.0.0.2/32"]
    mechanism = ["NULL"]
  }
  dial = ["tcp://%s"]
}
relay "old" { dial = ["tcp://%s"] }
`, target, target))
	eventually(t, startWait, "JeroMQ is bound", func() bool { return strings.Contains(out.String(), "bound") })
	client := zmqSocket(t, zmq.REQ)
	must(t, client.Connect("tcp://"+g.addr("public")))
	for i := range 3 {
		send(t, client, fmt.Sprint("request ", i))
		want(t, recv(t, client), fmt.Sprint("request ", i))
	}
	// Where the client had to be answered as ZMTP 3 first, such a worker cannot serve it, and the log says why.
	other := zmqSocket(t, zmq.REQ)
	must(t, other.Connect("tcp://127.0.0.2:0;"+g.addr("public")))
	g.waitLog(`block=curve .*a ZMTP 2 target serves only blocks that ask for no mechanism`, zmqTimeout)
}

// TestSubscriptionsCrossVersions: 3.0 writes a subscription as a message, 3.1 as a command; go-zeromq announces 3.0, libzmq 3.1.
// Each pair runs with a block that needs the greeting and with one that needs the whole introduction.
func TestSubscriptionsCrossVersions(t *testing.T) {
	for _, match := range []string{`mechanism = ["NULL"]`, `socket_type = ["SUB"]`} {
		for _, clientIsLibzmq := range []bool{true, false} {
			for _, workerIsLibzmq := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s client 3.%d worker 3.%d", match, one(clientIsLibzmq), one(workerIsLibzmq)), func(t *testing.T) {
					t.Parallel()
					publish, endpoint := publisher(t, workerIsLibzmq)
					g := startGateway(t, fmt.Sprintf("listen \"127.0.0.1:0\" { name = \"public\" }\nrelay \"pub\" {\n  match {\n    %s\n  }\n  dial = [%q]\n}\n", match, endpoint))
					receive := subscriber(t, clientIsLibzmq, "tcp://"+g.addr("public"))
					got := make(chan string, 1)
					go func() { got <- receive() }()
					deadline := time.After(zmqTimeout)
					for {
						publish("other", "never wanted")
						publish("topic", "wanted")
						select {
						case m := <-got:
							if m != "topic wanted" {
								t.Errorf("received %q", m)
							}
							return
						case <-deadline:
							t.Fatal("nothing was received")
						case <-time.After(20 * time.Millisecond): // until the subscription has arrived
						}
					}
				})
			}
		}
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func publisher(t *testing.T, libzmq bool) (publish func(parts ...string), endpoint string) {
	t.Helper()
	if libzmq {
		s, endpoint := bound(t, zmq.PUB)
		return func(parts ...string) { send(t, s, parts...) }, endpoint
	}
	s := gozmq.NewPub(t.Context())
	t.Cleanup(func() { s.Close() })
	must(t, s.Listen("tcp://127.0.0.1:0"))
	return func(parts ...string) {
		frames := make([][]byte, len(parts))
		for i, p := range parts {
			frames[i] = []byte(p)
		}
		if err := s.Send(gozmq.NewMsgFrom(frames...)); err != nil {
			t.Errorf("publish: %v", err)
		}
	}, "tcp://" + s.Addr().String()
}

func subscriber(t *testing.T, libzmq bool, endpoint string) (receive func() string) {
	t.Helper()
	if libzmq {
		s := zmqSocket(t, zmq.SUB)
		must(t, s.SetSubscribe("topic"), s.Connect(endpoint))
		return func() string {
			m, err := s.RecvMessage(0)
			if err != nil {
				return err.Error()
			}
			return strings.Join(m, " ")
		}
	}
	s := gozmq.NewSub(t.Context())
	t.Cleanup(func() { s.Close() })
	must(t, s.SetOption(gozmq.OptionSubscribe, "topic"), s.Dial(endpoint))
	return func() string {
		m, err := s.Recv()
		if err != nil {
			return err.Error()
		}
		parts := make([]string, len(m.Frames))
		for i, f := range m.Frames {
			parts[i] = string(f)
		}
		return strings.Join(parts, " ")
	}
}

// TestClientsThatNobodyTakesAreHeldSilent: they are neither answered further nor closed, until there are too many of them.
func TestClientsThatNobodyTakesAreHeldSilent(t *testing.T) {
	const held = 3
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
relay "vault" {
  match { mechanism = ["CURVE"] }
  dial = ["tcp://127.0.0.1:1"]
}
limits { held = %d }
admin { listen = "127.0.0.1:0" }
`, held))
	var raws []net.Conn
	for i := range held + 1 {
		c, err := net.Dial("tcp", g.addr("public"))
		must(t, err)
		t.Cleanup(func() { c.Close() })
		_, err = c.Write(nullGreeting)
		must(t, err)
		answer := make([]byte, 11) // signature and major version: as far as a mechanism needs
		must(t, c.SetReadDeadline(time.Now().Add(zmqTimeout)))
		_, err = io.ReadFull(c, answer)
		must(t, err)
		raws = append(raws, c)
		eventually(t, patience, "it is held", func() bool { return g.metric("gateway_held ") == float64(min(i+1, held)) })
	}
	must(t, raws[0].SetReadDeadline(time.Now().Add(zmqTimeout)))
	if _, err := raws[0].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the oldest was not closed when the place ran out: %v", err)
	}
	for i, c := range raws[1:] {
		must(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("client %d was not held silent: %v", i+1, err)
		}
		must(t, c.Close())
	}
	eventually(t, patience, "those that leave are forgotten", func() bool { return g.metric("gateway_held ") == 0 })
}

// nullGreeting is a whole ZMTP 3.1 greeting, mechanism NULL.
var nullGreeting = append(append(append([]byte{}, zmtpSignature...), 3, 1, 'N', 'U', 'L', 'L'), make([]byte, 48)...)
