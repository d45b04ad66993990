//go:build libzmq

package relay

import (
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"
)

const (
	closingMessages     = 3000
	closingAttempts     = 5
	closingMessageBytes = 2_000
	pushedMessages      = 400
	pushedMessageBytes  = 20_000
	quiet               = time.Second            // nothing came, or went, for so long: nothing will
	workerPace          = 200 * time.Microsecond // between two messages that the worker reads
)

// A libzmq client that has traffic both ways, never reads, and closes: all that it sent reaches the worker. A relay that
// closes both sides on the first EOF delivers 12 of these 3000 messages, one that does not read ahead about 2300.
//
// The client's kernel answers the close with an RST and drops what it has not sent by then. Where the gateway got no
// processor for milliseconds that is more than nothing, whatever the gateway does: hence the attempts.
func TestLibzmqClientThatClosesLosesNoMessage(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			var received []int
			for range closingAttempts {
				n := closeWithFullReversePath(t, new(Group), network)
				if n == closingMessages {
					return
				}
				received = append(received, n)
			}
			t.Errorf("%v of %d messages reached the worker", received, closingMessages)
		})
	}
}

// closeWithFullReversePath tells how many messages reached the worker.
func closeWithFullReversePath(t *testing.T, g *Group, network string) (received int) {
	t.Helper()
	serverPublic, serverSecret, err := zmq4.NewCurveKeypair()
	if err != nil {
		t.Fatal(err)
	}
	zctx, err := zmq4.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	worker := dealer(t, zctx, func(s *zmq4.Socket) error {
		return firstError(s.SetRcvhwm(10), s.SetSndhwm(5), s.SetLinger(0), s.SetRcvtimeo(patience), s.SetSndtimeo(quiet),
			s.SetCurveServer(1), s.SetCurveSecretkey(serverSecret), s.Bind("tcp://127.0.0.1:*"))
	})
	endpoint, err := worker.GetLastEndpoint()
	if err != nil {
		t.Fatal(err)
	}
	gateway := relayTo(t, g, network, endpoint)

	clientPublic, clientSecret, err := zmq4.NewCurveKeypair()
	if err != nil {
		t.Fatal(err)
	}
	client := dealer(t, zctx, func(s *zmq4.Socket) error {
		return firstError(s.SetRcvhwm(1), s.SetLinger(-1), s.SetCurveServerkey(serverPublic),
			s.SetCurvePublickey(clientPublic), s.SetCurveSecretkey(clientSecret), s.Connect(gateway))
	})

	if _, err := client.SendBytes([]byte("hello"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := worker.RecvBytes(0); err != nil {
		t.Fatal(err)
	}
	if err := worker.SetRcvtimeo(quiet); err != nil {
		t.Fatal(err)
	}
	fillReversePath(worker)
	var clientSide sync.WaitGroup
	clientSide.Go(func() {
		body := make([]byte, closingMessageBytes)
		for range closingMessages {
			if _, err := client.SendBytes(body, 0); err != nil {
				t.Errorf("send: %v", err)
			}
		}
		client.Close()
	})
	received = serveClosing(worker)
	clientSide.Wait()
	worker.Close()
	zctx.Term()
	eventually(t, "the relays end", func() bool { return g.Live() == 0 })
	return received
}

// fillReversePath pushes messages to a client that never reads until they go no further.
func fillReversePath(worker *zmq4.Socket) {
	body := make([]byte, pushedMessageBytes)
	for range pushedMessages {
		if _, err := worker.SendBytes(body, 0); err != nil { // EAGAIN: no room for as long as the send time-out
			return
		}
	}
}

// serveClosing reads slowly, and tells how many messages it had received when there were enough, or when no more came.
func serveClosing(worker *zmq4.Socket) (received int) {
	pace := unix.NsecToTimespec(int64(workerPace))
	for received < closingMessages {
		if _, err := worker.RecvBytes(0); err != nil {
			return received
		}
		received++
		unix.Nanosleep(&pace, nil) // a timer of Go's would take five times as long
	}
	return received
}

func dealer(t *testing.T, zctx *zmq4.Context, set func(*zmq4.Socket) error) *zmq4.Socket {
	t.Helper()
	s, err := zctx.NewSocket(zmq4.DEALER)
	if err == nil {
		err = set(s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func firstError(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// relayTo listens for clients and relays each to the worker's endpoint. It gives the endpoint to connect to.
func relayTo(t *testing.T, g *Group, network, endpoint string) string {
	t.Helper()
	address, text := "127.0.0.1:0", "tcp://"
	if network == "unix" {
		address, text = filepath.Join(t.TempDir(), "s"), "ipc://"
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var host string
	if _, err := fmt.Sscanf(endpoint, "tcp://%s", &host); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			worker, err := net.Dial("tcp", host)
			if err != nil {
				client.Close()
				continue
			}
			g.Relay(client, worker, Limits{}, func(Stats, error) {})
		}
	}()
	return text + listener.Addr().String()
}
