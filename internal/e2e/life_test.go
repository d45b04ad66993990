//go:build libzmq

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// pullRole names the endpoint that a copy of the test binary binds a PULL socket to: a target that can be killed.
const pullRole = "GATEWAY_E2E_PULL"

func init() {
	endpoint := os.Getenv(pullRole)
	if endpoint == "" {
		return
	}
	s, err := zmq.NewSocket(zmq.PULL)
	if err == nil {
		err = s.Bind(endpoint)
	}
	for err == nil {
		var m []string
		if m, err = s.RecvMessage(0); err == nil {
			fmt.Println(strings.Join(m, " "))
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// startPull runs a PULL program of its own.
func startPull(t *testing.T, endpoint string) (cmd *exec.Cmd, received *logBuffer) {
	t.Helper()
	received = &logBuffer{}
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), pullRole+"="+endpoint)
	cmd.Stdout, cmd.Stderr = received, os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, received
}

// freeAddr is an address that nobody listens on. Its host belongs to this process, so that no other program's port comes to
// be there meanwhile.
func freeAddr(t *testing.T) string {
	t.Helper()
	pid := os.Getpid()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 64+pid>>16, pid>>8&0xff, pid&0xff))
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func TestKilledTargetIsUsedAgainWhenItIsBack(t *testing.T) {
	target := freeAddr(t)
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
relay "pull" { dial = ["tcp://%s"] }
admin { listen = "127.0.0.1:0" }
`, target))
	push := zmqSocket(t, zmq.PUSH)
	must(t, push.SetReconnectIvl(50*time.Millisecond), push.SetSndhwm(0), push.Connect("tcp://"+g.addr("public")))
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
				if _, err := push.SendMessage("message", i); err != nil {
					t.Errorf("send: %v", err)
					return
				}
			}
		}
	}()
	for range 3 {
		cmd, received := startPull(t, "tcp://"+target)
		eventually(t, zmqTimeout, "messages arrive", func() bool { return strings.Count(received.String(), "message") > 20 })
		must(t, cmd.Process.Kill())
		cmd.Wait()
		g.waitLog(`result="no target" error=.*connection refused`, zmqTimeout)
	}
}

// TestStopWithTrafficRunning stops the gateway under ZeroMQ and gRPC traffic: it takes no more connections, lets those that
// are there go on for drain_timeout, and then ends them and itself.
func TestStopWithTrafficRunning(t *testing.T) {
	pull, endpoint := bound(t, zmq.PULL)
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
relay "pull" { dial = [%q] }
backend "interop" { grpc = [%q] }
grpc "*" {
  to "interop" {}
}
drain_timeout = "1s"
`, endpoint, grpcServer(t)))
	addr := g.addr("public")
	push := zmqSocket(t, zmq.PUSH)
	must(t, push.Connect("tcp://"+addr))
	send(t, push, "before")
	want(t, recv(t, pull), "before")

	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), zmqTimeout)
	defer cancel()
	stream, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(ctx)
	must(t, err)
	request := &testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 10}}}
	var rounds atomic.Int64
	streamEnded := make(chan struct{})
	go func() {
		defer close(streamEnded)
		for stream.Send(request) == nil {
			if _, err := stream.Recv(); err != nil {
				return
			}
			rounds.Add(1)
		}
	}()
	eventually(t, zmqTimeout, "the stream runs", func() bool { return rounds.Load() > 10 })

	g.signal(syscall.SIGTERM)
	g.waitLog("msg=draining", zmqTimeout)
	eventually(t, zmqTimeout, "the port is closed", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	at := rounds.Load()
	eventually(t, zmqTimeout, "the stream goes on while the gateway drains", func() bool { return rounds.Load() > at })
	send(t, push, "while draining")
	want(t, recv(t, pull), "while draining")

	g.waitExit(stopWait)
	<-streamEnded
	if !strings.Contains(g.log.String(), "msg=stopped cut=2") {
		t.Errorf("want two connections cut")
	}
}

// TestDrainingGatewayCanStillBeLookedAt: metrics and status answer while connections end, readiness says why not.
func TestDrainingGatewayCanStillBeLookedAt(t *testing.T) {
	pull, endpoint := bound(t, zmq.PULL)
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
relay "pull" { dial = [%q] }
admin { listen = "127.0.0.1:0" }
drain_timeout = "10m"
`, endpoint))
	push := zmqSocket(t, zmq.PUSH)
	must(t, push.Connect("tcp://"+g.addr("public")))
	send(t, push, "hello")
	want(t, recv(t, pull), "hello")
	g.signal(syscall.SIGTERM)
	g.waitLog("msg=draining", zmqTimeout)
	if n := g.metric("gateway_generation "); n != 1 {
		t.Errorf("generation %v", n)
	}
	if status := g.get("/status"); !strings.Contains(status, `"draining": true`) {
		t.Errorf("the status is\n%s", status)
	}
	if code, body := g.post("/reload"); code != http.StatusUnprocessableEntity || !strings.Contains(body, "stopping") {
		t.Errorf("a reload was answered %d %s", code, body)
	}
	g.signal(syscall.SIGTERM)
	g.waitExit(stopWait)
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	pull, endpoint := bound(t, zmq.PULL)
	g := startGateway(t, fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
relay "pull" { dial = [%q] }
drain_timeout = "10m"
`, endpoint))
	push := zmqSocket(t, zmq.PUSH)
	must(t, push.Connect("tcp://"+g.addr("public")))
	send(t, push, "hello")
	want(t, recv(t, pull), "hello")
	g.signal(syscall.SIGTERM)
	g.waitLog("msg=draining", zmqTimeout)
	g.signal(syscall.SIGTERM)
	g.waitExit(stopWait)
	g.waitLog("msg=stopped cut=1", 0)
}
