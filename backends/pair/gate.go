package pair

// The gate: a client is answered, in place of its worker, until it has shown the first command of its handshake; a worker is
// answered until it has shown its mechanism. So nothing but a well-formed beginning of a handshake ever costs a worker, and
// a key is not needed to see that.
//
// What was written to the one is left out of what it gets from the other (client.answered, worker.told). The client is told
// ZMTP 3.0, since its worker, which may speak 3.1 or not, is not known yet; its worker is told 3.0 of it too. Both then write
// subscriptions as messages, which every version reads.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"gateway/internal/zmtp"
)

const (
	minorAnnounced = 0
	minorAt        = 11 // in the greeting (RFC 37, "Formal Grammar")

	// readyBytesMax bounds a NULL client's READY, plainBytesMax a PLAIN client's HELLO: a name and a password of 255
	// bytes, each with its length (RFC 24).
	readyBytesMax = 4 << 10
	plainBytesMax = 6 + 2*256
)

// gate lets a client through to the room.
func (r *Rendezvous) gate(c *client) {
	ctx, cancel := context.WithTimeout(r.stopping, r.options.HandshakeTimeout)
	defer cancel()
	leave := r.gating.enter(c.conn)
	failed := c.climb(ctx, r.options.Mechanisms)
	if leave() {
		failed = r.expelled()
	}
	if failed != nil {
		r.refuse(c, Outcome{End: failed.end, Err: failed.err})
		return
	}
	r.admit(c)
}

// expelled is why a connection was closed at the gate.
func (r *Rendezvous) expelled() *failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return &failure{end: Stopped, err: ErrStopped}
	}
	return &failure{end: Crowded, err: errCrowded}
}

// errCrowded is why the oldest at the gate was closed.
var errCrowded = errors.New("pair: too many at the gate, this was the oldest")

// climb answers a client until its first command is there.
func (c *client) climb(ctx context.Context, allowed []zmtp.Mechanism) *failure {
	conn := &replayed{Conn: c.conn, ahead: c.tap.take(), written: c.answered}
	ladder := zmtp.NewLadder(conn)
	greeting, err := ladder.Greeting(ctx)
	if err != nil {
		return gateFailure(err)
	}
	if !slices.Contains(allowed, greeting.Mechanism) {
		return &failure{end: Mechanism, err: fmt.Errorf("pair: mechanism %s: only %v here", greeting.Mechanism, allowed)}
	}
	c.mechanism = greeting.Mechanism
	bytesMax, known := firstBytesMax[c.mechanism]
	if known {
		body, err := ladder.FirstCommand(ctx, minorAnnounced, bytesMax)
		if err == nil {
			c.identity, err = firstWords(c.mechanism, ladder.FirstFrame(), body)
		}
		if err != nil {
			return gateFailure(err)
		}
	}
	read, written, _ := ladder.HandOver()
	if known {
		read[minorAt] = minorAnnounced
	}
	c.answered = written
	c.tap.kept = append(read, conn.ahead...)
	return nil
}

// firstBytesMax bounds a client's first command. A mechanism that is not here is not known: whose turn it is to speak after the
// greeting is not known either, so its clients have shown enough when they have named it.
var firstBytesMax = map[zmtp.Mechanism]int{
	zmtp.MechanismNull:  readyBytesMax,
	zmtp.MechanismPlain: plainBytesMax,
	zmtp.MechanismCurve: zmtp.HelloFrameBytes - 2,
}

// firstWords checks the first command of a mechanism's client, and tells the routing id where it shows.
func firstWords(m zmtp.Mechanism, frame, body []byte) (identity string, err error) {
	if m == zmtp.MechanismCurve {
		_, err := zmtp.ParseHelloFrame(frame)
		return "", err
	}
	name, data, err := zmtp.ParseCommand(body)
	switch {
	case err != nil:
		return "", err
	case m == zmtp.MechanismPlain:
		return "", checkPlain(string(name), data)
	case string(name) != "READY":
		return "", fmt.Errorf("pair: a NULL client begins with READY, not %.16q", name)
	}
	metadata, err := zmtp.ParseMetadata(data)
	if err != nil {
		return "", err
	}
	return string(metadata.Identity()), nil
}

