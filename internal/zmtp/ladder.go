package zmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Ladder answers a new ZMTP connection no further than it takes to know what to do with it:
//
//	step          writes                        returns
//	Signature     nothing                       that this is ZMTP
//	Major         the signature                 the major version: below 3 is a peer for a byte relay alone
//	Greeting      the major version             mechanism and minor version
//	FirstCommand  the rest, with a mechanism    NULL: READY (socket type, identity). CURVE and PLAIN: HELLO
//
// Each step takes those before it if they were not taken. At any point the connection can be terminated here (Accept) or
// handed over to a relay (HandOver). A Ladder reads no byte more than the step needs.
//
// Rules: a Ladder belongs to one goroutine. Steps take a context whose deadline bounds them; the caller gives one to the
// whole climb. A failed step leaves the connection open, so that the caller decides whether to close it or to hold it
// silent; a failed Accept closes it.
type Ladder struct {
	conn      net.Conn
	greeter   Greeter
	announced Greeting // what FirstCommand or Accept said
	after     []byte   // what was read behind the greeting: the first command's frame
	body      []byte   // the first command's body, part of after
}

// NewLadder starts at the bottom: nothing read, nothing written. Bytes that were sniffed must be replayed by conn.
func NewLadder(conn net.Conn) *Ladder { return &Ladder{conn: conn} }

// Signature reads the first ten bytes and writes nothing.
func (l *Ladder) Signature(ctx context.Context) error {
	defer l.arm(ctx)()
	return unwaited(ctx, StepGreeting, "its signature", l.see())
}

// Major writes the signature and reads the peer's major version, which may be below 3.
func (l *Ladder) Major(ctx context.Context) (byte, error) {
	defer l.arm(ctx)()
	err := l.climb(SignatureBytes, Greeting{Major: 3})
	major, _ := l.greeter.Major()
	return major, unwaited(ctx, StepGreeting, "its version", err)
}

// Greeting writes the major version and reads the rest of the greeting. A peer below version 3 is an ErrOldVersion, and
// nothing was written to it but the signature.
func (l *Ladder) Greeting(ctx context.Context) (Greeting, error) {
	defer l.arm(ctx)()
	if err := l.climb(SignatureBytes, Greeting{Major: 3}); err != nil {
		return Greeting{}, unwaited(ctx, StepGreeting, "its version", err)
	}
	major, _ := l.greeter.Major()
	if err := checkMajor(major); err != nil {
		return Greeting{}, inStep(StepGreeting, err)
	}
	if err := l.climb(SignatureBytes+1, Greeting{Major: 3}); err != nil {
		return Greeting{}, unwaited(ctx, StepGreeting, "the rest of its greeting", err)
	}
	return l.greeter.Greeting()
}

// Exchange writes a whole greeting at once and reads the peer's. It is for who has dialled: were both sides to climb, each
// would wait for the other.
func (l *Ladder) Exchange(ctx context.Context, minor byte, mechanism Mechanism) (Greeting, error) {
	defer l.arm(ctx)()
	l.announced = Greeting{Major: 3, Minor: minor, Mechanism: mechanism}
	if err := l.climb(GreetingBytes, l.announced); err != nil {
		return Greeting{}, unwaited(ctx, StepGreeting, "its greeting", err)
	}
	return l.greeter.Greeting()
}

// FirstCommand writes the rest of the greeting, announcing ZMTP 3.minor and the peer's own mechanism, and reads the
// peer's first command, of at most bytesMax. It returns the command's body; FirstFrame returns it with its header.
func (l *Ladder) FirstCommand(ctx context.Context, minor byte, bytesMax int) ([]byte, error) {
	if l.body != nil {
		return l.body, nil
	}
	peer, err := l.Greeting(ctx)
	if err == nil && l.greeter.Said() < GreetingBytes {
		_, err = l.Exchange(ctx, minor, peer.Mechanism)
	}
	if err != nil {
		return nil, err
	}
	defer l.arm(ctx)()
	if l.after, l.body, err = readCommand(l.conn, l.after, bytesMax); err != nil {
		return nil, unwaited(ctx, StepHandshake, "its first command", err)
	}
	return l.body, nil
}

// FirstFrame is the first command as it came, header and body: what ParseHelloFrame takes.
func (l *Ladder) FirstFrame() []byte { return l.after }

// HandOver gives the connection to a relay: all bytes that were read, which the partner must get, and the number of bytes
// that were written, as many of which must be swallowed from the start of the partner's stream (0 to 64). No deadline is
// left on the connection. A relay that swallows 64 bytes must have announced the partner's minor version in FirstCommand.
func (l *Ladder) HandOver() (read []byte, written int, conn net.Conn) {
	return append(l.greeter.Seen(), l.after...), l.greeter.Said(), l.conn
}

// climb says what is to be said and reads what can then be seen. It never waits before it speaks: the peer may be one
// that does.
func (l *Ladder) climb(upto int, own Greeting) error {
	if b := l.greeter.Say(upto, own); len(b) > 0 {
		if _, err := l.conn.Write(b); err != nil {
			return fmt.Errorf("write the greeting: %w", err)
		}
	}
	return l.see()
}

// see reads as much of the greeting as the peer can be expected to send.
func (l *Ladder) see() error {
	var chunk [GreetingBytes]byte
	for l.greeter.Wants() > 0 {
		n, err := l.conn.Read(chunk[:l.greeter.Wants()])
		if _, bad := l.greeter.Take(chunk[:n]); bad != nil {
			return bad
		}
		if err != nil && l.greeter.Wants() > 0 {
			return cutOff(err, len(l.greeter.Seen()))
		}
	}
	return nil
}

// arm lets the end of ctx interrupt reads and writes; the function that it returns takes that off again and leaves no
// deadline behind.
func (l *Ladder) arm(ctx context.Context) (disarm func()) {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = l.conn.SetDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	return func() {
		if !stop() {
			<-interrupted
		}
		_ = l.conn.SetDeadline(time.Time{})
	}
}

// unwaited says for what a step waited when it failed, and prefers the reason of the context's end to the time-out that
// the end caused.
func unwaited(ctx context.Context, step Step, awaited string, err error) error {
	var protocol *ProtocolError
	if err == nil || errors.As(err, &protocol) {
		return inStep(step, err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("zmtp: %s: waiting for %s: %w", step, awaited, err)
}

// cutOff tells the end of a stream between frames, which is io.EOF, from one within.
func cutOff(err error, got int) error {
	if err == io.EOF && got > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}
