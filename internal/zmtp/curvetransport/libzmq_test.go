//go:build libzmq

package curvetransport

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	zmq "github.com/pebbe/zmq4"

	"gateway/internal/zmtp"
)

// curveRoles runs a test with libzmq as the CURVE server and as the client; libzmq binds.
func curveRoles(t *testing.T, kind zmq.Type, run func(t *testing.T, libzmq *zmq.Socket, endpoint string)) {
	server, client := newPair(t), newPair(t)
	roles := map[string]struct {
		ours  zmtp.Security
		apply func(s *zmq.Socket) error
	}{
		"libzmq is the server": {zmtp.CurveClient{Server: server.Public}, func(s *zmq.Socket) error {
			return errors.Join(s.SetCurveServer(1), s.SetCurveSecretkey(server.Secret.Z85()))
		}},
		"libzmq is the client": {zmtp.CurveServer{Secret: server.Secret}, func(s *zmq.Socket) error {
			return errors.Join(s.SetCurveServerkey(server.Public.String()), s.SetCurvePublickey(client.Public.String()),
				s.SetCurveSecretkey(client.Secret.Z85()))
		}},
	}
	for name, role := range roles {
		t.Run(name, func(t *testing.T) {
			s, err := zmq.NewSocket(kind)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			err = errors.Join(role.apply(s), s.SetLinger(0), s.SetRcvtimeo(testWait), s.SetSndtimeo(testWait), s.Bind("tcp://127.0.0.1:*"))
			if err != nil {
				t.Fatal(err)
			}
			endpoint, err := s.GetLastEndpoint()
			if err != nil {
				t.Fatal(err)
			}
			run(t, s, register(t, role.ours)+strings.TrimPrefix(endpoint, "tcp"))
		})
	}
}

// shapes are the messages that every pattern carries; the last part of one has 1 MiB.
func shapes() [][][]byte {
	return [][][]byte{
		{[]byte("hello")}, {[]byte("a"), []byte("b"), []byte("c")}, {bytes.Repeat([]byte("x"), 256)},
		{[]byte("large"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16)},
	}
}

func same(got, want [][]byte) error {
	if len(got) != len(want) || !bytes.Equal(bytes.Join(got, []byte("|")), bytes.Join(want, []byte("|"))) {
		return fmt.Errorf("%d parts arrived, %d were sent, or their bytes differ", len(got), len(want))
	}
	return nil
}

func TestGoZeroMQRequestsFromLibzmqREPUnderCurve(t *testing.T) {
	curveRoles(t, zmq.REP, func(t *testing.T, rep *zmq.Socket, endpoint string) {
		req := closing(t, zmq4.NewReq(testContext(t)))
		within(t, "dial", func() error { return req.Dial(endpoint) })
		for _, parts := range shapes() {
			within(t, "exchange", func() error {
				if err := req.SendMulti(zmq4.NewMsgFrom(parts...)); err != nil {
					return err
				}
				got, err := rep.RecvMessageBytes(0)
				if err != nil {
					return err
				}
				if _, err := rep.SendMessage(got); err != nil {
					return err
				}
				back, err := req.Recv()
				return errors.Join(err, same(got, parts), same(back.Frames, parts))
			})
		}
	})
}

func TestGoZeroMQDealsWithLibzmqROUTERUnderCurve(t *testing.T) {
	curveRoles(t, zmq.ROUTER, func(t *testing.T, router *zmq.Socket, endpoint string) {
		dealer := closing(t, zmq4.NewDealer(testContext(t), zmq4.WithID(zmq4.SocketIdentity("me"))))
		within(t, "dial", func() error { return dealer.Dial(endpoint) })
		for _, parts := range shapes() {
			within(t, "exchange", func() error {
				if err := dealer.SendMulti(zmq4.NewMsgFrom(parts...)); err != nil {
					return err
				}
				got, err := router.RecvMessageBytes(0)
				if err != nil {
					return err
				}
				if string(got[0]) != "me" {
					return fmt.Errorf("the dealer's identity arrived as %q", got[0])
				}
				if _, err := router.SendMessage(got); err != nil {
					return err
				}
				back, err := dealer.Recv()
				return errors.Join(err, same(got[1:], parts), same(back.Frames, parts))
			})
		}
	})
}

func TestGoZeroMQPullsFromLibzmqPUSHUnderCurve(t *testing.T) {
	curveRoles(t, zmq.PUSH, func(t *testing.T, push *zmq.Socket, endpoint string) {
		pull := closing(t, zmq4.NewPull(testContext(t)))
		within(t, "dial", func() error { return pull.Dial(endpoint) })
		for _, parts := range shapes() {
			within(t, "push", func() error {
				if _, err := push.SendMessage(parts); err != nil {
					return err
				}
				got, err := pull.Recv()
				return errors.Join(err, same(got.Frames, parts))
			})
		}
	})
}

func TestGoZeroMQPublishesToLibzmqSUBUnderCurve(t *testing.T) {
	curveRoles(t, zmq.SUB, func(t *testing.T, sub *zmq.Socket, endpoint string) {
		if err := errors.Join(sub.SetSubscribe("large"), sub.SetRcvtimeo(20*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		pub := closing(t, zmq4.NewPub(testContext(t)))
		within(t, "dial", func() error { return pub.Dial(endpoint) })
		var got [][]byte
		for deadline := time.Now().Add(testWait); got == nil; { // the subscription takes a moment to arrive
			for _, parts := range shapes() {
				if err := pub.SendMulti(zmq4.NewMsgFrom(parts...)); err != nil {
					t.Fatal(err)
				}
			}
			if parts, err := sub.RecvMessageBytes(0); err == nil {
				got = parts
			}
			if time.Now().After(deadline) {
				t.Fatal("nothing arrived")
			}
		}
		if err := same(got, shapes()[3]); err != nil {
			t.Error(err)
		}
	})
}

func TestGoZeroMQWithAWrongKeyForLibzmqGivesUp(t *testing.T) {
	curveRoles(t, zmq.REP, func(t *testing.T, _ *zmq.Socket, endpoint string) {
		_, address, _ := strings.Cut(endpoint, "://")
		for _, wrong := range []zmtp.Security{zmtp.CurveClient{Server: newPair(t).Public}, zmtp.CurveServer{Secret: newPair(t).Secret}} {
			o := zmtp.Options{Security: wrong, HandshakeTimeout: 300 * time.Millisecond} // both clients, or both servers, is also wrong
			name := fmt.Sprintf("wrong%d", names.Add(1))
			if err := zmq4.RegisterTransport(name, New(o)); err != nil {
				t.Fatal(err)
			}
			req := closing(t, zmq4.NewReq(testContext(t), zmq4.WithDialerMaxRetries(0)))
			within(t, "dial", func() error {
				if req.Dial(name+"://"+address) == nil {
					return errors.New("was taken")
				}
				return nil
			})
		}
	})
}