// checkPlain checks a HELLO of PLAIN: a name and a password, each after its length (RFC 24).
func checkPlain(name string, data []byte) error {
	if name != "HELLO" {
		return fmt.Errorf("pair: a PLAIN client begins with HELLO, not %.16q", name)
	}
	for range 2 {
		if len(data) == 0 || len(data) < 1+int(data[0]) {
			return errPlain
		}
		data = data[1+int(data[0]):]
	}
	if len(data) > 0 {
		return errPlain
	}
	return nil
}

var errPlain = errors.New("pair: a PLAIN client's HELLO is not a name and a password")

// greet answers a worker until its mechanism is known, and brings it into the room.
func (r *Rendezvous) greet(w *worker) {
	ctx, cancel := context.WithTimeout(r.stopping, r.options.HandshakeTimeout)
	defer cancel()
	leave := r.gating.enter(w.conn)
	conn := &replayed{Conn: w.conn, ahead: w.tap.take()}
	ladder := zmtp.NewLadder(conn)
	greeting, err := ladder.Greeting(ctx)
	failed := gateFailure(err)
	if failed == nil && !slices.Contains(r.options.Mechanisms, greeting.Mechanism) {
		failed = &failure{end: Mechanism, err: fmt.Errorf("pair: a worker of mechanism %s: only %v here", greeting.Mechanism, r.options.Mechanisms)}
	}
	if leave() {
		failed = r.expelled()
	}
	if failed == nil {
		var read []byte
		read, w.told, _ = ladder.HandOver()
		w.mechanism, w.tap.kept = greeting.Mechanism, append(read, conn.ahead...)
		r.place(w)
		return
	}
	o := Outcome{End: failed.end, Err: failed.err}
	if failed.end == Mechanism { // it would come back ten times a second
		r.hold(&w.peer, o)
		return
	}
	w.finish(o)
}

// failure is why a handshake did not come to its end.
type failure struct {
	end    End
	err    error
	silent bool // the worker has said nothing at all, which is no fault of the client's
}

// gateFailure classifies an error of the ladder.
func gateFailure(err error) *failure {
	if err == nil {
		return nil
	}
	var protocol *zmtp.ProtocolError
	end := FirstWords
	switch {
	case errors.Is(err, zmtp.ErrOldVersion):
		end = Mechanism
	case errors.As(err, &protocol):
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		end = Slow
	case isGone(err):
		end = Left
	}
	return &failure{end: end, err: err}
}

// isGone tells whether an error of I/O says that the peer ended the connection, or that it is closed.
func isGone(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &op)
}

// replayed is a connection of which something was read and written before: that is read again, and not written again.
type replayed struct {
	net.Conn
	ahead   []byte
	written int
}

func (c *replayed) Read(b []byte) (int, error) {
	if len(c.ahead) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.ahead)
	c.ahead = c.ahead[n:]
	return n, nil
}

func (c *replayed) Write(b []byte) (int, error) {
	before := min(c.written, len(b))
	c.written -= before
	if before == len(b) {
		return before, nil
	}
	n, err := c.Conn.Write(b[before:])
	return before + n, err
}

// keepAlive finds peers whose machine is gone: half a minute after the last sign of life, where the system can.
func keepAlive(c net.Conn) {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = wrapped.NetConn()
	}
	if tcp, ok := c.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		// Fails on a connection that is closed, which its first read tells too.
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveEvery, Count: keepAliveCount})
	}
}

const (
	keepAliveIdle  = 15 * time.Second
	keepAliveEvery = 5 * time.Second
	keepAliveCount = 3
)
