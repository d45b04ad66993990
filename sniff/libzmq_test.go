//go:build libzmq

package sniff

import (
	"strings"
	"testing"

	"github.com/pebbe/zmq4"
)

func TestRealLibzmqWithEveryTypeAndRoutingID(t *testing.T) {
	p := open(t, Options{})
	for _, socketType := range []zmq4.Type{zmq4.PUSH, zmq4.PULL, zmq4.REQ, zmq4.REP, zmq4.DEALER, zmq4.ROUTER, zmq4.PUB, zmq4.SUB, zmq4.PAIR} {
		for _, id := range []string{"", "client-01", strings.Repeat("x", 254), strings.Repeat("y", 255)} {
			socket, err := zmq4.NewSocket(socketType)
			if err != nil {
				t.Fatal(err)
			}
			if id != "" {
				err = socket.SetIdentity(id)
			}
			if err == nil {
				err = socket.SetLinger(0)
			}
			if err == nil {
				err = socket.Connect("tcp://" + p.addr)
			}
			if err != nil {
				t.Fatal(err)
			}
			c := p.next()
			if got := string(c.Prefix()); c.Protocol() != "zmtp" || len(got) != 10 {
				t.Errorf("%v with %d bytes of routing id: %q, %x", socketType, len(id), c.Protocol(), got)
			}
			socket.Close()
			c.end()
		}
	}
}
