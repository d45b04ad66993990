//go:build libzmq

package e2e

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	zmq "github.com/pebbe/zmq4"
)

// TestCurveAndGRPCAreUnharmedByBrowsers: on one port, while one browser floods, one reads nothing, and others talk.
func TestCurveAndGRPCAreUnharmedByBrowsers(t *testing.T) {
	const rounds = 10
	keys := newCurveKeys(t)
	worker, workerEnd := bound(t, zmq.REP, func(s *zmq.Socket) { keys.worker(t, s) })
	g := startGateway(t, chatConfig("send_buffer = \"256KiB\"\n  hwm = 50")+fmt.Sprintf(`
relay "vault" {
  dial = [%q]
}
backend "greeter" { grpc = [%q] }
grpc "*" {
  to "greeter" {}
}
`, workerEnd, grpcServer(t)))
	filler := strings.Repeat("x", 32<<10)
	g.runProgram(t, func(m []string) [][]string {
		switch {
		case m[0] != "message":
			return nil
		case strings.HasPrefix(m[2], "flood"):
			time.Sleep(time.Millisecond) // a program that does not keep up
			return nil
		case m[2] == "feed me":
			all := make([][]string, 400) // more than all buffers on the way to a browser hold
			for i := range all {
				all[i] = []string{"message", m[1], filler}
			}
			return all
		}
		return echoOrBye(m)
	}, func(s *zmq.Socket) { must(t, s.SetRcvhwm(10), s.SetSndhwm(0)) })
	talker, lazy, flooder := visit(t, g.chat()), visit(t, g.chat()), visit(t, g.chat())
	must(t, lazy.WriteMessage(websocket.TextMessage, []byte("feed me"))) // and reads nothing of it
	var flooded atomic.Int64
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if flooder.WriteMessage(websocket.TextMessage, []byte("flood "+filler)) != nil {
				return
			}
			flooded.Add(1)
		}
	}()
	client := zmqSocket(t, zmq.REQ)
	keys.client(t, client)
	must(t, client.Connect("tcp://"+g.addr("public")))
	for i := range rounds {
		text := fmt.Sprint("round ", i)
		send(t, client, text)
		want(t, recv(t, worker), text)
		send(t, worker, text)
		want(t, recv(t, client), text)
		grpcCalls(t, g.addr("public"))
		must(t, talker.ask(text, text))
	}
	eventually(t, browserWait, "the browser that reads nothing is disconnected", func() bool {
		return g.metric(`gateway_sockjs_ended_total{block="/chat",reason="slow"}`) == 1
	})
	if flooded.Load() == 0 {
		t.Error("nobody flooded")
	}
}
