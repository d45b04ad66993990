//go:build libzmq

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
	"golang.org/x/sys/unix"
)

// The close test: a CURVE client sends and leaves while the way back is full.
const (
	closeMessages     = 3000
	closeMessageBytes = 2000
	closeBackMessages = 400
	closeBackBytes    = 20000
	closeReadEvery    = 200 * time.Microsecond
)

// TestAllMessagesOfALeavingClientArrive reproduces what a relay that closes naively gets wrong: with the way back full
// when the client closes, its kernel answers with RST, and the worker receives a handful of the 3000 messages.
//
// The client leaves once its bytes have left its machine: what its own kernel still holds when it closes with unread
// bytes, that kernel throws away, relay or not.
func TestAllMessagesOfALeavingClientArrive(t *testing.T) {
	keys := newCurveKeys(t)
	worker, endpoint := bound(t, zmq.DEALER, func(s *zmq.Socket) {
		must(t, s.SetCurveServer(1), s.SetCurveSecretkey(keys.serverSecret), s.SetRcvhwm(10), s.SetSndhwm(5))
	})
	g := startGateway(t, fmt.Sprintf("listen \"127.0.0.1:0\" { name = \"public\" }\nrelay \"w\" { dial = [%q] }\n", endpoint))

	client, err := zmq.NewSocket(zmq.DEALER)
	must(t, err)
	must(t, client.SetCurveServerkey(keys.serverPublic), client.SetCurvePublickey(keys.clientPublic),
		client.SetCurveSecretkey(keys.clientSecret), client.SetRcvhwm(1), client.SetSndhwm(0), client.SetLinger(-1))
	fd := connectedDescriptor(t, client, "tcp://"+g.addr("public"))

	// Fill the way back: the client never reads.
	send(t, client, "hello")
	want(t, recv(t, worker), "hello")
	must(t, worker.SetSndtimeo(500*time.Millisecond))
	back := strings.Repeat("b", closeBackBytes)
	for range closeBackMessages {
		if _, err := worker.SendMessage(back); err != nil {
			break // full
		}
	}
	body := strings.Repeat("m", closeMessageBytes)
	received := make(chan error, 1)
	go func() { received <- receiveSlowly(worker, body) }()
	wire := 0
	for i := range closeMessages {
		head := fmt.Sprint(i)
		send(t, client, head, body)
		wire += curveFrameBytes(len(head)) + curveFrameBytes(len(body))
	}
	eventually(t, zmqTimeout, "the client's bytes have left its kernel", func() bool {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		must(t, err)
		return info.Bytes_acked >= uint64(wire)
	})
	must(t, client.Close())
	must(t, <-received)
	g.waitLog(`block=w .*result="client (reset|write_failed)"`, zmqTimeout) // it was that kind of end, not a clean one
}

// receiveSlowly takes all messages, in order, at the pace of a slow worker.
func receiveSlowly(worker *zmq.Socket, body string) error {
	for i := range closeMessages {
		m, err := worker.RecvMessage(0)
		if err != nil {
			return fmt.Errorf("after %d of %d messages: %w", i, closeMessages, err)
		}
		if len(m) != 2 || m[0] != fmt.Sprint(i) || m[1] != body {
			return fmt.Errorf("message %d is not what was sent", i)
		}
		time.Sleep(closeReadEvery) // the pace of the scenario, not a synchronisation
	}
	return nil
}

// curveFrameBytes is what a part of n bytes takes on the wire (RFC 26, MESSAGE; RFC 37, frame).
func curveFrameBytes(n int) int {
	n += 33
	if n > 255 {
		return n + 9
	}
	return n + 2
}

// connectedDescriptor connects and returns the descriptor of libzmq's TCP socket, from its monitor.
func connectedDescriptor(t *testing.T, s *zmq.Socket, endpoint string) int {
	t.Helper()
	const monitor = "inproc://close-test-monitor"
	must(t, s.Monitor(monitor, zmq.EVENT_CONNECTED))
	events := zmqSocket(t, zmq.PAIR)
	must(t, events.Connect(monitor), s.Connect(endpoint))
	_, _, fd, err := events.RecvEvent(0)
	must(t, err)
	return fd
}
