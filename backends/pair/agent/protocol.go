package agent

// The protocol between an agent and the workers' door. One connection is one slot:
//
//	agent  "GWA1"
//	door   a nonce, 32 bytes
//	agent  HELLO: its size in 2 bytes, then its fields (Hello), then HMAC-SHA256, under the token, over all that went before
//	       on this connection
//	       silence, until a client comes
//	door   "GO", the client's address
//	agent  "OK", and the connection is the client's; or "NO" and why, and the connection is closed
//
// Instead of "GO", and instead of the silence, the door may say "NO" and why, and close. A text is preceded by its size in one
// byte, numbers are big-endian. HELLO may grow: what follows the fields that are known is skipped.

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// Magic is what an agent sends first, so that the door knows it from a ZMTP worker.
const Magic = "GWA1"

const (
	nonceBytes    = 32
	helloBytesMax = 1024
	nameBytesMax  = 64
	textBytesMax  = 255
	wordBytes     = 2 // of GO, OK and NO
	slotsMax      = 1<<16 - 1
)

// The words.
const (
	wordGo = "GO"
	wordOK = "OK"
	wordNo = "NO"
)

// Hello is what an agent says of itself.
type Hello struct {
	Name      string // of the worker, for balance, affinity and people: 1 to 64 letters, digits, "_", "-" and "."
	Slots     int    // how many connections it keeps with each gateway, at most 65535
	Load      int    // how many clients it serves now, those of other gateways included
	Minor     byte   // of the worker's ZMTP version
	Mechanism string // of the worker's greeting; empty when the worker does not speak ZMTP 3
}

// Denied is a NO of the other side.
type Denied struct{ Why string }

func (d *Denied) Error() string { return fmt.Sprintf("denied: %s", d.Why) }

// ErrToken tells that an agent does not know the token.
var ErrToken = errors.New("the token is wrong")

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// CheckName tells whether an agent may have this name.
func CheckName(name string) error {
	if len(name) > nameBytesMax || !namePattern.MatchString(name) {
		return fmt.Errorf("the name %.80q: a name is made of letters, digits, \"_\", \"-\" and \".\", at most %d of them", name, nameBytesMax)
	}
	return nil
}

// appendHello appends the fields of a HELLO.
func appendHello(b []byte, h Hello) []byte {
	b = appendText(b, h.Name)
	b = binary.BigEndian.AppendUint16(b, uint16(min(h.Slots, slotsMax)))
	b = binary.BigEndian.AppendUint16(b, uint16(min(h.Load, slotsMax)))
	b = append(b, h.Minor)
	return appendText(b, h.Mechanism)
}

// parseHello reads the fields of a HELLO; more may follow.
func parseHello(b []byte) (h Hello, err error) {
	name, b, ok := cutText(b)
	if !ok || len(b) < 5 {
		return h, errShort
	}
	h = Hello{Name: name, Slots: int(binary.BigEndian.Uint16(b)), Load: int(binary.BigEndian.Uint16(b[2:])), Minor: b[4]}
	if h.Mechanism, _, ok = cutText(b[5:]); !ok {
		return h, errShort
	}
	return h, CheckName(h.Name)
}

var errShort = errors.New("a HELLO that is cut short")

func appendText(b []byte, text string) []byte {
	text = text[:min(len(text), textBytesMax)]
	return append(append(b, byte(len(text))), text...)
}

func cutText(b []byte) (text string, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	end := 1 + int(b[0])
	return string(b[1:end]), b[end:], true
}

// sign is the HMAC over all that both sides have said.
func sign(token string, nonce, hello []byte) []byte {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte(Magic))
	mac.Write(nonce)
	mac.Write(hello)
	return mac.Sum(nil)
}

