//go:build libzmq

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// reloadConfig is one of several that differ in what a reload has to keep, replace, add and remove.
func reloadConfig(variant int, zmqTarget, grpcTarget string) string {
	text := fmt.Sprintf(`
listen "127.0.0.1:0" {
  name            = "public"
  max_connections = %d
}
admin { listen = "127.0.0.1:0" }
relay "messages" {
  dial         = [%q]
  idle_timeout = "%dh"
}
backend "interop" { grpc = [%q] }
grpc "*" {
  timeout = "%dm"
  to "interop" {}
}
`, 30000+variant, zmqTarget, 1+variant, grpcTarget, 10+variant)
	if variant%2 == 1 {
		text += "relay \"ssh\" {\n  match { protocol = \"ssh\" }\n  dial = [\"tcp://127.0.0.1:1\"]\n}\nlisten \"127.0.0.2:0\" {}\n"
	}
	return text
}

// replace writes another configuration for g.
func (g *gatewayProcess) replace(config string) {
	g.t.Helper()
	file := filepath.Join(g.dir, "gateway.hcl")
	temp := file + ".new"
	must(g.t, os.WriteFile(temp, []byte(config), 0o600), os.Rename(temp, file))
}

// post asks the admin server to reload.
func (g *gatewayProcess) post(path string) (code int, body string) {
	g.t.Helper()
	client, url := g.admin()
	r, err := client.Post(url+path, "", nil)
	must(g.t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	must(g.t, err)
	return r.StatusCode, string(text)
}

// TestReloadUnderTrafficCutsNobody reloads again and again, every third time a broken file, while ZeroMQ connections and gRPC
// streams live and new connections come.
func TestReloadUnderTrafficCutsNobody(t *testing.T) {
	target := "tcp://" + echoServer(t)
	interop := grpcServer(t)
	g := startGateway(t, reloadConfig(0, target, interop))
	addr := g.addr("public")

	stop := make(chan struct{})
	var traffic sync.WaitGroup
	var stopOnce sync.Once
	end := func() {
		stopOnce.Do(func() { close(stop) })
		traffic.Wait()
	}
	t.Cleanup(end)
	var rounds, fresh atomic.Int64
	startRelayed(t, addr, stop, &traffic, &rounds)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	startStreams(ctx, t, addr, stop, &traffic, &rounds)
	traffic.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := goodClient(addr); err != nil {
				t.Errorf("a new connection was refused: %v", err)
				return
			}
			fresh.Add(1)
		}
	})

	applied := 1
	for i := 1; i <= reloads; i++ {
		before, freshBefore := rounds.Load(), fresh.Load()
		if i%3 == 0 {
			g.replace("listen \"127.0.0.1:0\" {\n  nmae = \"public\"\n")
			if code, body := g.post("/reload"); code != http.StatusUnprocessableEntity || !strings.Contains(body, "gateway.hcl line") {
				t.Fatalf("a broken file was answered %d %s", code, body)
			}
		} else {
			g.replace(reloadConfig(i, target, interop))
			if code, body := g.post("/reload"); code != http.StatusOK {
				t.Fatalf("reload %d was answered %d %s", i, code, body)
			}
			applied++
		}
		eventually(t, zmqTimeout, "traffic goes on", func() bool { return rounds.Load() > before && fresh.Load() > freshBefore })
	}
	if n := g.metric("gateway_generation "); n != float64(applied) {
		t.Errorf("generation %v, want %d", n, applied)
	}
	if n := g.metric("gateway_oldest_generation_seconds "); n <= 0 {
		t.Errorf("the oldest generation in use is %v seconds old, but its connections live", n)
	}
	if a, r := g.metric(`gateway_reloads_total{result="applied"}`), g.metric(`gateway_reloads_total{result="refused"}`); a != float64(applied-1) || r != float64(reloads/3) {
		t.Errorf("%v reloads applied and %v refused were counted, want %d and %d", a, r, applied-1, reloads/3)
	}
	end()
	t.Logf("figure: %d reloads under %d relayed connections and %d streams, %d rounds, %d new connections, nobody cut",
		reloads, reloadZMTPConns, reloadStreams, rounds.Load(), fresh.Load())
}

// signedConn is a relayed connection to an echo server.
func signedConn(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = c.Write(zmtpSignature)
	must(t, err)
	_, err = io.ReadFull(c, make([]byte, len(zmtpSignature)))
	must(t, err)
	return c
}

func echoRound(c net.Conn, mark byte) error {
	sent := bytes.Repeat([]byte{mark}, 64)
	if _, err := c.Write(sent); err != nil {
		return err
	}
	return echoed(c, sent)
}

