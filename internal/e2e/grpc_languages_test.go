package e2e

import (
	"bufio"
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// grpcPeers is the folder of the peers by C-core (Python) and by grpc-js.
const grpcPeers = "testdata/grpcpeers"

// installGRPCJS installs grpc-js, once.
var installGRPCJS = sync.OnceValues(func() ([]byte, error) {
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = grpcPeers
	return npm.CombinedOutput()
})

// languagePeers are the commands of the peers: Debian's Python, which python3-grpcio is for, and node.
var languagePeers = map[string][]string{
	"C-core":  {"/usr/bin/python3", "peer.py"},
	"grpc-js": {"node", "peer.mjs"},
}

// languageServer starts a peer's server until the test ends.
func languageServer(t *testing.T, command []string) (addr string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(command[0], append(command[1:], "server")...)
	cmd.Dir, cmd.Stderr = grpcPeers, &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", command, err, &stderr)
		}
	})
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%v told no port: %v", command, err)
	}
	return "127.0.0.1:" + strings.TrimSpace(port)
}

// TestGRPCOfOtherLanguages has clients and servers by C-core and grpc-js meet through the gateway, each with each: four
// kinds of calls, metadata, deadlines, cancellation and rich errors.
func TestGRPCOfOtherLanguages(t *testing.T) {
	if out, err := installGRPCJS(); err != nil {
		t.Fatalf("npm ci in internal/e2e/%s: %v\n%s", grpcPeers, err, out)
	}
	for server, serve := range languagePeers {
		t.Run("server by "+server, func(t *testing.T) {
			t.Parallel()
			g := startGateway(t, `listen "127.0.0.1:0" {
  name = "public"
}
backend "peer" {
  grpc = ["`+languageServer(t, serve)+`"]
}
grpc "/peer.Echo/*" {
  timeout = "2m"
  retry {
    attempts = 2
  }
  to "peer" {}
}`)
			for client, call := range languagePeers {
				t.Run("client by "+client, func(t *testing.T) {
					cmd := exec.CommandContext(t.Context(), call[0], append(call[1:], "client", g.addr("public"))...)
					cmd.Dir = grpcPeers
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%v: %v\n%s", call, err, out)
					}
				})
			}
		})
	}
}
