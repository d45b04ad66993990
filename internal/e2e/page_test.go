//go:build libzmq

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sync/errgroup"

	"gateway/demo/peers"
)

// adminPictureVariable names the file that the picture of the admin page is written to, as make picture does.
const adminPictureVariable = "GATEWAY_E2E_ADMIN_PICTURE"

// Identities of the client that waits at the desk: one that wants to be HTML, and one for the picture in the README.
const (
	hostileName  = `<img/src=x/onerror=alert(1)><b>safe</b>`
	picturedName = "till-7"
)

const pageConfig = `
listen "127.0.0.1:0" { name = "public" }
listen "127.0.0.1:0" { name = "inside" }
admin { listen = "127.0.0.1:0" }
backend "greeter" { grpc = [%[1]q] }
backend "greeter_next" { grpc = [%[2]q] }
relay "vault" {
  match { mechanism = ["CURVE"] }
  workers {
    listen = "127.0.0.1:0"
    agents = true
  }
}
relay "desk" {
  match {
    socket_type = ["DEALER"]
    identity    = %[6]q
  }
  workers { listen = "127.0.0.1:0" }
  wait = "10m"
}
zmq "greet" {
  match { socket_type = ["REQ"] }
  socket = "REP"
  method = "/demo.v1.Greeter/SayHello"
  to "greeter" { weight = 3 }
  to "greeter_next" { weight = 1 }
}
relay "messages" {
  match { mechanism = ["NULL"] }
  dial = [%[3]q, %[4]q]
}
relay "ssh" {
  match { protocol = "ssh" }
  dial = [%[5]q]
}
grpc "/demo.v1.Greeter/*" {
  to "greeter" { weight = 9 }
  to "greeter_next" { weight = 1 }
}
grpc "*" {
  to "greeter" {}
}
sockjs "/chat" {
  push = "tcp://127.0.0.1:0"
  pull = "tcp://127.0.0.1:0"
}
`

// startPage runs a gateway and clients of all kinds, which go on until the test ends. One of them waits under the given identity.
func startPage(t *testing.T, identity string) *gatewayProcess {
	t.Helper()
	greeter, _ := startGreeter(t, "greeter", "127.0.0.1:0")
	next, _ := startGreeter(t, "next", "127.0.0.1:0")
	silent := func(peers.Event) {}
	serving, servers := groupOf(t) // ends after the clients
	var pulls []string
	for _, name := range []string{"pull-1", "pull-2"} {
		l := listenAnywhere(t)
		pulls = append(pulls, "tcp://"+l.Addr().String())
		servers.Go(func() error { return peers.Pull(serving, l, name, silent) })
	}
	g := startGateway(t, fmt.Sprintf(pageConfig, greeter, next, pulls[0], pulls[1], "tcp://"+echoServer(t), identity))
	ctx, busy := groupOf(t)
	for i, every := range []time.Duration{2, 5, 9} {
		port := g.addr([]string{"public", "inside"}[i%2])
		busy.Go(func() error {
			return peers.Push(ctx, peers.Client{Connect: port, Every: every * time.Millisecond}, silent)
		})
		busy.Go(func() error {
			return peers.Call(ctx, peers.Client{Connect: port, Every: every * 2 * time.Millisecond, Stream: i == 2}, silent)
		})
	}
	keys := newCurveKeys(t)
	for i, name := range []string{"safe-1", "safe-2"} {
		startAgent(t, g, name, boundEcho(t, name, func(s *zmq.Socket) { keys.worker(t, s) }), "-slots", "3")
		g.parked(3 * (i + 1))
	}
	for range 4 {
		s := curveClient(t, keys, "tcp://"+g.addr("public"))
		keepAsking(t, s, strings.Repeat("question ", 8))
	}
	waiting := zmqSocket(t, zmq.DEALER)
	must(t, waiting.SetIdentity(identity), waiting.Connect("tcp://"+g.addr("public")))
	g.parked(2)
	keepAsking(t, asksAs(t, g), "x")
	g.runProgram(t, echoOrBye)
	b := visit(t, g.chat())
	busy.Go(func() error {
		for ctx.Err() == nil {
			if b.ask("hello", "hello") != nil {
				return nil // the test has ended
			}
			wait(ctx, 10*time.Millisecond)
		}
		return nil
	})
	for _, garbage := range []string{"\x00garbage of a stranger", "?", "Hello?"} {
		c, err := net.Dial("tcp", g.addr("public"))
		must(t, err)
		_, err = io.WriteString(c, garbage)
		must(t, err)
		io.Copy(io.Discard, c)
		c.Close()
	}
	return g
}

