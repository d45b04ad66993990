package zmtp

import (
	"encoding/binary"
	"time"
)

// Names of the commands that this package sends and understands.
const (
	nameReady     = "READY"
	nameError     = "ERROR"
	nameHello     = "HELLO"
	nameWelcome   = "WELCOME"
	nameInitiate  = "INITIATE"
	nameMessage   = "MESSAGE"
	nameSubscribe = "SUBSCRIBE"
	nameCancel    = "CANCEL"
	namePing      = "PING"
	namePong      = "PONG"
)

const (
	errorReasonBytesMax = 255
	pingContextBytesMax = 16
	// pingTTLUnit is the unit of a PING's time to live: "tenths of seconds" (RFC 37, "Connection Heartbeating").
	pingTTLUnit = 100 * time.Millisecond
)

// ParseCommand splits the body of a command frame into its name (1 to 255 letters) and its data. Both alias body.
func ParseCommand(body []byte) (name, data []byte, err error) {
	if len(body) == 0 {
		return nil, nil, malformed(ReasonCommand, "a command of no bytes")
	}
	size := int(body[0])
	if size == 0 || size > len(body)-1 {
		return nil, nil, malformed(ReasonCommand, "a command of %d bytes announces a name of %d", len(body), size)
	}
	name, data = body[1:1+size], body[1+size:]
	for _, c := range name {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return nil, nil, malformed(ReasonCommand, "byte %#02x in a command's name", c)
		}
	}
	return name, data, nil
}

// AppendCommand appends a whole command frame.
func AppendCommand(b []byte, name string, data []byte) []byte {
	b = AppendFrameHeader(b, FlagCommand, 1+len(name)+len(data))
	return append(appendCommandName(b, name), data...)
}

func appendCommandName(b []byte, name string) []byte {
	return append(append(b, byte(len(name))), name...)
}

// ParseError reads the data of an ERROR command: a reason, to be logged (RFC 37, "The NULL Security Mechanism").
func ParseError(data []byte) (*PeerError, error) {
	if len(data) == 0 || int(data[0]) != len(data)-1 {
		return nil, malformed(ReasonCommand, "an ERROR of %d bytes whose reason has another size", len(data))
	}
	return &PeerError{Reason: string(data[1:])}, nil
}

// AppendError appends a whole ERROR command frame. The reason is cut at 255 bytes, and what is not a visible ASCII
// character becomes a dash, as the grammar (VCHAR) has it.
func AppendError(b []byte, reason string) []byte {
	reason = reason[:min(len(reason), errorReasonBytesMax)]
	b = AppendFrameHeader(b, FlagCommand, 1+len(nameError)+1+len(reason))
	b = append(appendCommandName(b, nameError), byte(len(reason)))
	for i := range len(reason) {
		c := reason[i]
		if c < 0x21 || c > 0x7E {
			c = '-'
		}
		b = append(b, c)
	}
	return b
}

// Ping is a heartbeat.
type Ping struct {
	TTL     time.Duration // how long the sender may then be silent; 0 = no such promise
	Context []byte        // 0 to 16 bytes that the PONG repeats
}

// ParsePing reads the data of a PING command. The context aliases data.
func ParsePing(data []byte) (Ping, error) {
	if len(data) < 2 || len(data) > 2+pingContextBytesMax {
		return Ping{}, malformed(ReasonCommand, "a PING of %d bytes, want 2 to %d", len(data), 2+pingContextBytesMax)
	}
	return Ping{TTL: time.Duration(binary.BigEndian.Uint16(data)) * pingTTLUnit, Context: data[2:]}, nil
}

// appendPingBody appends the body of a PING command; a TTL above the largest that fits (6553.5 s) is cut to it.
func appendPingBody(b []byte, p Ping) []byte {
	ttl := min(max(p.TTL/pingTTLUnit, 0), 1<<16-1)
	b = binary.BigEndian.AppendUint16(appendCommandName(b, namePing), uint16(ttl))
	return append(b, p.Context...)
}

func appendPongBody(b, context []byte) []byte {
	return append(appendCommandName(b, namePong), context...)
}
