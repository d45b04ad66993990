package pair

import (
	"strings"
	"testing"

	"gateway/internal/zmtp"
)

// Whatever comes in a handshake, the gate and the watch on the handshake answer with yes or no.
func FuzzHandshakeCommands(f *testing.F) {
	f.Add([]byte(hello))
	f.Add([]byte(welcome + strings.Repeat("w", 160)))
	f.Add([]byte("\x04\x08\x05HELLO\x00\x00"))
	f.Add([]byte("\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x05DEALER"))
	f.Add([]byte("\x04\x0a\x05ERROR\x03400"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		header, n, err := zmtp.ParseFrameHeader(frame)
		if err != nil || n == 0 || uint64(len(frame)-n) < header.Size {
			return // the reader of frames lets nothing like it through
		}
		frame = frame[:n+int(header.Size)]
		for m, following := range turns {
			if identity, err := firstWords(m, frame, frame[n:]); err != nil && identity != "" {
				t.Errorf("%s: the identity %q of a command that is refused", m, identity)
			}
			for _, turn := range following {
				if refused, _ := checkTurn(turn, m, frame); refused && !turn.worker {
					t.Errorf("%s: the client refused its worker", m)
				}
			}
		}
	})
}
