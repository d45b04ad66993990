package zmtp

import (
	"errors"
	"fmt"
)

var (
	// ErrTooLarge is what errors.Is finds in a ProtocolError that says a frame, a message, the number of parts or the
	// metadata passed its limit.
	ErrTooLarge = errors.New("zmtp: too large")
	// ErrRefused is what errors.Is finds in an error that says this side turned the peer away: a key, a user or a socket
	// type that is not wanted here.
	ErrRefused = errors.New("zmtp: peer refused")
	// ErrOldVersion is what errors.Is finds when the peer speaks ZMTP 1 or 2.
	ErrOldVersion = errors.New("zmtp: peer speaks a version older than 3.0")
	// ErrHandshakeTimeout is what errors.Is finds when the handshake did not end within Options.HandshakeTimeout.
	ErrHandshakeTimeout = errors.New("zmtp: handshake took too long")
	// ErrSilent is what errors.Is finds when heartbeats found the peer dead.
	ErrSilent = errors.New("zmtp: peer is silent")
	// ErrClosed is returned by calls on a connection that this side has closed.
	ErrClosed = errors.New("zmtp: connection closed")
)

// Step is how far a connection had come when something went wrong.
type Step string

// The steps of a connection, in order (RFC 37, "Overall Behavior").
const (
	StepGreeting  Step = "greeting"
	StepHandshake Step = "handshake"
	StepTraffic   Step = "traffic"
)

// Reason is why a peer was turned away, in one word that fits a metric's label.
type Reason string

// The reasons of a ProtocolError.
const (
	ReasonSignature  Reason = "signature"   // the first ten bytes are not ZMTP's
	ReasonVersion    Reason = "version"     // ZMTP below 3.0, or CurveZMQ other than 1.0
	ReasonMechanism  Reason = "mechanism"   // another security mechanism than this side's, or none that exists
	ReasonFrame      Reason = "frame"       // reserved flags, MORE on a command, a size above 2^63-1
	ReasonTooLarge   Reason = "too-large"   // a limit of Options was passed
	ReasonCommand    Reason = "command"     // malformed, or not the one that is due
	ReasonMetadata   Reason = "metadata"    // malformed properties
	ReasonSocketType Reason = "socket-type" // missing, unknown, or no fit for this side's
	ReasonBox        Reason = "box"         // a CURVE box does not open: wrong key, altered or forged
	ReasonNonce      Reason = "nonce"       // a CURVE nonce was used again
	ReasonCookie     Reason = "cookie"      // INITIATE brings another connection's cookie, or a forged one
	ReasonVouch      Reason = "vouch"       // INITIATE does not prove that the client owns its key
	ReasonRefused    Reason = "refused"     // Authenticate said no
	ReasonFlood      Reason = "flood"       // more commands than a heartbeat explains
)

// ProtocolError says that the peer broke the protocol or a limit, at which step, and how. The connection is of no more
// use.
type ProtocolError struct {
	Step   Step
	Reason Reason
	Detail string // what came, and what would have been right
	Err    error  // what Authenticate returned, or nil
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("zmtp: %s: %s (%s)", e.Step, e.Detail, e.Reason)
}

// Unwrap returns Err.
func (e *ProtocolError) Unwrap() error { return e.Err }

// Is makes errors.Is find ErrTooLarge, ErrRefused and ErrOldVersion.
func (e *ProtocolError) Is(target error) bool {
	switch target {
	case ErrTooLarge:
		return e.Reason == ReasonTooLarge
	case ErrRefused:
		return e.Reason == ReasonRefused || e.Reason == ReasonSocketType
	case ErrOldVersion:
		return e.Reason == ReasonVersion && e.Step == StepGreeting
	}
	return false
}

// PeerError is the peer's ERROR command: it refuses this side. RFC 37 asks not to come back with the same credentials.
type PeerError struct {
	Reason string // as sent, 0 to 255 bytes, for logs only; libzmq sends a ZAP status such as "400"
}

func (e *PeerError) Error() string {
	return fmt.Sprintf("zmtp: handshake: the peer refused this side with ERROR %q", e.Reason)
}

// malformed makes an error of a codec, which does not know the step; inStep adds it. A %w becomes Err.
func malformed(reason Reason, format string, args ...any) *ProtocolError {
	text := fmt.Errorf(format, args...)
	return &ProtocolError{Reason: reason, Detail: text.Error(), Err: errors.Unwrap(text)}
}

func inStep(step Step, err error) error {
	var p *ProtocolError
	if errors.As(err, &p) && p.Step == "" {
		p.Step = step
	}
	return err
}
