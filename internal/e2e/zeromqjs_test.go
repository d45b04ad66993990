//go:build libzmq

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	demov1 "gateway/proto/demo/v1"
	gatewayv1 "gateway/proto/gateway/v1"
)

// zeromqjsFolder has the peers by zeromq.js, which brings a later libzmq than Debian's.
const zeromqjsFolder = "testdata/zeromqjs"

// zeromqjsPushed is how many messages a PUSH of peer.mjs sends.
const zeromqjsPushed = 20

// installZeromqjs installs zeromq.js, once. Its prebuilt library needs no install script.
var installZeromqjs = sync.OnceValues(func() ([]byte, error) {
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = zeromqjsFolder
	return npm.CombinedOutput()
})

// zeromqjsServices starts the services until the test ends. It returns where they are, and what PULL gets.
func zeromqjsServices(t *testing.T, options map[string]any) (endpoints map[string]string, pulled *bufio.Reader) {
	t.Helper()
	var stderr bytes.Buffer
	node := exec.Command("node", "peer.mjs", "serve", asJSON(t, options))
	node.Dir, node.Stderr = zeromqjsFolder, &stderr
	stdin, err1 := node.StdinPipe()
	stdout, err2 := node.StdoutPipe()
	must(t, err1, err2, node.Start())
	t.Cleanup(func() {
		_ = stdin.Close() // which ends it
		if err := node.Wait(); err != nil {
			t.Errorf("peer.mjs serve: %v\n%s", err, &stderr)
		}
	})
	pulled = bufio.NewReader(stdout)
	line, err := pulled.ReadBytes('\n')
	must(t, err, json.Unmarshal(line, &endpoints))
	return endpoints, pulled
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	must(t, err)
	return string(text)
}

// zeromqjsGateway is a gateway between zeromq.js and gRPC, both ways; the options of the clients are for peer.mjs.
func zeromqjsGateway(t *testing.T, curve bool) (g *gatewayProcess, clients map[string]any, pulled *bufio.Reader) {
	t.Helper()
	service, _ := startGreeter(t, "new", "127.0.0.1:0")
	keys, options, security := newCurveKeys(t), map[string]any{}, ""
	if curve {
		options = map[string]any{"curveServer": true, "curveSecretKey": keys.serverSecret}
		security = fmt.Sprintf("  curve_server_key = %q\n", keys.serverPublic)
	}
	endpoints, pulled := zeromqjsServices(t, options)
	config := fmt.Sprintf("backend \"new\" { grpc = [%q] }\n", service)
	clients = map[string]any{}
	for client, block := range map[string]string{
		"REQ":    "socket = \"REP\"\n  method = \"/demo.v1.Greeter/SayHello\"",
		"DEALER": "socket = \"ROUTER\"\n  method = \"/demo.v1.Greeter/SayHello\"",
		"PUSH":   "socket = \"PULL\"\n  method = \"/demo.v1.Greeter/SayHello\"",
		"SUB":    "socket = \"PUB\"\n  method = \"/demo.v1.Greeter/SayHelloServerStream\"\n  topic_field = 1",
	} {
		access := fmt.Sprintf("match { socket_type = [%q] }", client)
		clients[client] = map[string]any{}
		if curve { // the socket type does not show before the key decides
			own := newCurveKeys(t)
			access = fmt.Sprintf("curve_secret_key = %q", own.serverSecret)
			clients[client] = map[string]any{"curveServerKey": own.serverPublic, "curvePublicKey": own.clientPublic, "curveSecretKey": own.clientSecret}
		}
		config += fmt.Sprintf("zmq %q {\n  %s\n  %s\n  to \"new\" {}\n}\n", client, block, access)
	}
	for name, way := range map[string]struct{ socket, route string }{
		"rep":    {"DEALER", "/demo.v1.Greeter/SayHello"},
		"lane":   {"REQ", "/gateway.v1.Bridge/Request"},
		"router": {"DEALER", "/demo.v1.Greeter/SayHelloBidiStream"},
		"pull":   {"PUSH", "/demo.v1.Greeter/SayHelloClientStream"},
		"pub":    {"SUB", "/demo.v1.Greeter/SayHelloServerStream"},
	} {
		more := security
		if way.socket == "SUB" {
			more += "  topic_field = 1\n"
		}
		config += fmt.Sprintf("backend %q {\n  zmq = [%q]\n  socket = %q\n%s}\ngrpc %q {\n  to %q {}\n}\n", name, endpoints[name], way.socket, more, way.route, name)
	}
	return startGateway(t, bridgeConfig("%s", config)), clients, pulled
}

