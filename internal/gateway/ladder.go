package gateway

// The ladder: what a ZMTP client shows depends on how far it has been answered. The gateway answers only as far as a
// block that is still possible needs.
//
// Rules. What was read from the client is replayed to its partner; what was written to it is swallowed from the partner's
// stream. Up to Greeted the client's bytes reach the partner unchanged, minor version and mechanism too. At Introduced the
// gateway had to announce a minor version before it knew the partner, so it announces 3.0 and replays the client's greeting
// as 3.0: both ends then write subscriptions as messages, which every version reads, whatever the other could speak. ZMTP 2
// shows in the major version, after ten bytes that are the same in both: such a client goes on to the blocks that ask for
// nothing that it has not.

import (
	"context"
	"errors"
	"fmt"
	"net"

	"gateway/internal/zmtp"
	"gateway/sniff"
)

const (
	// introductionBytesMax bounds the READY of a NULL client: a socket type, a routing id, and room for properties.
	introductionBytesMax = 4 << 10

	// minorAnnounced is what both ends are told where the gateway completes the greeting.
	minorAnnounced = 0
	minorAt        = 11 // in the greeting (RFC 37)
)

// climb answers c until the table can choose. The connection that it returns is the one for the block's handler.
func (s *Server) climb(c *sniff.Conn, t *Table, f *Facts, more Fit, next int) (choice Choice, conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.options.GreetingTimeout)
	defer cancel()
	ladder := zmtp.NewLadder(c)
	for more != Fits {
		if more == NeedsGreeting {
			err = learnGreeting(ctx, ladder, f)
		} else {
			err = learnIntroduction(ctx, ladder, f)
		}
		if err != nil {
			return Choice{}, nil, err
		}
		choice, more, next = t.Choose(f, next)
	}
	read, written, _ := ladder.HandOver()
	if f.Level >= Introduced {
		read[minorAt] = minorAnnounced
	}
	return choice, &greetedConn{Conn: c, ladder: ladder, read: read, written: written}, nil
}

// learnGreeting climbs to Greeted. A ZMTP 2 client is no error: it has no mechanism.
func learnGreeting(ctx context.Context, ladder *zmtp.Ladder, f *Facts) error {
	greeting, err := ladder.Greeting(ctx)
	if err != nil && !errors.Is(err, zmtp.ErrOldVersion) {
		return err
	}
	f.Level, f.Mechanism = Greeted, greeting.Mechanism
	return nil
}

// learnIntroduction climbs to Introduced. It is asked for NULL and CURVE clients alone.
func learnIntroduction(ctx context.Context, ladder *zmtp.Ladder, f *Facts) error {
	body, err := ladder.FirstCommand(ctx, minorAnnounced, introductionBytesMax)
	if err != nil {
		return err
	}
	if f.Mechanism == zmtp.MechanismCurve {
		f.Level = Introduced
		if hello, err := zmtp.ParseHelloFrame(ladder.FirstFrame()); err == nil { // else it opens with no key
			f.Hello = &hello
		}
		return nil
	}
	return f.Introduce(body)
}

// Introduce learns from the first command of a NULL client, its READY (RFC 37), and raises the level to Introduced.
func (f *Facts) Introduce(body []byte) error {
	name, data, err := zmtp.ParseCommand(body)
	if err != nil {
		return err
	}
	if string(name) != "READY" {
		return fmt.Errorf("the NULL client begins with %.16q, not READY", name)
	}
	metadata, err := zmtp.ParseMetadata(data)
	if err != nil {
		return err
	}
	f.Level, f.SocketType, f.Identity = Introduced, metadata.SocketType(), string(metadata.Identity())
	return nil
}

// greetedConn is a ZMTP client whose greeting was answered, in part or whole.
type greetedConn struct {
	*sniff.Conn
	ladder  *zmtp.Ladder
	read    []byte // what it sent: its partner must get it
	written int    // how much it was answered: as much is swallowed from the start of its partner's stream
}

// Detach gives what was read and the raw connection to a relay.
func (c *greetedConn) Detach() (prefix []byte, raw net.Conn) {
	rest, raw := c.Conn.Detach()
	return append(c.read, rest...), raw
}

// Ladder goes on from where the client stands, for a block that terminates it.
func (c *greetedConn) Ladder() *zmtp.Ladder { return c.ladder }

// Answered is how many bytes of the partner's greeting the client has got from the gateway.
func (c *greetedConn) Answered() int { return c.written }
