//go:build libzmq

package zmtp

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// zeromq.js brings libzmq 4.3.5, a later version than Debian's.

const zeromqjsFolder = "testdata/zeromqjs"

// installZeromqjs fetches the package when it is not there. Its prebuilt library needs no install script.
var installZeromqjs = sync.OnceValues(func() (string, error) {
	if _, err := os.Stat(filepath.Join(zeromqjsFolder, "node_modules", "zeromq")); err == nil {
		return "", nil
	}
	npm := exec.Command("npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund")
	npm.Dir = zeromqjsFolder
	out, err := npm.CombinedOutput()
	return string(out), err
})

// startZeromqjs starts an echoing DEALER and returns its libzmq's version and its endpoint.
func startZeromqjs(t *testing.T, settings map[string]any) (version, endpoint string) {
	t.Helper()
	if out, err := installZeromqjs(); err != nil {
		t.Fatalf("npm install in internal/zmtp/%s: %v\n%s", zeromqjsFolder, err, out)
	}
	arg, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(testContext(t), "node", "echo.mjs", string(arg))
	node.Dir, node.Stderr = zeromqjsFolder, os.Stderr
	stdin, err1 := node.StdinPipe()
	stdout, err2 := node.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := node.Start(); err != nil {
		t.Fatalf("node, which the tests need: %v", err)
	}
	t.Cleanup(func() { stdin.Close(); _ = node.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	version, endpoint, _ = strings.Cut(strings.TrimSpace(line), " ")
	return version, endpoint
}

func TestZeromqjsEchoesUnderEveryMechanism(t *testing.T) {
	server, client := newPair(t), newPair(t)
	for name, c := range map[string]struct {
		ours     Security
		settings map[string]any
	}{
		"NULL":  {Null{}, map[string]any{}},
		"PLAIN": {allSecurities(t)["PLAIN"][1], map[string]any{"plainUsername": "anna", "plainPassword": "secret"}},
		"CURVE, it is the client": {CurveServer{Secret: server.Secret}, map[string]any{
			"curveServerKey": server.Public.String(), "curvePublicKey": client.Public.String(), "curveSecretKey": client.Secret.Z85()}},
		"CURVE, it is the server": {CurveClient{Server: server.Public}, map[string]any{
			"curveServer": true, "curveSecretKey": server.Secret.Z85()}},
	} {
		t.Run(name+", it connects", func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c.settings["connect"] = "tcp://" + l.Addr().String()
			version, _ := startZeromqjs(t, c.settings)
			if version != "4.3.5" {
				t.Errorf("libzmq %s, want 4.3.5", version)
			}
			nc, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			conn, err := Accept(testContext(t), nc, Options{SocketType: DEALER, Security: c.ours})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			exchangeShapes(t, conn)
		})
		t.Run(name+", it binds", func(t *testing.T) {
			delete(c.settings, "connect")
			c.settings["bind"] = "tcp://127.0.0.1:*"
			_, endpoint := startZeromqjs(t, c.settings)
			conn, err := Dial(testContext(t), "tcp", strings.TrimPrefix(endpoint, "tcp://"), Options{SocketType: DEALER, Security: c.ours})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			exchangeShapes(t, conn)
		})
	}
}

func exchangeShapes(t *testing.T, c *Conn) {
	t.Helper()
	for _, parts := range [][]string{{"x"}, {""}, {"a", "", "c"}, {strings.Repeat("y", 256)}, {strings.Repeat("z", 1<<20), "end"}} {
		send(t, c, parts...)
		wantParts(t, recv(t, c), parts...)
	}
}
