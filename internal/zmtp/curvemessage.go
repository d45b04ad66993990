package zmtp

import (
	"encoding/binary"

	"golang.org/x/crypto/nacl/box"
)

// Flags inside a CURVE MESSAGE. RFC 26 knows the first alone; libzmq keeps its own message flags there, in which a
// command is 2, unlike in the clear frame.
const (
	payloadMore    = 1 << 0
	payloadCommand = 1 << 1
)

const messageHeaderBytes = 1 + len(nameMessage) + shortNonceBytes

// scratchKeepBytesMax is how much a scratch buffer may keep after a large message.
const scratchKeepBytesMax = 128 << 10

// sealer makes MESSAGE frames. It is not safe for concurrent use: nonces must go out in order.
type sealer struct {
	shared  [KeyBytes]byte
	prefix  string
	last    uint64 // the short nonce used last; 2^64 messages do not come
	scratch []byte // flags and body side by side, as box wants them
}

// appendFrame appends one frame with the payload of one clear frame. Like libzmq it sets no flags outside but LONG.
func (s *sealer) appendFrame(out []byte, flags byte, body []byte) []byte {
	s.last++
	n := shortNonce(s.prefix, s.last)
	s.scratch = append(append(s.scratch[:0], flags), body...)
	out = AppendFrameHeader(out, 0, messageHeaderBytes+box.Overhead+len(s.scratch))
	out = binary.BigEndian.AppendUint64(appendCommandName(out, nameMessage), s.last)
	out = box.SealAfterPrecomputation(out, s.scratch, &n, &s.shared)
	if cap(s.scratch) > scratchKeepBytesMax {
		s.scratch = nil
	}
	return out
}

// sealedSize is how many bytes appendFrame adds for a body of this size.
func sealedSize(body int) int {
	return frameHeaderBytesMax + messageHeaderBytes + box.Overhead + 1 + body
}

// opener opens MESSAGE bodies. It is not safe for concurrent use: nonces must come in order.
type opener struct {
	shared [KeyBytes]byte
	prefix string
	last   uint64 // the short nonce that came last
}

// open appends the flags and the payload to out. out must not overlap body.
func (o *opener) open(out, body []byte) ([]byte, error) {
	if len(body) < messageBytesMin {
		return out, malformed(ReasonCommand, "a MESSAGE of %d bytes, want at least %d", len(body), messageBytesMin)
	}
	if string(body[:1+len(nameMessage)]) != "\x07"+nameMessage {
		return out, malformed(ReasonCommand, "a frame starting with %.*q where MESSAGE is due", nameShownMax, body)
	}
	counter := binary.BigEndian.Uint64(body[1+len(nameMessage):])
	if counter <= o.last {
		return out, malformed(ReasonNonce, "MESSAGE has nonce %d after %d", counter, o.last)
	}
	n := shortNonce(o.prefix, counter)
	at := len(out)
	out, ok := box.OpenAfterPrecomputation(out, body[messageHeaderBytes:], &n, &o.shared)
	if !ok {
		return out, malformed(ReasonBox, "MESSAGE does not open")
	}
	o.last = counter
	switch out[at] {
	case 0, payloadMore, payloadCommand:
		return out, nil
	}
	return out, malformed(ReasonFrame, "payload flags %#02x", out[at])
}