// TestZeromqjsAndGRPCMeetBothWays has every socket of zeromq.js ask gRPC, and gRPC ask every socket of zeromq.js.
func TestZeromqjsAndGRPCMeetBothWays(t *testing.T) {
	if out, err := installZeromqjs(); err != nil {
		t.Fatalf("npm ci in internal/e2e/%s: %v\n%s", zeromqjsFolder, err, out)
	}
	for name, curve := range map[string]bool{"NULL": false, "CURVE": true} {
		t.Run(name, func(t *testing.T) {
			g, clients, pulled := zeromqjsGateway(t, curve)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			node := exec.CommandContext(ctx, "node", "peer.mjs", "ask", "tcp://"+g.addr("public"), asJSON(t, clients))
			node.Dir = zeromqjsFolder
			if out, err := node.CombinedOutput(); err != nil {
				t.Errorf("peer.mjs ask: %v\n%s", err, out)
			}
			eventually(t, patience, "all that was pushed has become calls", func() bool {
				return g.metric(`gateway_bridge_calls_total{block="PUSH",code="OK"}`) == zeromqjsPushed
			})
			callZeromqjs(t, ctx, callsOf(t, g), pulled)
		})
	}
}

// callZeromqjs makes calls of every kind.
func callZeromqjs(t *testing.T, ctx context.Context, conn *grpc.ClientConn, pulled io.Reader) {
	t.Helper()
	greeter := demov1.NewGreeterClient(conn)
	if reply, err := greeter.SayHello(ctx, &demov1.HelloRequest{Name: "anna"}); err != nil || reply.Message != "Hello, anna" {
		t.Errorf("unary by a DEALER: %v, %v", reply, err)
	}
	frames := &gatewayv1.Multipart{Frames: [][]byte{[]byte("a"), {}, bytes.Repeat([]byte("m"), 1<<20), {}}}
	if reply, err := gatewayv1.NewBridgeClient(conn).Request(ctx, frames); err != nil || !proto.Equal(reply, frames) {
		t.Errorf("unary by a REQ: %.80v, %v", reply, err)
	}
	talk, err := greeter.SayHelloBidiStream(ctx)
	must(t, err)
	for i := range 5 {
		must(t, talk.Send(&demov1.HelloRequest{Name: fmt.Sprint(i)}))
		if reply, err := talk.Recv(); err != nil || reply.Message != fmt.Sprint("Hello, ", i) {
			t.Errorf("bidirectional: %v, %v", reply, err)
		}
	}
	must(t, talk.CloseSend())
	if _, err := talk.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end of a bidirectional stream: %v", err)
	}
	push, err := greeter.SayHelloClientStream(ctx)
	must(t, err)
	for i := range 5 {
		must(t, push.Send(&demov1.HelloRequest{Name: fmt.Sprint("pushed ", i)}))
	}
	_, err = push.CloseAndRecv()
	must(t, err)
	lines := bufio.NewScanner(pulled)
	for i := range 5 {
		if !lines.Scan() || lines.Text() != fmt.Sprint("pushed ", i) {
			t.Errorf("PULL got %q, %v", lines.Text(), lines.Err())
		}
	}
	news, err := greeter.SayHelloServerStream(ctx, &demov1.HelloRequest{Name: "news"})
	must(t, err)
	for range 3 {
		if got, err := news.Recv(); err != nil || got.Message != "news" {
			t.Errorf("server stream: %v, %v", got, err)
		}
	}
}
