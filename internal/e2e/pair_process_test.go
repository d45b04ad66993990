//go:build libzmq

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// pairPeerRole is where a copy of the test binary finds its orders to be a libzmq peer of its own: one that can be killed.
const pairPeerRole = "GATEWAY_E2E_PAIR_PEER"

// echoOrders say what the copy does. A worker answers with its tag before what came. A client reads a line from its standard
// input, asks, and prints the answer.
type echoOrders struct {
	Client   bool
	Tag      string
	Bind     bool
	Endpoint string
	Keys     *curveKeysText // nil: NULL
}

type curveKeysText struct{ ServerPublic, ServerSecret, ClientPublic, ClientSecret string }

func (k curveKeys) text() *curveKeysText {
	return &curveKeysText{k.serverPublic, k.serverSecret, k.clientPublic, k.clientSecret}
}

func init() {
	text := os.Getenv(pairPeerRole)
	if text == "" {
		return
	}
	var o echoOrders
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = o.follow()
	}
	fmt.Fprintln(os.Stderr, "a peer of the test ended:", err)
	os.Exit(1)
}

func (o echoOrders) follow() error {
	s, err := zmq.NewSocket(zmq.DEALER)
	if err != nil {
		return err
	}
	if k := o.Keys; k != nil && o.Client {
		err = firstError(s.SetCurveServerkey(k.ServerPublic), s.SetCurvePublickey(k.ClientPublic), s.SetCurveSecretkey(k.ClientSecret))
	} else if k != nil {
		err = firstError(s.SetCurveServer(1), s.SetCurveSecretkey(k.ServerSecret))
	}
	if err == nil && o.Bind {
		err = s.Bind(o.Endpoint)
	} else if err == nil {
		err = firstError(s.SetImmediate(true), s.Connect(o.Endpoint))
	}
	lines := bufio.NewScanner(os.Stdin)
	for err == nil {
		var m []string
		switch {
		case o.Client && !lines.Scan():
			return io.EOF
		case o.Client:
			if _, err = s.SendMessage(lines.Text()); err == nil {
				m, err = s.RecvMessage(0)
				fmt.Println(strings.Join(m, " "))
			}
		default:
			if m, err = s.RecvMessage(0); err == nil {
				m[len(m)-1] = o.Tag + " " + m[len(m)-1]
				_, err = s.SendMessage(m)
			}
		}
	}
	return err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// process is a program that a test started.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *logBuffer
	log *logBuffer
}

// startPeer runs a copy of the test binary with orders.
func startPeer(t *testing.T, o echoOrders) *process {
	t.Helper()
	text, err := json.Marshal(o)
	must(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), pairPeerRole+"="+string(text))
	return startProcess(t, cmd)
}

// startAgent runs `gateway agent` beside the worker at an endpoint.
func startAgent(t *testing.T, g *gatewayProcess, name, worker string, more ...string) *process {
	t.Helper()
	args := append([]string{"agent", "-gateway", g.addr("vault/workers"), "-worker", worker, "-name", name, "-debug"}, more...)
	return startProcess(t, exec.Command(binary, args...))
}

func startProcess(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, out: &logBuffer{}, log: &logBuffer{}}
	var err error
	p.in, err = cmd.StdinPipe()
	must(t, err)
	cmd.Stdout, cmd.Stderr = p.out, p.log
	must(t, cmd.Start())
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s:\n%s", cmd.Args, p.log.tail(20))
		}
	})
	return p
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// ask sends through a client process and waits for the answer.
func (p *process) ask(text string, limit time.Duration) string {
	p.t.Helper()
	seen := len(p.out.String())
	_, err := fmt.Fprintln(p.in, text)
	must(p.t, err)
	eventually(p.t, limit, fmt.Sprintf("%q is answered", text), func() bool { return strings.Contains(p.out.String()[seen:], "\n") })
	return strings.TrimSpace(p.out.String()[seen:])
}
