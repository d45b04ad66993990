//go:build libzmq

package e2e

import (
	"testing"
	"time"

	gozmq "github.com/go-zeromq/zmq4"
	zmq "github.com/pebbe/zmq4"
)

// Subscriptions are messages in ZMTP 3.0, which go-zeromq speaks, and commands in 3.1, which libzmq speaks. Behind a gate the
// two understand each other, whichever is the worker.
func TestSubscriptionsPassTheGateBetweenZMTP30And31(t *testing.T) {
	const gate = `match { mechanism = ["NULL"] }`
	message := []string{"topic", "news"}
	publish := func(send func() error, received func() bool) {
		t.Helper()
		eventually(t, zmqTimeout, "the subscription arrives", func() bool {
			if err := send(); err != nil {
				t.Fatal(err)
			}
			return received()
		})
	}
	subscriber := func(t *testing.T, endpoint string) *zmq.Socket {
		sub := zmqSocket(t, zmq.SUB)
		must(t, sub.SetSubscribe("topic"), sub.SetRcvtimeo(20*time.Millisecond), sub.Connect(endpoint))
		return sub
	}

	t.Run("3.0 publishes to 3.1", func(t *testing.T) {
		g := pairGateway(t, "", gate)
		sub := subscriber(t, "tcp://"+g.addr("public"))
		pub := gozmq.NewPub(t.Context())
		defer pub.Close()
		must(t, pub.Dial(g.door()))
		publish(func() error { return pub.SendMulti(gozmq.NewMsgFrom([]byte(message[0]), []byte(message[1]))) }, func() bool {
			got, err := sub.RecvMessage(0)
			if err == nil {
				want(t, got, message...)
			}
			return err == nil
		})
	})
	t.Run("3.1 publishes to 3.0", func(t *testing.T) {
		g := pairGateway(t, "", gate)
		pub := zmqSocket(t, zmq.PUB)
		must(t, pub.Connect(g.door()))
		sub := gozmq.NewSub(t.Context())
		defer sub.Close()
		must(t, sub.SetOption(gozmq.OptionSubscribe, "topic"), sub.Dial("tcp://"+g.addr("public")))
		got := make(chan gozmq.Msg, 1)
		go func() {
			if m, err := sub.Recv(); err == nil {
				got <- m
			}
		}()
		publish(func() error { _, err := pub.SendMessage(message); return err }, func() bool {
			select {
			case m := <-got:
				want(t, []string{string(m.Frames[0]), string(m.Frames[1])}, message...)
				return true
			case <-time.After(20 * time.Millisecond):
				return false
			}
		})
	})
	t.Run("3.1 publishes to 3.1", func(t *testing.T) {
		g := pairGateway(t, "", gate)
		pub := zmqSocket(t, zmq.PUB)
		must(t, pub.Connect(g.door()))
		sub := subscriber(t, "tcp://"+g.addr("public"))
		publish(func() error { _, err := pub.SendMessage(message); return err }, func() bool {
			_, err := sub.RecvMessage(0)
			return err == nil
		})
	})
}
