//go:build libzmq

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	zmq "github.com/pebbe/zmq4"
)

// browserWait bounds what a browser of these tests waits for.
const browserWait = 20 * time.Second

// chatConfig serves browsers below /chat, with what more says in the block.
func chatConfig(more string) string {
	return fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
sockjs "/chat" {
  push = "tcp://127.0.0.1:0"
  pull = "tcp://127.0.0.1:0"
  %s
}
admin { listen = "127.0.0.1:0" }
`, more)
}

// chat is where browsers go.
func (g *gatewayProcess) chat() string { return "http://" + g.addr("public") + "/chat" }

// programEnd is where the gateway's PUSH or PULL is bound.
func (g *gatewayProcess) programEnd(kind string) string {
	g.t.Helper()
	return "tcp://" + g.waitLog(`msg="listening for programs" block=/chat socket=`+kind+` addr=(\S+)`, startWait)[1]
}

// zmqProgram is a program on libzmq, in a goroutine that owns its sockets.
type zmqProgram struct {
	stop func()

	mu    sync.Mutex
	heard [][]string
}

// runProgram connects a program; what answer returns for a message is sent. prepare sets the sockets up.
func (g *gatewayProcess) runProgram(t *testing.T, answer func(m []string) [][]string, prepare ...func(*zmq.Socket)) *zmqProgram {
	t.Helper()
	pull, push := zmqSocket(t, zmq.PULL), zmqSocket(t, zmq.PUSH)
	for _, prep := range prepare {
		prep(pull)
		prep(push)
	}
	must(t, pull.SetRcvtimeo(pollEvery), pull.Connect(g.programEnd("PUSH")), push.Connect(g.programEnd("PULL")))
	p := &zmqProgram{}
	stopping, stopped := make(chan struct{}), make(chan struct{})
	p.stop = sync.OnceFunc(func() {
		close(stopping)
		<-stopped
	})
	t.Cleanup(p.stop)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stopping:
				return
			default:
			}
			m, err := pull.RecvMessage(0)
			if zmq.AsErrno(err) == zmq.Errno(syscall.EAGAIN) {
				continue
			}
			if err != nil {
				t.Errorf("the program cannot pull: %v", err)
				return
			}
			p.mu.Lock()
			p.heard = append(p.heard, m)
			p.mu.Unlock()
			for _, reply := range answer(m) {
				if _, err := push.SendMessage(reply); err != nil {
					t.Errorf("the program cannot push: %v", err)
					return
				}
			}
		}
	}()
	return p
}

// count is how many messages of a type the program heard.
func (p *zmqProgram) count(kind string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.heard {
		if m[0] == kind {
			n++
		}
	}
	return n
}

// echoOrBye answers messages with themselves, and disconnects who says bye.
func echoOrBye(m []string) [][]string {
	switch {
	case m[0] != "message":
		return nil
	case m[2] == "bye":
		return [][]string{{"disconnect", m[1], ""}}
	}
	return [][]string{{"message", m[1], m[2]}}
}

// plainBrowser is a WebSocket without SockJS's framing.
type plainBrowser struct{ *websocket.Conn }

func visit(t *testing.T, url string) plainBrowser {
	t.Helper()
	b, err := tryVisit(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func tryVisit(url string) (plainBrowser, error) {
	dialer := websocket.Dialer{HandshakeTimeout: browserWait}
	c, response, err := dialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/websocket", nil)
	if err != nil {
		return plainBrowser{}, fmt.Errorf("%w (%v)", err, response)
	}
	return plainBrowser{c}, c.SetReadDeadline(time.Now().Add(browserWait))
}

// ask sends and waits for exactly this answer.
func (b plainBrowser) ask(text, want string) error {
	if err := b.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		return err
	}
	return b.hear(want)
}

func (b plainBrowser) hear(want string) error {
	if err := b.SetReadDeadline(time.Now().Add(browserWait)); err != nil {
		return err
	}
	if _, got, err := b.ReadMessage(); err != nil || string(got) != want {
		return fmt.Errorf("heard %q (%w), want %q", got, err, want)
	}
	return nil
}
