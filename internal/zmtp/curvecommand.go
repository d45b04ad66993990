package zmtp

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"

	"golang.org/x/crypto/nacl/box"
)

// Sizes of the CURVE commands' bodies (RFC 26, "High-level Grammar"); M is the size of the metadata.
const (
	helloBytes       = 200
	welcomeBytes     = 168
	initiateBytesMin = 257 // + M
	readyBytesMin    = 30  // + M
	messageBytesMin  = 33  // + the payload

	// HelloFrameBytes is the size of a HELLO with its frame header: 04 C8, then 200 bytes.
	HelloFrameBytes = 2 + helloBytes

	longNonceBytes  = 16
	shortNonceBytes = 8
	cookieBytes     = longNonceBytes + 64 + box.Overhead // nonce, then the box of C' and s'
)

// Prefixes of the 24-byte nonces: 16 bytes before a short nonce, 8 before a long one (RFC 26).
const (
	prefixHello         = "CurveZMQHELLO---"
	prefixInitiate      = "CurveZMQINITIATE"
	prefixReady         = "CurveZMQREADY---"
	prefixMessageServer = "CurveZMQMESSAGES"
	prefixMessageClient = "CurveZMQMESSAGEC"
	prefixWelcome       = "WELCOME-"
	prefixCookie        = "COOKIE--"
	prefixVouch         = "VOUCH---"
)

type nonce = [24]byte

func shortNonce(prefix string, counter uint64) (n nonce) {
	copy(n[:], prefix)
	binary.BigEndian.PutUint64(n[16:], counter)
	return n
}

func longNonce(prefix string, suffix []byte) (n nonce) {
	copy(n[:], prefix)
	copy(n[8:], suffix)
	return n
}

func randomLongNonce(prefix string) (n nonce) {
	copy(n[:], prefix)
	_, _ = rand.Read(n[8:]) // crypto/rand.Read never fails
	return n
}

// Hello is a well-formed CURVE HELLO: the first command of a client, which says for whose secret key it was made to
// nobody but the holder of that key.
type Hello struct {
	client PublicKey // C', the client's short-term key
	nonce  uint64
	box    [64 + box.Overhead]byte // 64 zeros, from C' to S
}

// ParseHelloFrame reads a HELLO with its frame header from the start of b, which needs HelloFrameBytes. It takes only the
// header that every implementation sends, 04 C8. A gate in front of somebody else's CURVE server uses it: what passes
// may still be made for another key.
func ParseHelloFrame(b []byte) (Hello, error) {
	if len(b) < HelloFrameBytes {
		return Hello{}, malformed(ReasonCommand, "a HELLO of %d bytes, want %d", len(b), HelloFrameBytes)
	}
	if b[0] != byte(FlagCommand) || b[1] != helloBytes {
		return Hello{}, malformed(ReasonCommand, "a frame starting with % x where HELLO (04 c8) is due", b[:2])
	}
	return parseHello(b[2:HelloFrameBytes])
}

// parseHello reads the body of a HELLO.
func parseHello(body []byte) (h Hello, err error) {
	data, err := expectCommand(body, nameHello)
	if err != nil {
		return h, err
	}
	if len(body) != helloBytes {
		return h, malformed(ReasonCommand, "a HELLO of %d bytes, want %d", len(body), helloBytes)
	}
	if data[0] != 1 || data[1] != 0 {
		return h, malformed(ReasonVersion, "a HELLO of CurveZMQ %d.%d, want 1.0", data[0], data[1])
	}
	if !bytes.Equal(data[2:74], make([]byte, 72)) {
		return h, malformed(ReasonCommand, "a HELLO whose padding is not zero")
	}
	copy(h.client[:], data[74:])
	h.nonce = binary.BigEndian.Uint64(data[106:])
	copy(h.box[:], data[114:])
	return h, nil
}

// OpensWith says whether the HELLO was made for the holder of this secret key.
func (h *Hello) OpensWith(secret SecretKey) bool {
	_, ok := h.open(&secret)
	return ok
}

// open returns the key between C' and s, with which WELCOME is sealed.
func (h *Hello) open(secret *SecretKey) (shared [KeyBytes]byte, ok bool) {
	shared, err := sharedKey(&h.client, secret)
	if err != nil {
		return shared, false // a low-order key would open with every secret key
	}
	n := shortNonce(prefixHello, h.nonce)
	zeros, ok := box.OpenAfterPrecomputation(nil, h.box[:], &n, &shared)
	return shared, ok && bytes.Equal(zeros, make([]byte, 64))
}

// appendHello appends the body of a HELLO from the client's short-term key to the server's long-term key.
func appendHello(out []byte, counter uint64, client KeyPair, shared *[KeyBytes]byte) []byte {
	out = append(appendCommandName(out, nameHello), 1, 0)
	out = append(out, make([]byte, 72)...)
	out = append(out, client.Public[:]...)
	out = binary.BigEndian.AppendUint64(out, counter)
	n := shortNonce(prefixHello, counter)
	return box.SealAfterPrecomputation(out, make([]byte, 64), &n, shared)
}
