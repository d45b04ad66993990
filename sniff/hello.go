package sniff

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

const (
	// helloBytesMax is the most that is read of a ClientHello, over however many records it is split: a large one, with
	// keys that resist quantum computers, has 2 KiB.
	helloBytesMax = 16 << 10

	// hostNameBytesMax is what a name can have (RFC 1035, section 2.3.4). A longer one names nobody.
	hostNameBytesMax = 253
)

// HelloMalformed is the reason of a Refusal: what came is no ClientHello, or one that is too long.
const HelloMalformed = "client_hello"

// errHelloSeen stops a handshake of which nothing but the ClientHello is wanted.
var errHelloSeen = errors.New("the ClientHello was seen")

// ReadHello reads the ClientHello of c, whose protocol is TLS, and returns a connection in c's place that knows
// ServerName; what was read is read again from there. The caller sets the deadline. The error is a *Refusal, or that of
// reading. c is not to be used afterwards, but for Close.
func (c *Conn) ReadHello() (*Conn, error) {
	seen := &helloReader{from: c}
	name, err := seen.serverName()
	if err != nil {
		return nil, err
	}
	return &Conn{
		Conn:     &replayed{Conn: c.Conn, head: seen.read.Bytes()},
		protocol: c.protocol, helloRead: true, serverName: name,
	}, nil
}

// ServerNameOf returns the name that a ClientHello asks for, in lower case; "" if it asks for none. Where hello ends too early
// the error wraps [io.EOF].
func ServerNameOf(hello []byte) (string, error) {
	return (&helloReader{from: bytes.NewReader(hello)}).serverName()
}

// helloReader is what crypto/tls sees of a connection while it parses a ClientHello: bytes, as many as are allowed. It keeps
// them, and swallows the alert that answers a hello which leads nowhere.
type helloReader struct {
	net.Conn // nil: nothing but Read and Write is used
	from     io.Reader
	read     bytes.Buffer
	err      error // of reading
}

func (h *helloReader) serverName() (name string, err error) {
	err = tls.Server(h, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		name = hostName(hello.ServerName)
		return nil, errHelloSeen
	}}).Handshake()
	switch {
	case errors.Is(err, errHelloSeen):
	case h.err != nil:
		return "", h.err
	default:
		return "", &Refusal{HelloMalformed, fmt.Errorf("the ClientHello cannot be read: %w", err)}
	}
	return name, nil
}

// hostName is a client's word for a host as it is compared and logged.
func hostName(name string) string {
	if len(name) > hostNameBytesMax {
		return ""
	}
	return strings.ToLower(name)
}

func (h *helloReader) Read(p []byte) (int, error) {
	room := helloBytesMax - h.read.Len()
	if room == 0 {
		h.err = &Refusal{HelloMalformed, fmt.Errorf("the ClientHello is larger than %d bytes", helloBytesMax)}
		return 0, h.err
	}
	n, err := h.from.Read(p[:min(len(p), room)])
	h.read.Write(p[:n])
	if err != nil {
		h.err = err
	}
	return n, err
}

func (h *helloReader) Write(p []byte) (int, error) { return len(p), nil }

// replayed is a connection of which head was read already, to be read again.
type replayed struct {
	net.Conn
	head []byte
}

func (r *replayed) Read(p []byte) (int, error) {
	if len(r.head) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.head)
	r.head = r.head[n:]
	return n, nil
}

// Detach gives what was read, and the raw connection, to a relay.
func (r *replayed) Detach() (prefix []byte, raw net.Conn) {
	prefix = r.head
	r.head = nil
	return prefix, r.Conn
}

// CloseWrite sends FIN.
func (r *replayed) CloseWrite() error { return closeWrite(r.Conn) }