// echoed reads what was sent.
func echoed(c net.Conn, sent []byte) error {
	if err := c.SetDeadline(time.Now().Add(zmqTimeout)); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, sent) {
		return fmt.Errorf("got % x", got)
	}
	return nil
}

// startRelayed keeps ZeroMQ connections open and busy.
func startRelayed(t *testing.T, addr string, stop chan struct{}, traffic *sync.WaitGroup, rounds *atomic.Int64) {
	t.Helper()
	for range reloadZMTPConns {
		c := signedConn(t, addr)
		traffic.Go(func() {
			for i := byte(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := echoRound(c, i); err != nil {
					t.Errorf("a relayed connection broke: %v", err)
					return
				}
				rounds.Add(1)
				time.Sleep(10 * time.Millisecond) // a pace, so that sizes do not burn the machine
			}
		})
	}
}

// startStreams keeps gRPC streams open and busy.
func startStreams(ctx context.Context, t *testing.T, addr string, stop chan struct{}, traffic *sync.WaitGroup, rounds *atomic.Int64) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	request := &testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 10}}}
	for range reloadStreams {
		stream, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(ctx)
		must(t, err)
		traffic.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := stream.Send(request)
				if err == nil {
					_, err = stream.Recv()
				}
				if err != nil {
					t.Errorf("a stream broke: %v", err)
					return
				}
				rounds.Add(1)
				time.Sleep(10 * time.Millisecond) // a pace, so that sizes do not burn the machine
			}
		})
	}
}

// TestRemovedBlockEndsAtDrainTimeoutAndANewOneServes removes a relay block under its connection.
func TestRemovedBlockEndsAtDrainTimeoutAndANewOneServes(t *testing.T) {
	one, two := "tcp://"+echoServer(t), "tcp://"+echoServer(t)
	config := func(name, target string) string {
		return fmt.Sprintf("listen \"127.0.0.1:0\" { name = \"public\" }\nrelay %q { dial = [%q] }\nadmin { listen = \"127.0.0.1:0\" }\ndrain_timeout = \"500ms\"\n", name, target)
	}
	g := startGateway(t, config("one", one))
	c := signedConn(t, g.addr("public"))
	must(t, echoRound(c, 1))
	g.replace(config("two", two))
	g.signal(syscall.SIGHUP)
	g.waitLog("msg=reloaded generation=2", zmqTimeout)
	must(t, goodClient(g.addr("public")))
	g.waitLog("block=two", zmqTimeout)
	must(t, c.SetReadDeadline(time.Now().Add(zmqTimeout)))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the connection of the removed block read %d bytes, %v", n, err)
	}
	g.waitLog("block=one .*result=cancelled", zmqTimeout)
}

// TestReloadKeepsTwoListenersOnFreePorts has two listeners that both ask for any free port of one address.
func TestReloadKeepsTwoListenersOnFreePorts(t *testing.T) {
	config := func(level string) string {
		return fmt.Sprintf("listen \"127.0.0.1:0\" { name = \"one\" }\nlisten \"127.0.0.1:0\" { name = \"two\" }\nrelay \"echo\" { dial = [\"tcp://%s\"] }\nlog { level = %q }\n",
			echoServer(t), level)
	}
	g := startGateway(t, config("info"))
	g.replace(config("debug"))
	g.signal(syscall.SIGHUP)
	g.waitLog("msg=reloaded generation=2", zmqTimeout)
	for _, name := range []string{"one", "two"} {
		must(t, goodClient(g.addr(name)))
		if n := strings.Count(g.log.String(), "msg=listening name="+name); n != 1 {
			t.Errorf("listener %q was made %d times", name, n)
		}
	}
} // and it can be stopped

// TestWatchedFileIsTakenUp edits the file as editors do, and breaks it once.
func TestWatchedFileIsTakenUp(t *testing.T) {
	pull, endpoint := bound(t, zmq.PULL)
	dead := "listen \"127.0.0.1:0\" { name = \"public\" }\nrelay \"pull\" { dial = [\"tcp://127.0.0.1:1\"] }\n"
	g := startGatewayBy(t, dead, nil, "-watch")
	file := filepath.Join(g.dir, "gateway.hcl")
	must(t, os.WriteFile(file, []byte("relay {"), 0o600))
	g.waitLog("reload refused, nothing has changed", zmqTimeout)
	must(t, os.WriteFile(file, []byte(strings.Replace(dead, "tcp://127.0.0.1:1", endpoint, 1)), 0o600))
	g.waitLog("msg=reloaded generation=2", zmqTimeout)
	push := zmqSocket(t, zmq.PUSH)
	must(t, push.Connect("tcp://"+g.addr("public")))
	send(t, push, "hello")
	want(t, recv(t, pull), "hello")
}
