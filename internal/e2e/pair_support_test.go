//go:build libzmq

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// authenticate answers libzmq's servers of this process, from the first test that needs it on: PLAIN asks who may come.
func authenticate(t *testing.T) {
	t.Helper()
	must(t, startAuthentication())
}

var startAuthentication = sync.OnceValue(func() error {
	if err := zmq.AuthStart(); err != nil {
		return err
	}
	zmq.AuthAllow("*", "127.0.0.1")
	zmq.AuthPlainAdd("*", "user", "password")
	zmq.AuthCurveAdd("*", zmq.CURVE_ALLOW_ANY)
	return nil
})

// security is a mechanism, as the two ends set it.
type security struct {
	name           string
	client, worker func(*testing.T, *zmq.Socket)
}

// securities are the three mechanisms of libzmq.
func securities(keys curveKeys) []security {
	none := func(*testing.T, *zmq.Socket) {}
	return []security{
		{"NULL", none, none},
		{"PLAIN", func(t *testing.T, s *zmq.Socket) {
			must(t, s.SetPlainUsername("user"), s.SetPlainPassword("password"))
		}, func(t *testing.T, s *zmq.Socket) { must(t, s.SetPlainServer(1)) }},
		{"CURVE", keys.client, keys.worker},
	}
}

func (k curveKeys) client(t *testing.T, s *zmq.Socket) {
	t.Helper()
	must(t, s.SetCurveServerkey(k.serverPublic), s.SetCurvePublickey(k.clientPublic), s.SetCurveSecretkey(k.clientSecret))
}

func (k curveKeys) worker(t *testing.T, s *zmq.Socket) {
	t.Helper()
	must(t, s.SetCurveServer(1), s.SetCurveSecretkey(k.serverSecret))
}

// pairGateway is a gateway with one relay, "vault", whose workers connect in. more are further lines of the relay.
func pairGateway(t *testing.T, workers string, more ...string) *gatewayProcess {
	t.Helper()
	return startGateway(t, pairConfig(workers, more...))
}

func pairConfig(workers string, more ...string) string {
	return fmt.Sprintf(`
listen "127.0.0.1:0" { name = "public" }
admin { listen = "127.0.0.1:0" }
log { level = "debug" }
relay "vault" {
  workers {
    listen = "127.0.0.1:0"
    %s
  }
  %s
}
drain_timeout = "1s"
`, workers, strings.Join(more, "\n  "))
}

const curveOnly = `match { mechanism = ["CURVE"] }`

// door is where the workers of the relay "vault" connect to.
func (g *gatewayProcess) door() string { return "tcp://" + g.addr("vault/workers") }

// parked waits until so many workers are parked.
func (g *gatewayProcess) parked(n int) {
	g.t.Helper()
	eventually(g.t, zmqTimeout, fmt.Sprintf("%d workers are parked", n), func() bool { return g.metric("gateway_pair_parked") == float64(n) })
}

// zmqEcho serves on a socket in a goroutine of its own, which alone uses it, until the test ends: what comes goes back, with
// the tag before the last part. prepare connects it.
func zmqEcho(t *testing.T, kind zmq.Type, tag string, prepare func(*zmq.Socket)) {
	t.Helper()
	s := zmqSocket(t, kind)
	must(t, s.SetRcvtimeo(20*time.Millisecond), s.SetImmediate(true))
	prepare(s)
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			m, err := s.RecvMessage(0)
			if err == nil {
				m[len(m)-1] = tag + " " + m[len(m)-1]
				_, err = s.SendMessage(m)
			}
			if err != nil && zmq.AsErrno(err) != zmq.Errno(syscall.EAGAIN) && !errors.Is(err, zmq.ErrorSocketClosed) {
				t.Logf("worker %s: %v", tag, err)
			}
		}
	}()
}
