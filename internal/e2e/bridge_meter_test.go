//go:build libzmq

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	zmq "github.com/pebbe/zmq4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	demov1 "gateway/proto/demo/v1"
	gatewayv1 "gateway/proto/gateway/v1"
)

// migration runs `gateway migration` against g.
func (g *gatewayProcess) migration(args ...string) (text string, err error) {
	g.t.Helper()
	out, err := exec.Command(binary, append([]string{"migration", "-admin", g.addr("admin")}, args...)...).CombinedOutput()
	return string(out), err
}

func TestOneTableTellsWhoStillSpeaksZeroMQ(t *testing.T) {
	newService, _ := startGreeter(t, "new", "127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "meter.json")
	_, pulls := bound(t, zmq.PULL)
	config := bridgeConfig(`
meter { file = %q }
backend "new" { grpc = [%q] }
backend "old" {
  zmq    = [%q]
  socket = "DEALER"
}
zmq "greet" {
  match { socket_type = ["REQ"] }
  socket = "REP"
  method = "/demo.v1.Greeter/SayHello"
  to "new" { weight = 3 }
  to "old" { weight = 1 }
}
relay "rest" {
  match { mechanism = ["NULL"] }
  dial = [%q]
}
grpc "*" {
  to "new" {}
}
`, file, newService, oldGreeter(t, "old"), pulls)
	g := startGateway(t, config)
	says := func(g *gatewayProcess, words ...string) bool {
		text, _ := g.migration() // the exit code is another test's
		for _, w := range words {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), w) {
				return false
			}
		}
		return true
	}
	if _, err := g.migration("-silent", "1h"); err != nil {
		t.Errorf("nobody has come yet: %v", err)
	}
	req, push := asksAs(t, g), zmqSocket(t, zmq.PUSH)
	for range 100 {
		ask(t, req, "x")
	}
	must(t, push.Connect("tcp://"+g.addr("public")))
	eventually(t, zmqTimeout, "both clients are told", func() bool {
		return says(g, "greet zmq 127.0.0.1 1 1 100", "rest zmq 127.0.0.1 1 1 0", "greet /demo.v1.Greeter/SayHello new 75% 75% 75",
			"greet /demo.v1.Greeter/SayHello old 25% 25% 25", "greet OK 100", "2 still speak ZeroMQ: 127.0.0.1 (")
	})
	if _, err := g.migration("-silent", "1h"); err == nil {
		t.Error("-silent is satisfied, but two clients are there")
	}
	req.Close()
	push.Close()
	eventually(t, zmqTimeout, "both are gone", func() bool {
		return says(g, "greet zmq 127.0.0.1 0 1 100", "Nobody speaks ZeroMQ now; the last of 2 who did was there")
	})
	g.signal(syscall.SIGTERM)
	g.waitExit(stopWait)

	g = startGateway(t, config)
	if !says(g, "greet zmq 127.0.0.1 0 1 100", "rest zmq 127.0.0.1 0 1 0") {
		text, err := g.migration()
		t.Errorf("after a restart: %v\n%s", err, text)
	}
	if text, err := g.migration("-silent", "1ms"); err != nil {
		t.Errorf("-silent 1ms: %v\n%s", err, text)
	}
	ask(t, asksAs(t, g), "x")
	eventually(t, zmqTimeout, "the counts go on", func() bool { return says(g, "greet zmq 127.0.0.1 1 2 101") })
}

