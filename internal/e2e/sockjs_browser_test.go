//go:build libzmq

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"gateway/demo/browser"
)

// browserFolder has the script that drives a browser.
const browserFolder = "testdata/browser"

// pictureVariable names the file that the picture of the demo's page is written to, as make picture does.
const pictureVariable = "GATEWAY_E2E_PICTURE"

// browserTransports are those of sockjs-client that work in a browser of today: xdr-streaming and htmlfile, without a
// frame, want an Internet Explorer.
var browserTransports = []string{
	"websocket", "xhr-streaming", "eventsource", "xhr-polling", "jsonp-polling",
	"iframe-eventsource", "iframe-htmlfile", "iframe-xhr-polling",
}

// installBrowserPeer installs playwright-core and sockjs-client, once.
var installBrowserPeer = sync.OnceValues(func() ([]byte, error) {
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = browserFolder
	return npm.CombinedOutput()
})

// browse runs the script, and reads what it saw into seen.
func browse(t *testing.T, seen any, args ...string) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("There is no chromium. Run: make deps (or: sudo apt-get install chromium)")
	}
	if out, err := installBrowserPeer(); err != nil {
		t.Fatalf("npm ci in internal/e2e/%s: %v\n%s", browserFolder, err, out)
	}
	var stderr bytes.Buffer
	node := exec.Command("node", append([]string{"visit.mjs", chromium}, args...)...)
	node.Dir, node.Stderr = browserFolder, &stderr
	out, err := node.Output()
	if err != nil {
		t.Fatalf("node visit.mjs: %v\n%s%s", err, out, &stderr)
	}
	if err := json.Unmarshal(bytes.TrimSpace(out), seen); err != nil {
		t.Fatalf("the script said %q: %v", out, err)
	}
}

func TestEveryTransportWorksInABrowser(t *testing.T) {
	static := t.TempDir()
	must(t, os.WriteFile(filepath.Join(static, "blank.html"), []byte("<!DOCTYPE html><title>blank</title>"), 0o600))
	g := startGateway(t, chatConfig("static = "+strconv.Quote(static)))
	p := g.runProgram(t, echoOrBye)
	var got struct {
		Seen map[string]struct {
			Error, Transport, Reason string
			Echoed, Code             int
			Back                     bool
		}
		Complaints []string
	}
	browse(t, &got, append([]string{g.chat(), "transports", strconv.Itoa(browserMessages)}, browserTransports...)...)
	for _, name := range browserTransports {
		t.Run(name, func(t *testing.T) {
			s := got.Seen[name]
			if s.Error != "" {
				t.Fatal(s.Error)
			}
			if s.Transport != name || s.Echoed != browserMessages || s.Code != 3000 || s.Reason != "Go away!" || !s.Back {
				t.Errorf("seen: %+v", s)
			}
		})
	}
	if len(got.Complaints) > 0 {
		t.Errorf("the page complains: %q", got.Complaints)
	}
	sessions := 2 * len(browserTransports)
	eventually(t, browserWait, "every session has ended for the program", func() bool { return p.count("disconnect") == sessions })
	if n := p.count("connect"); n != sessions {
		t.Errorf("the program heard %d connects, want %d", n, sessions)
	}
}

// TestBrowsersAndGRPCShareAPortInsideTLS has the browser offer h2 and http/1.1, and grpc-go h2 alone.
func TestBrowsersAndGRPCShareAPortInsideTLS(t *testing.T) {
	static := t.TempDir()
	must(t, os.WriteFile(filepath.Join(static, "blank.html"), []byte("<!DOCTYPE html><title>blank</title>"), 0o600))
	ca := newAuthority(t)
	config := strings.Replace(chatConfig("static = "+strconv.Quote(static)), `{ name = "public" }`,
		"{\n name = \"public\"\n"+tlsBlock(ca.issue("edge", time.Time{}, "localhost"))+"}", 1)
	g := startGateway(t, config+fmt.Sprintf("backend \"interop\" {\n grpc = [%q]\n}\ngrpc \"*\" {\n to \"interop\" {}\n}\n", grpcServer(t)))
	g.runProgram(t, echoOrBye)
	addr := g.addr("public")
	_, port, err := net.SplitHostPort(addr)
	must(t, err)
	var got struct {
		Seen map[string]struct {
			Error, Transport string
			Echoed           int
		}
	}
	transports := []string{"websocket", "xhr-streaming", "eventsource"}
	browse(t, &got, append([]string{"https://localhost:" + port + "/chat", "transports", "20"}, transports...)...)
	for _, name := range transports {
		if s := got.Seen[name]; s.Error != "" || s.Transport != name || s.Echoed != 20 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	grpcCallsBy(t, addr, credentials.NewTLS(&tls.Config{RootCAs: ca.pool, ServerName: "localhost"}))
}

func TestDemoPageInABrowserTalksToTheProgram(t *testing.T) {
	page, err := filepath.Abs("../../demo/browser")
	must(t, err)
	g := startGateway(t, chatConfig("static = "+strconv.Quote(page)))
	ctx, cancel := context.WithCancel(t.Context())
	replied := make(chan error, 1)
	go func() {
		replied <- browser.Reply(ctx, browser.Replier{Pull: g.programEnd("PUSH"), Push: g.programEnd("PULL"), Stay: true})
	}()
	t.Cleanup(func() {
		cancel()
		must(t, <-replied)
	})
	picture := os.Getenv(pictureVariable)
	if picture == "" {
		picture = filepath.Join(t.TempDir(), "page.png")
	}
	var seen struct {
		Sent, Answered, Connected int
		Strangers, Complaints     []string
	}
	browse(t, &seen, g.chat(), "page", g.chat()+"/", picture)
	if seen.Connected != 2 || seen.Answered != 106 || seen.Sent != 106 {
		t.Errorf("the page has seen %+v", seen)
	}
	if len(seen.Strangers)+len(seen.Complaints) > 0 {
		t.Errorf("the page asks other hosts (%q) or complains (%q)", seen.Strangers, seen.Complaints)
	}
	if info, err := os.Stat(picture); err != nil || info.Size() < 10_000 {
		t.Errorf("the picture: %v %v", info, err)
	}
}
