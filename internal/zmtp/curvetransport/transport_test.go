package curvetransport

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"

	"gateway/internal/zmtp"
)

// testWait bounds every wait of a test: long enough for a busy machine.
const testWait = 2 * time.Minute

var names atomic.Int64

// register makes the security available to zmq4 sockets and returns the name of its transport.
func register(t testing.TB, s zmtp.Security) string {
	t.Helper()
	name := fmt.Sprintf("curve%d", names.Add(1))
	if err := zmq4.RegisterTransport(name, New(zmtp.Options{Security: s})); err != nil {
		t.Fatal(err)
	}
	return name
}

func newPair(t testing.TB) zmtp.KeyPair {
	t.Helper()
	pair, err := zmtp.GenerateKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	t.Cleanup(cancel)
	return ctx
}

// closing closes a socket at the end of the test.
func closing(t testing.TB, s zmq4.Socket) zmq4.Socket {
	t.Cleanup(func() { s.Close() })
	return s
}

// within fails the test when f takes too long: zmq4's calls have no time limit of their own.
func within(t testing.TB, what string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(testWait):
		t.Fatalf("%s: no end", what)
	}
}

func TestGoZeroMQTalksCurveAtBothEnds(t *testing.T) {
	key := newPair(t)
	server, client := register(t, zmtp.CurveServer{Secret: key.Secret}), register(t, zmtp.CurveClient{Server: key.Public})
	rep, req := closing(t, zmq4.NewRep(testContext(t))), closing(t, zmq4.NewReq(testContext(t)))
	within(t, "listen", func() error { return rep.Listen(server + "://127.0.0.1:0") })
	within(t, "dial", func() error { return req.Dial(client + "://" + rep.Addr().String()) })
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	for _, parts := range [][][]byte{{[]byte("hello")}, {[]byte("a"), []byte("b")}, {large, []byte("end")}} {
		within(t, "exchange", func() error { return exchange(req, rep, parts) })
	}
}

func exchange(req, rep zmq4.Socket, parts [][]byte) error {
	for _, way := range [][2]zmq4.Socket{{req, rep}, {rep, req}} {
		if err := way[0].SendMulti(zmq4.NewMsgFrom(parts...)); err != nil {
			return err
		}
		got, err := way[1].Recv()
		if err != nil {
			return err
		}
		if len(got.Frames) != len(parts) || !bytes.Equal(bytes.Join(got.Frames, nil), bytes.Join(parts, nil)) {
			return fmt.Errorf("%d parts arrived of %d", len(got.Frames), len(parts))
		}
	}
	return nil
}

func TestGoZeroMQSubscribesUnderCurve(t *testing.T) {
	key := newPair(t)
	server, client := register(t, zmtp.CurveServer{Secret: key.Secret}), register(t, zmtp.CurveClient{Server: key.Public})
	pub, sub := closing(t, zmq4.NewPub(testContext(t))), closing(t, zmq4.NewSub(testContext(t)))
	within(t, "listen", func() error { return pub.Listen(server + "://127.0.0.1:0") })
	within(t, "dial", func() error { return sub.Dial(client + "://" + pub.Addr().String()) })
	within(t, "subscribe", func() error { return sub.SetOption(zmq4.OptionSubscribe, "news") })
	got := make(chan zmq4.Msg, 1)
	go func() {
		if m, err := sub.Recv(); err == nil {
			got <- m
		}
	}()
	for deadline := time.Now().Add(testWait); time.Now().Before(deadline); {
		for _, topic := range []string{"other", "news"} { // the subscription takes a moment to arrive
			if err := pub.Send(zmq4.NewMsgString(topic)); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case m := <-got:
			if m.String() != zmq4.NewMsgString("news").String() {
				t.Fatalf("got %v", m)
			}
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Fatal("nothing arrived")
}

func TestGoZeroMQWithAWrongKeyIsRefused(t *testing.T) {
	server := register(t, zmtp.CurveServer{Secret: newPair(t).Secret})
	client := register(t, zmtp.CurveClient{Server: newPair(t).Public})
	rep := closing(t, zmq4.NewRep(testContext(t)))
	within(t, "listen", func() error { return rep.Listen(server + "://127.0.0.1:0") })
	req := closing(t, zmq4.NewReq(testContext(t), zmq4.WithDialerMaxRetries(0), zmq4.WithAutomaticReconnect(false)))
	within(t, "dial", func() error {
		err := req.Dial(client + "://" + rep.Addr().String())
		if err == nil || !strings.Contains(err.Error(), "zmtp: handshake") {
			return fmt.Errorf("the dial ended with %v", err)
		}
		return nil
	})
}
