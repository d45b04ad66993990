package zmtp

import (
	"context"
	"errors"
)

// handshakeOverheadBytes is what INITIATE, the largest command of a handshake, holds besides metadata.
const handshakeOverheadBytes = initiateBytesMin

// Accept terminates the connection here. What was announced already stands; o.Security must then be of the mechanism that
// the peer named. The whole handshake takes at most o.HandshakeTimeout from now. On failure the connection is closed.
func (l *Ladder) Accept(ctx context.Context, o Options) (*Conn, error) {
	return l.shake(ctx, o, true)
}

func (l *Ladder) shake(ctx context.Context, o Options, accepts bool) (*Conn, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, o.HandshakeTimeout, ErrHandshakeTimeout)
	defer cancel()
	c, err := l.shakeWithin(ctx, o, accepts)
	if err != nil {
		_ = l.conn.Close() // the handshake's error says more
		return nil, err
	}
	return c, nil
}

func (l *Ladder) shakeWithin(ctx context.Context, o Options, accepts bool) (*Conn, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	h, greeting, err := l.talk(ctx, &o, accepts)
	if err != nil {
		return nil, err
	}
	peer, seal, open := h.result()
	peer.Minor = greeting.Minor
	if greeting.Major > 3 {
		peer.Minor = 1 // "use its own protocol when talking to an equal or higher protocol peer" (RFC 37)
	}
	return newConn(l.conn, o, peer, seal, open), nil
}

// talk does all of the handshake's reading and writing and leaves no deadline on the connection.
func (l *Ladder) talk(ctx context.Context, o *Options, accepts bool) (handshake, Greeting, error) {
	defer l.arm(ctx)()
	greeting, err := l.exchangeGreetings(ctx, o, accepts)
	if err != nil {
		return nil, greeting, err
	}
	h := o.Security.newHandshake(o.local(accepts))
	return h, greeting, l.runHandshake(ctx, h, o.MetadataBytesMax+handshakeOverheadBytes)
}

// exchangeGreetings says all that has not been said and reads all of the peer's greeting. Who accepts names its mechanism
// after it has seen the peer's: a connecting libzmq that meets another mechanism than its own never comes back, while a
// connection that just ends is tried again.
func (l *Ladder) exchangeGreetings(ctx context.Context, o *Options, accepts bool) (Greeting, error) {
	if l.greeter.Said() < GreetingBytes {
		_, plain := o.Security.(PlainServer)
		_, curve := o.Security.(CurveServer)
		l.announced = Greeting{Major: 3, Minor: o.minor(), Mechanism: o.Security.Mechanism(), AsServer: plain || curve}
	}
	o.Announce30 = l.announced.Minor == 0
	if accepts {
		if err := l.climb(SignatureBytes+1, l.announced); err != nil {
			return Greeting{}, unwaited(ctx, StepGreeting, "its greeting", err)
		}
		if peer, err := l.checkGreeting(o.Security.Mechanism()); err != nil {
			return peer, err
		}
	}
	if err := l.climb(GreetingBytes, l.announced); err != nil {
		return Greeting{}, unwaited(ctx, StepGreeting, "its greeting (libzmq leaves like this when it wants another mechanism)", err)
	}
	return l.checkGreeting(o.Security.Mechanism())
}

func (l *Ladder) checkGreeting(want Mechanism) (Greeting, error) {
	peer, err := l.greeter.Greeting()
	if err == nil && (peer.Mechanism != want || l.announced.Mechanism != want) {
		err = inStep(StepGreeting, malformed(ReasonMechanism, "the peer's mechanism is %s, this side's is %s", peer.Mechanism, want))
	}
	return peer, err
}

// runHandshake carries commands between the connection and the state machine.
func (l *Ladder) runHandshake(ctx context.Context, h handshake, bytesMax int) error {
	out := h.start(nil)
	body, buf := l.body, []byte(nil)
	for done := false; !done; body = nil {
		if len(out) > 0 {
			if _, err := l.conn.Write(out); err != nil {
				return unwaited(ctx, StepHandshake, "its socket to take a command", err)
			}
		}
		var err error
		if body == nil {
			if buf, body, err = readCommand(l.conn, buf[:0], bytesMax); err != nil {
				return unwaited(ctx, StepHandshake, "its next command", err)
			}
		}
		if out, done, err = h.receive(out[:0], body); err != nil {
			l.sayGoodbye(out)
			return handshakeError(err)
		}
	}
	if len(out) > 0 {
		if _, err := l.conn.Write(out); err != nil {
			return unwaited(ctx, StepHandshake, "its socket to take the last command", err)
		}
	}
	return nil
}

// sayGoodbye sends the ERROR that a refused peer gets, if any. Whether it arrives makes no difference to this side.
func (l *Ladder) sayGoodbye(out []byte) {
	if len(out) > 0 {
		_, _ = l.conn.Write(out)
	}
}

func handshakeError(err error) error {
	var refusal *PeerError
	if errors.As(err, &refusal) {
		return err
	}
	return inStep(StepHandshake, err)
}