// Interview is the door's side of the beginning: it reads the magic, sends a nonce and reads HELLO. An empty token lets every
// agent in. The caller bounds it with the connection's deadlines.
func Interview(conn io.ReadWriter, token string) (Hello, error) {
	magic := make([]byte, len(Magic))
	if _, err := io.ReadFull(conn, magic); err != nil {
		return Hello{}, fmt.Errorf("agent: read the magic: %w", err)
	}
	if string(magic) != Magic {
		return Hello{}, fmt.Errorf("agent: the first bytes are %q, want %q", magic, Magic)
	}
	nonce := make([]byte, nonceBytes)
	_, _ = rand.Read(nonce) // never fails
	if _, err := conn.Write(nonce); err != nil {
		return Hello{}, fmt.Errorf("agent: write the nonce: %w", err)
	}
	hello, err := readHello(conn)
	if err != nil {
		return Hello{}, err
	}
	mac := make([]byte, sha256.Size)
	if _, err := io.ReadFull(conn, mac); err != nil {
		return Hello{}, fmt.Errorf("agent: read HELLO: %w", err)
	}
	if token != "" && !hmac.Equal(mac, sign(token, nonce, hello)) {
		return Hello{}, ErrToken
	}
	return parseHello(hello[2:])
}

// readHello reads a HELLO with its size.
func readHello(conn io.Reader) ([]byte, error) {
	hello := make([]byte, 2)
	if _, err := io.ReadFull(conn, hello); err != nil {
		return nil, fmt.Errorf("agent: read HELLO: %w", err)
	}
	size := int(binary.BigEndian.Uint16(hello))
	if size > helloBytesMax {
		return nil, fmt.Errorf("agent: a HELLO of %d bytes, at most %d", size, helloBytesMax)
	}
	hello = append(hello, make([]byte, size)...)
	if _, err := io.ReadFull(conn, hello[2:]); err != nil {
		return nil, fmt.Errorf("agent: read HELLO: %w", err)
	}
	return hello, nil
}

// Deny says NO. Nobody is told if that fails: the connection is closed anyway.
func Deny(conn io.Writer, why error) {
	_, _ = conn.Write(appendText([]byte(wordNo), why.Error()))
}

// Summon is the door's GO: it returns nil when the agent has its worker, and from then on the connection is the client's.
func Summon(conn io.ReadWriter, client string) error {
	if _, err := conn.Write(appendText([]byte(wordGo), client)); err != nil {
		return fmt.Errorf("write GO: %w", err)
	}
	word, text, err := readWord(conn, wordOK)
	switch {
	case err != nil:
		return fmt.Errorf("after GO: %w", err)
	case word == wordNo:
		return &Denied{text}
	case word != wordOK:
		return fmt.Errorf("after GO: the agent said %q, want %s or %s", word, wordOK, wordNo)
	}
	return nil
}

// introduce is the agent's side of the beginning.
func introduce(conn io.ReadWriter, token string, h Hello) error {
	if _, err := io.WriteString(conn, Magic); err != nil {
		return fmt.Errorf("write the magic: %w", err)
	}
	nonce := make([]byte, nonceBytes)
	if _, err := io.ReadFull(conn, nonce); err != nil {
		return fmt.Errorf("read the nonce (is that the workers' door?): %w", err)
	}
	fields := appendHello(nil, h)
	hello := append(binary.BigEndian.AppendUint16(nil, uint16(len(fields))), fields...)
	if _, err := conn.Write(bytes.Join([][]byte{hello, sign(token, nonce, hello)}, nil)); err != nil {
		return fmt.Errorf("write HELLO: %w", err)
	}
	return nil
}

// awaitGo waits for a client, and tells its address. The error is a *Denied if the door said NO.
func awaitGo(conn io.Reader) (client string, err error) {
	word, text, err := readWord(conn, "")
	switch {
	case err != nil:
		return "", err
	case word == wordNo:
		return "", &Denied{text}
	case word != wordGo:
		return "", fmt.Errorf("the door said %q, want %s or %s", word, wordGo, wordNo)
	}
	return text, nil
}

// accept tells the door that the worker is there.
func accept(conn io.Writer) error {
	_, err := io.WriteString(conn, wordOK)
	return err
}

// readWord reads a word and the text that follows it. bare is the word that has no text.
func readWord(conn io.Reader, bare string) (word, text string, err error) {
	b := make([]byte, wordBytes+1)
	if _, err := io.ReadFull(conn, b[:wordBytes]); err != nil {
		return "", "", err
	}
	if word = string(b[:wordBytes]); word == bare {
		return word, "", nil
	}
	if _, err := io.ReadFull(conn, b[wordBytes:]); err != nil {
		return "", "", err
	}
	follows := make([]byte, b[wordBytes])
	if _, err := io.ReadFull(conn, follows); err != nil {
		return "", "", err
	}
	return word, string(follows), nil
}