// groupOf is a group of peers, that is ended when the test ends.
func groupOf(t *testing.T) (context.Context, *errgroup.Group) {
	ctx, cancel := context.WithCancel(context.Background())
	g, ctx := errgroup.WithContext(ctx)
	t.Cleanup(func() {
		cancel()
		must(t, g.Wait())
	})
	return ctx, g
}

// wait is a client's pause between two messages.
func wait(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

func listenAnywhere(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return l
}

// keepAsking has a client ask again and again, in a goroutine that alone uses it, until the test ends.
func keepAsking(t *testing.T, s *zmq.Socket, text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-stopped
	})
	go func() {
		defer close(stopped)
		for ctx.Err() == nil {
			if _, err := s.SendMessage(text); err != nil {
				return
			}
			if _, err := s.RecvMessage(0); err != nil {
				return
			}
			wait(ctx, 10*time.Millisecond)
		}
	}()
}

// seenPage is what visit.mjs says of the admin page.
type seenPage struct {
	Before, During, After       float64 // how wide the way of the ssh client was
	Text, Field                 string
	Rows, Elements, Stored      int
	Overflows                   []float64
	Strangers, Complaints, URLs []string
}

// harmless fails if the page did what it should not.
func (s seenPage) harmless(t *testing.T) {
	t.Helper()
	if len(s.Strangers)+len(s.Complaints) > 0 {
		t.Errorf("the page asks other hosts (%q) or complains (%q)", s.Strangers, s.Complaints)
	}
}

func TestOperatorSeesLiveInABrowserWhatGoesWhere(t *testing.T) {
	identity, picture := picturedName, os.Getenv(adminPictureVariable)
	if picture == "" {
		identity, picture = hostileName, filepath.Join(t.TempDir(), "page.png")
	}
	g := startPage(t, identity)
	_, port, err := net.SplitHostPort(g.addr("public"))
	must(t, err)
	var seen seenPage
	browse(t, &seen, "http://"+g.addr("admin"), "admin", port, picture)
	seen.harmless(t)
	if seen.Before > 20 || seen.During <= 20 || seen.After > 20 {
		t.Errorf("the way of the ssh client is %v wide, then with traffic %v, then %v", seen.Before, seen.During, seen.After)
	}
	if slices.Max(seen.Overflows) > 0 {
		t.Errorf("wider than the window: by %v pixels", seen.Overflows)
	}
	for _, text := range []string{
		"serving", "vault", "messages", "safe-2", "greeter_next", "/demo.v1.Greeter/*", "/chat", "1 program", identity, "unmatched", "speak ZeroMQ",
	} {
		if !strings.Contains(seen.Text, text) {
			t.Errorf("the page does not say %q:\n%s", text, seen.Text)
		}
	}
	if seen.Elements > 0 || seen.Rows < 8 {
		t.Errorf("%d elements that a name has made; %d rows in the table", seen.Elements, seen.Rows)
	}
}

func TestOperatorGivesTheTokenToThePageAlone(t *testing.T) {
	g := startGateway(t, `
listen "127.0.0.1:0" { name = "public" }
admin {
  listen = "127.0.0.1:0"
  token  = "swordfish"
}
relay "messages" { dial = ["tcp://127.0.0.1:1"] }
log { level = "debug" }
`)
	var seen seenPage
	browse(t, &seen, "http://"+g.addr("admin"), "locked", "swordfish")
	if len(seen.Strangers) > 0 || len(seen.Complaints) > 2 || seen.Field != "" || seen.Stored > 0 {
		t.Errorf("the page has seen %+v", seen)
	}
	if all := strings.Join(append(seen.URLs, g.log.String()), "\n"); strings.Contains(all, "swordfish") {
		t.Errorf("the token is where it must not be:\n%s", all)
	}
}