func TestEachServiceNamesItsGRPCClients(t *testing.T) {
	service, _ := startGreeter(t, "new", "127.0.0.1:0")
	g := startGateway(t, bridgeConfig(`
backend "new" { grpc = [%q] }
grpc "/demo.v1.Greeter/*" {
  to "new" {}
}
grpc "*" {
  to "new" {}
}
`, service))
	says := func(rows ...string) func() bool {
		return func() bool {
			text, err := g.migration()
			must(t, err)
			return !slices.ContainsFunc(rows, func(row string) bool { return !strings.Contains(strings.Join(strings.Fields(text), " "), row) })
		}
	}
	first, second := callsOf(t, g), callsOf(t, g)
	for _, conn := range []*grpc.ClientConn{first, first, second} {
		_, err := demov1.NewGreeterClient(conn).SayHello(t.Context(), &demov1.HelloRequest{Name: "x"})
		must(t, err)
	}
	_, err := gatewayv1.NewBridgeClient(second).Request(t.Context(), &gatewayv1.Multipart{})
	if status.Code(err) != codes.Unimplemented { // the service does not know it
		t.Errorf("got %v", err)
	}
	eventually(t, zmqTimeout, "both clients are told, by what they call", says("demo.v1.Greeter grpc 127.0.0.1 2 2 3", "grpc grpc 127.0.0.1 1 1 1"))
	must(t, second.Close())
	eventually(t, zmqTimeout, "one has left", says("demo.v1.Greeter grpc 127.0.0.1 1 2 3", "grpc grpc 127.0.0.1 0 1 1"))
}

// Rows of the table of mirrors: all that was compared was the same, nothing was.
var (
	sameReplies  = regexp.MustCompile(`greet +new +100% +[1-9][0-9]* +0 `)
	otherReplies = regexp.MustCompile(`greet +other +0% +0 +[1-9][0-9]* `)
)

func TestMirrorOfOldCallsIsComparedAndChangesNothing(t *testing.T) {
	newService, _ := startGreeter(t, "new", "127.0.0.1:0")
	other, _ := startGreeter(t, "other", "127.0.0.1:0")
	g := startGateway(t, bridgeConfig(`
backend "new" { grpc = [%q] }
backend "other" { grpc = [%q] }
backend "old" {
  zmq    = [%q]
  socket = "DEALER"
}
zmq "greet" {
  socket = "REP"
  method = "/demo.v1.Greeter/SayHello"
  to "old" {}
  mirror "new" {
    compare = "proto"
    ignore  = ["served_by"]
  }
  mirror "other" {
    compare = "bytes"
  }
}
`, newService, other, oldGreeter(t, "old")))
	req := asksAs(t, g)
	const asked = 50
	for range asked {
		if by := ask(t, req, "x"); by != "old" {
			t.Fatalf("served by %s", by)
		}
	}
	eventually(t, zmqTimeout, "the mirrored replies are compared", func() bool {
		text, err := g.migration()
		must(t, err)
		return sameReplies.MatchString(text) && otherReplies.MatchString(text)
	})
}

func TestBrokenMeterFileIsNotOverwritten(t *testing.T) {
	file := secretFile(t, "not a meter")
	out, err := exec.Command(binary, "serve", "-config", secretFile(t, bridgeConfig("meter { file = %q }\nrelay \"x\" {\n  dial = [\"tcp://127.0.0.1:1\"]\n}\n", file))).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "move it away, or name another") {
		t.Errorf("got %v, %s", err, out)
	}
	if got, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(got)) != "not a meter" {
		t.Errorf("the file is %q, %v", got, err)
	}
}

// TestRemovedServiceLeavesNoMetric tells a service that is gone from the configuration from one that is dead.
func TestRemovedServiceLeavesNoMetric(t *testing.T) {
	config := func(service string) string {
		return fmt.Sprintf("listen \"127.0.0.1:0\" { name = \"public\" }\nadmin { listen = \"127.0.0.1:0\" }\nbackend %q {\n  zmq = [%q]\n  socket = \"DEALER\"\n}\ngrpc \"*\" {\n  to %[1]q {}\n}\n",
			service, oldGreeter(t, service))
	}
	g := startGateway(t, config("one"))
	eventually(t, zmqTimeout, "the first service is connected", func() bool { return g.metric(`gateway_bridge_backend_peers{backend="one"}`) == 1 })
	g.replace(config("two"))
	g.signal(syscall.SIGHUP)
	eventually(t, zmqTimeout, "the second service alone is there", func() bool {
		return g.metric(`gateway_bridge_backend_peers{backend="two"}`) == 1 && !strings.Contains(g.get("/metrics"), `gateway_bridge_backend_peers{backend="one"}`)
	})
}
