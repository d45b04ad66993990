package zmtp

import (
	"bytes"
)

// Sizes of the greeting (RFC 37, "Formal Grammar").
const (
	SignatureBytes = 10 // FF, eight bytes of padding, 7F
	GreetingBytes  = 64

	majorAt       = 10
	minorAt       = 11
	mechanismAt   = 12
	mechanismSize = 20
	asServerAt    = 32
)

// Mechanism is the name of a security mechanism, as the greeting carries it.
type Mechanism string

// The mechanisms that this package speaks; a greeting may name any other.
const (
	MechanismNull  Mechanism = "NULL"
	MechanismPlain Mechanism = "PLAIN"
	MechanismCurve Mechanism = "CURVE"
)

// Greeting is the first 64 bytes that each side sends. The padding of the signature carries nothing (RFC 37: "MUST NOT
// validate this nor interpret it").
type Greeting struct {
	Major     byte // at least 3
	Minor     byte // 0 or 1 today; a higher one is spoken to as 3.1
	Mechanism Mechanism
	AsServer  bool // of no use: every implementation sends false, CURVE servers too
}

// Append appends the 64 bytes of g.
func (g Greeting) Append(b []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, GreetingBytes)...)
	out := b[start:]
	out[0], out[SignatureBytes-1] = 0xFF, 0x7F
	// libzmq puts its routing id's size + 1 into the padding, which makes the ten bytes a valid ZMTP 1.0 header. An old
	// peer then waits for a version instead of failing on a frame of size zero.
	out[8] = 1
	out[majorAt], out[minorAt] = g.Major, g.Minor
	copy(out[mechanismAt:mechanismAt+mechanismSize], g.Mechanism)
	if g.AsServer {
		out[asServerAt] = 1
	}
	return b
}

// ParseGreeting reads the first 64 bytes of b. It needs all of them; a Greeter takes them as they come.
func ParseGreeting(b []byte) (Greeting, error) {
	if len(b) < GreetingBytes {
		return Greeting{}, malformed(ReasonSignature, "a greeting of %d bytes, want %d", len(b), GreetingBytes)
	}
	if err := checkSignature(b); err != nil {
		return Greeting{}, err
	}
	if err := checkMajor(b[majorAt]); err != nil {
		return Greeting{}, err
	}
	mechanism, err := parseMechanism(b[mechanismAt : mechanismAt+mechanismSize])
	if err != nil {
		return Greeting{}, err
	}
	if b[asServerAt] > 1 {
		return Greeting{}, malformed(ReasonMechanism, "as-server is %#02x, want 0 or 1", b[asServerAt])
	}
	return Greeting{Major: b[majorAt], Minor: b[minorAt], Mechanism: mechanism, AsServer: b[asServerAt] == 1}, nil
}

// checkSignature looks at as much of the signature as b holds.
func checkSignature(b []byte) error {
	if len(b) > 0 && b[0] != 0xFF {
		return malformed(ReasonSignature, "first byte is %#02x, want 0xff", b[0])
	}
	if len(b) >= SignatureBytes && b[SignatureBytes-1] != 0x7F {
		return malformed(ReasonSignature, "tenth byte is %#02x, want 0x7f", b[SignatureBytes-1])
	}
	return nil
}

func checkMajor(major byte) error {
	if major < 3 {
		return malformed(ReasonVersion, "the peer announces ZMTP revision %d, this side speaks 3.0 and 3.1", major)
	}
	return nil
}

// parseMechanism reads the null-padded name. Known names cost no allocation.
func parseMechanism(field []byte) (Mechanism, error) {
	name, padding := field, []byte(nil)
	if end := bytes.IndexByte(field, 0); end >= 0 {
		name, padding = field[:end], field[end:]
	}
	if len(name) == 0 {
		return "", malformed(ReasonMechanism, "the greeting names no mechanism")
	}
	for _, c := range name {
		if !isMechanismChar(c) {
			return "", malformed(ReasonMechanism, "byte %#02x in the mechanism's name", c)
		}
	}
	for _, c := range padding {
		if c != 0 {
			return "", malformed(ReasonMechanism, "the mechanism's name is not padded with zeros")
		}
	}
	for _, known := range []Mechanism{MechanismNull, MechanismPlain, MechanismCurve} {
		if string(name) == string(known) {
			return known, nil
		}
	}
	return Mechanism(name), nil
}

func isMechanismChar(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '+'
}
