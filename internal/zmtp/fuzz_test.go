package zmtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// captureFolder holds what libzmq 4.3.4 sockets said to each other, a file a side.
const captureFolder = "testdata/libzmq-4.3.4"

type capturedFrame struct {
	header FrameHeader
	body   []byte
}

// captures returns every file of captureFolder.
func captures(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(captureFolder, "*.bin"))
	if err != nil || len(names) != 9 {
		t.Fatalf("%d captures, %v", len(names), err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(name)] = b
	}
	return all
}

// splitFrames cuts what follows a greeting into frames; a frame that is cut off at the end is left out.
func splitFrames(t testing.TB, b []byte) (frames []capturedFrame) {
	t.Helper()
	for {
		h, n, err := ParseFrameHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 || uint64(len(b)-n) < h.Size {
			return frames
		}
		frames = append(frames, capturedFrame{h, b[n : n+int(h.Size)]})
		b = b[n+int(h.Size):]
	}
}

// seedCommands adds the body of every captured command.
func seedCommands(f *testing.F, add func(name string, at int, body []byte)) {
	f.Helper()
	for name, b := range captures(f) {
		for i, frame := range splitFrames(f, b[GreetingBytes:]) {
			if frame.header.Command() {
				add(name, i, frame.body)
			}
		}
	}
}

func TestCapturedHandshakesOfLibzmqAreUnderstood(t *testing.T) {
	serverSecret, _ := ParseSecretKey(manServerSecret)
	for name, b := range captures(t) {
		greeting, err := ParseGreeting(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		frames := splitFrames(t, b[GreetingBytes:])
		switch name {
		case "null-client.bin":
			m, err := ParseMetadata(frames[0].body[6:])
			if err != nil || m.SocketType() != DEALER || string(m.Identity()) != "dealer" {
				t.Errorf("%s: %v, %v", name, m, err)
			}
		case "curve-client.bin":
			hello, err := parseHello(frames[0].body)
			if err != nil || !hello.OpensWith(serverSecret) || greeting.Mechanism != MechanismCurve {
				t.Errorf("%s: %+v, %v", name, greeting, err)
			}
		case "null-subscriber.bin":
			command, data, err := ParseCommand(frames[1].body)
			if s, ok := ParseSubscriptionCommand(command, data); err != nil || !ok || string(s.Topic) != "news" {
				t.Errorf("%s: %q, %v", name, frames[1].body, err)
			}
		}
	}
}

func FuzzGreeting(f *testing.F) {
	for _, b := range captures(f) {
		f.Add(b[:GreetingBytes])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseGreeting(b)
		if err != nil {
			return
		}
		again, err := ParseGreeting(g.Append(nil))
		if err != nil || again != g {
			t.Fatalf("%+v was read back as %+v, %v", g, again, err)
		}
	})
}

func FuzzCommand(f *testing.F) {
	seedCommands(f, func(_ string, _ int, body []byte) { f.Add(body) })
	f.Add([]byte("\x04PING\x00\x0ahi"))
	f.Add([]byte("\x05ERROR\x03400"))
	f.Fuzz(func(t *testing.T, body []byte) {
		name, data, err := ParseCommand(body)
		if err != nil {
			return
		}
		if 1+len(name)+len(data) != len(body) {
			t.Fatalf("%q lost bytes: %q, %q", body, name, data)
		}
		_, _ = ParsePing(data)
		_, _ = ParseError(data)
		_, _ = ParseMetadata(data)
		_, _ = ParseSubscriptionCommand(name, data)
	})
}

func FuzzMetadata(f *testing.F) {
	seedCommands(f, func(_ string, _ int, body []byte) {
		if name, data, err := ParseCommand(body); err == nil && string(name) == nameReady {
			f.Add(data)
		}
	})
	f.Add([]byte("\x01A\xff\xff\xff\xffx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMetadata(b)
		if err != nil {
			return
		}
		if again := m.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%q was read as %v, written as %q", b, m, again)
		}
	})
}

