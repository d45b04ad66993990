package sniff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Conn is a connection of which the first bytes were read to classify it. Reading starts with those bytes. It embeds
// the raw connection: everything else goes straight there.
//
// Rules: one goroutine reads at a time, as for any stream. The bytes that Prefix and Detach return lie inside the Conn:
// they stay valid and unchanged as long as someone holds them.
type Conn struct {
	net.Conn

	listener string // that accepted it
	protocol string
	prefix   [prefixBytesMax]byte
	read     uint8 // bytes of prefix that came from the peer
	replayed uint8 // bytes of prefix that Read has given out

	helloRead  bool // serverName is known
	serverName string
}

// Result is how sniffing a connection ended.
type Result int8

// The results.
const (
	Matched   Result = iota // Conn.Protocol says as what
	Unmatched               // the bytes fit no protocol
	TimedOut                // not enough bytes before the deadline
	Closed                  // the peer ended the connection, or it broke, before enough bytes came
	Refused                 // for the reason that a Refusal names
	Stopped                 // the server was closed meanwhile
)

// String returns the result as metrics and log lines name it.
func (r Result) String() string {
	switch r {
	case Matched:
		return "matched"
	case Unmatched:
		return "unmatched"
	case TimedOut:
		return "timeout"
	case Closed:
		return "closed"
	case Refused:
		return "refused"
	case Stopped:
		return "stopped"
	}
	return "unknown result"
}

// Refusal is the error of a connection that is turned away although it may be well-formed.
type Refusal struct {
	Reason string // one of few words, for metrics
	Err    error  // what exactly, for the log; may be nil
}

func (r *Refusal) Error() string {
	if r.Err == nil {
		return r.Reason
	}
	return r.Err.Error()
}

// Unwrap gives the details.
func (r *Refusal) Unwrap() error { return r.Err }

// resultOf tells how sniffing ended when reading failed with err.
func resultOf(err error) Result {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		return Refused
	case errors.Is(err, os.ErrDeadlineExceeded):
		return TimedOut
	}
	return Closed
}

// Detect classifies a connection that somebody else accepted, such as the inside of a TLS session, and returns when the
// result is known, after timeout at the latest. raw has no read deadline afterwards. The caller owns the Conn, whatever
// the result.
func Detect(raw net.Conn, protocols []Protocol, timeout time.Duration) (*Conn, Result) {
	c := &Conn{Conn: raw}
	return c, c.detect(protocols, timeout)
}

// Inside classifies what is inside a session that was built on an outer connection: TLS, once it has shaken hands. The
// outer one's deadline goes on. ServerName is the name that the client asked for. The caller owns the Conn, whatever the
// result.
func Inside(session net.Conn, serverName string, protocols []Protocol) (*Conn, Result) {
	c := &Conn{Conn: session, helloRead: true, serverName: hostName(serverName)}
	return c, c.classify(protocols)
}

// detect reads until the bytes are classified or cannot be. One deadline covers all reads: a peer that dribbles gets no
// more time than one that is silent.
func (c *Conn) detect(protocols []Protocol, timeout time.Duration) Result {
	if err := c.Conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return Closed // without a deadline nobody may wait for the peer
	}
	result := c.classify(protocols)
	// Whoever gets the connection next must not inherit the deadline. An error means that it is closed: they will see.
	_ = c.Conn.SetReadDeadline(time.Time{})
	return result
}

func (c *Conn) classify(protocols []Protocol) Result {
	var err error
	for {
		name, verdict := Classify(protocols, c.prefix[:c.read])
		switch {
		case verdict == Accept:
			c.protocol = name // even if err: the next Read meets it again
			return Matched
		case verdict == Reject:
			return Unmatched
		case err != nil:
			return resultOf(err)
		}
		var n int
		n, err = c.Conn.Read(c.prefix[c.read:])
		c.read += uint8(n)
		if n == 0 && err == nil {
			err = io.ErrNoProgress // a reader that does nothing must not make this loop spin
		}
	}
}

// peeker is a raw connection that can be read without waiting. It gives an error if nothing is there.
type peeker interface {
	TryRead([]byte) (int, error)
}

// peek tries to classify from what is there already, without waiting. What it read stays in the prefix.
func (c *Conn) peek(protocols []Protocol) bool {
	p, ok := c.Conn.(peeker)
	if !ok {
		return false
	}
	n, err := p.TryRead(c.prefix[:])
	if err != nil {
		return false
	}
	c.read = uint8(n)
	name, verdict := Classify(protocols, c.prefix[:n])
	c.protocol = name
	return verdict == Accept
}

// Listener returns the name of the listener that accepted the connection, "" for one that somebody else did.
func (c *Conn) Listener() string { return c.listener }

// Protocol returns the name of the protocol that was recognised, "" if none was.
func (c *Conn) Protocol() string { return c.protocol }

// ServerName returns the name that a TLS client asked for (SNI), in lower case: "" if it named none, or if known is false,
// for then nobody has read its ClientHello.
func (c *Conn) ServerName() (name string, known bool) { return c.serverName, c.helloRead }

// Misdirected tells whether a request for an authority must not be answered on this connection, because its TLS session was
// opened for another one, as far as the raw connection knows (RFC 9110, section 7.4: answer 421).
func (c *Conn) Misdirected(authority string) bool { return misdirected(c.Conn, authority) }

func misdirected(c net.Conn, authority string) bool {
	session, ok := c.(interface{ Misdirected(authority string) bool })
	return ok && session.Misdirected(authority)
}

// Prefix returns the bytes that sniffing has read and nobody has taken yet. It takes none.
func (c *Conn) Prefix() []byte {
	return c.prefix[c.replayed:c.read:c.read]
}

// Read returns the sniffed bytes first, then reads from the raw connection.
func (c *Conn) Read(p []byte) (int, error) {
	if c.replayed == c.read {
		return c.Conn.Read(p)
	}
	n := copy(p, c.Prefix())
	c.replayed += uint8(n)
	return n, nil
}

// TryWrite writes what the raw connection has room for, without waiting: less than all of p, and no error, says that it is
// full. It fails with [errors.ErrUnsupported] if the raw connection has no such method.
func (c *Conn) TryWrite(p []byte) (int, error) {
	if below, ok := c.Conn.(interface{ TryWrite([]byte) (int, error) }); ok {
		return below.TryWrite(p)
	}
	return 0, errors.ErrUnsupported
}

// CloseWrite sends FIN: the peer reads EOF and can still answer. It fails with [errors.ErrUnsupported] if the raw
// connection cannot be half-closed.
func (c *Conn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return fmt.Errorf("sniff: close the write side of a %T: %w", c, errors.ErrUnsupported)
}

// Detach gives up the bytes that were read and not yet taken, and the raw connection, to a caller that moves bytes
// itself. The bytes come before anything that raw returns. Do not read or write the Conn afterwards; closing it closes
// raw.
func (c *Conn) Detach() (prefix []byte, raw net.Conn) {
	prefix = c.Prefix()
	c.replayed = c.read
	return prefix, c.Conn
}