// FuzzCurveServer feeds a server a HELLO and an INITIATE. Without a secret key nobody gets in.
func FuzzCurveServer(f *testing.F) {
	var hello []byte
	seedCommands(f, func(name string, at int, body []byte) {
		if name == "curve-client.bin" && at == 0 {
			hello = body
		}
	})
	seedCommands(f, func(name string, _ int, body []byte) { f.Add(hello, body) })
	secret, err := ParseSecretKey(manServerSecret)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		h := side(CurveServer{Secret: secret}, ROUTER, true)
		if out, done, err := h.receive(nil, first); done || err == nil && len(out) != 2+welcomeBytes {
			t.Fatalf("HELLO % x: done %v, %d bytes", first, done, len(out))
		} else if err != nil {
			return
		}
		if out, done, err := h.receive(nil, second); done || err == nil {
			t.Fatalf("INITIATE % x: done %v, %d bytes", second, done, len(out))
		}
	})
}

// FuzzCurveClient feeds a client a WELCOME or READY. Without the server's secret key nothing passes for one.
func FuzzCurveClient(f *testing.F) {
	seedCommands(f, func(_ string, _ int, body []byte) { f.Add(body) })
	public, err := ParsePublicKey(manServerPublic)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		h := side(CurveClient{Server: public}, DEALER, false).(*curveClient)
		h.start(nil)
		if out, done, err := h.receive(nil, body); err == nil || done || len(out) > 0 {
			t.Fatalf("WELCOME % x: done %v, %d bytes", body, done, len(out))
		}
		h.welcomed = true
		if _, done, err := h.receive(nil, body); err == nil || done {
			t.Fatalf("READY % x was taken", body)
		}
	})
}

// FuzzReady feeds the handshakes without encryption two commands.
func FuzzReady(f *testing.F) {
	seedCommands(f, func(_ string, _ int, body []byte) { f.Add(body, body) })
	f.Fuzz(func(t *testing.T, first, second []byte) {
		yes := func(string, string) error { return nil }
		for _, s := range []Security{Null{}, PlainServer{Authenticate: yes}, PlainClient{}} {
			for _, accepts := range []bool{false, true} {
				h := side(s, ROUTER, accepts)
				h.start(nil)
				_, done, err := h.receive(nil, first)
				if !done && err == nil {
					_, done, _ = h.receive(nil, second)
				}
				if peer, _, _ := h.result(); done && !ROUTER.Fits(peer.SocketType()) {
					t.Fatalf("%T took a peer of type %q", s, peer.SocketType())
				}
			}
		}
	})
}

// FuzzTraffic feeds a connection what follows the handshake, and holds every message against the limits.
func FuzzTraffic(f *testing.F) {
	for name, b := range captures(f) {
		if name[0] != 'c' { // what is sealed opens nowhere else
			f.Add(b[GreetingBytes:])
		}
	}
	f.Add([]byte("\x01\x00\x01\x00\x00\x03end"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		o := Options{SocketType: XPUB, MessageBytesMax: 1000, FrameBytesMax: 900, PartsMax: 5, ReadBufferBytes: 64}.withDefaults()
		c := newConn(&scripted{in: bytes.NewReader(wire)}, o, Peer{Minor: 1, Mechanism: MechanismNull}, nil, nil)
		defer c.Close()
		for m := (&Message{}); ; {
			err := c.Recv(m)
			if err != nil {
				var p *ProtocolError
				var refusal *PeerError
				if !errors.As(err, &p) && !errors.As(err, &refusal) && err != io.EOF && err != io.ErrUnexpectedEOF {
					t.Fatalf("an error of no kind: %v", err)
				}
				return
			}
			if m.Kind() == KindMessage && (m.Len() == 0 || m.Len() > 5 || m.Bytes() > 1000) {
				t.Fatalf("a message of %d parts, %d bytes", m.Len(), m.Bytes())
			}
		}
	})
}

// scripted is a connection that says what a fuzzer came up with, and takes everything.
type scripted struct{ in *bytes.Reader }

func (s *scripted) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) LocalAddr() net.Addr              { return nil }
func (s *scripted) RemoteAddr() net.Addr             { return nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// FuzzLadder climbs over arbitrary bytes: every step ends, and what was read is handed over as it came.
func FuzzLadder(f *testing.F) {
	for _, b := range captures(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		l := NewLadder(&scripted{in: bytes.NewReader(wire)})
		_, err := l.FirstCommand(context.Background(), 1, 1000)
		read, written, _ := l.HandOver()
		if !bytes.HasPrefix(wire, read) || written > GreetingBytes || err == nil && len(read) <= GreetingBytes {
			t.Fatalf("read % x, written %d, %v", read, written, err)
		}
	})
}
