package sniff

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// clientHello is what crypto/tls sends first.
func clientHello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, config).Handshake()
		client.Close()
	}()
	header := make([]byte, tlsRecordHeaderBytes)
	if _, err := io.ReadFull(server, header); err != nil {
		t.Fatal(err)
	}
	record := append(header, make([]byte, binary.BigEndian.Uint16(header[3:]))...)
	if _, err := io.ReadFull(server, record[len(header):]); err != nil {
		t.Fatal(err)
	}
	return record
}

// split writes the handshake message of one record as records of size bytes.
func split(record []byte, size int) (records []byte) {
	for body := record[tlsRecordHeaderBytes:]; len(body) > 0; {
		n := min(size, len(body))
		records = append(records, 0x16, 3, 1, byte(n>>8), byte(n))
		records, body = append(records, body[:n]...), body[n:]
	}
	return records
}

// helloWithin reads the ClientHello of every TLS connection, as a listener that routes by name does.
func helloWithin(c *Conn, _ time.Time) (*Conn, Result, error) {
	if c.Protocol() != TLS.Name {
		return c, Matched, nil
	}
	c, err := c.ReadHello()
	return c, Matched, err
}

func TestNameInTheClientHelloIsReadAndNothingIsLost(t *testing.T) {
	whole := clientHello(t, &tls.Config{ServerName: "Edge.Example"})
	nameless := clientHello(t, &tls.Config{InsecureSkipVerify: true})
	old := clientHello(t, &tls.Config{ServerName: "old.example", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	long := clientHello(t, &tls.Config{ServerName: strings.Repeat("a23456789.", 30) + "example"})
	for _, h := range []struct {
		name, server string
		hello        []byte
	}{
		{"whole", "edge.example", whole},
		{"no name", "", nameless},
		{"TLS 1.1", "old.example", old},
		{"a name that is none", "", long},
		{"in records of 100 bytes", "edge.example", split(whole, 100)},
		{"in records of a byte", "edge.example", split(whole, 1)},
	} {
		for _, size := range []int{1, len(h.hello)} {
			p := open(t, Options{TLS: helloWithin})
			client := p.dial("")
			for piece := range slices.Chunk(h.hello, size) {
				client.Write(piece)
			}
			io.WriteString(client, "what follows")
			c := p.next()
			if name, known := c.ServerName(); name != h.server || !known || c.Protocol() != "tls" {
				t.Errorf("%s: %s for %q, %v", h.name, c.Protocol(), name, known)
			}
			prefix, raw := detachAll(c.Conn)
			client.CloseWrite()
			rest, err := io.ReadAll(raw)
			if got := string(prefix) + string(rest); got != string(h.hello)+"what follows" || err != nil {
				t.Errorf("%s: a relay gets %d bytes of %d, %v", h.name, len(got), len(h.hello), err)
			}
			c.end()
		}
	}
}

func TestNameIsReadBehindAPROXYHeader(t *testing.T) {
	hello := clientHello(t, &tls.Config{ServerName: "edge.example"})
	p := open(t, Options{TLS: helloWithin, ProxyFrom: everybody})
	p.dial("PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n" + string(hello))
	c := p.next()
	defer c.end()
	if name, _ := c.ServerName(); name != "edge.example" || c.RemoteAddr().String() != "192.0.2.7:4711" {
		t.Errorf("%q from %v", name, c.RemoteAddr())
	}
	if prefix, _ := detachAll(c.Conn); string(prefix) != string(hello) {
		t.Errorf("a relay gets %d bytes of %d", len(prefix), len(hello))
	}
}

func TestHelloThatIsNoneIsRefusedAndOneThatNeverEndsTimesOut(t *testing.T) {
	whole := clientHello(t, &tls.Config{ServerName: "edge.example"})
	broken := bytes.Clone(whole)
	for i := 60; i < len(broken); i++ {
		broken[i] = 0xff
	}
	huge := make([]byte, 60<<10) // a hello of many records that would go on for long
	copy(huge, whole[tlsRecordHeaderBytes:])
	huge[1], huge[2], huge[3] = 0, 0xff, 0xf0
	for _, h := range []struct {
		name, result, reason string
		sent                 []byte
	}{
		{"nonsense", "refused", HelloMalformed, broken},
		{"too long", "refused", HelloMalformed, split(append(make([]byte, tlsRecordHeaderBytes), huge...), 16000)},
		{"half", "timeout", "", whole[:len(whole)/2]},
		{"half, then gone", "closed", "", whole[:len(whole)/2]},
	} {
		p := open(t, Options{TLS: helloWithin, Timeout: timeoutOf(h.result == "timeout")})
		client := p.dial("")
		go client.Write(h.sent)
		if h.result == "closed" {
			eventually(t, "it to be accepted", func() bool { return p.sniffing() == 1 })
			client.CloseWrite()
		}
		expectEnd(t, client)
		p.server.Close()
		if p.results(h.result) != 1 || h.reason != "" && p.refused(h.reason) != 1 {
			t.Errorf("%s: %d counted as %s, %d refused: %s", h.name, p.results(h.result), h.result, p.refused(h.reason), p.log)
		}
	}
}

// terminate looks within TLS as a listener with a certificate does.
func terminate(config *tls.Config) func(*Conn, time.Time) (*Conn, Result, error) {
	return func(c *Conn, deadline time.Time) (*Conn, Result, error) {
		c, err := c.ReadHello()
		if err != nil {
			return nil, 0, err
		}
		session := tls.Server(c, config)
		if err := errors.Join(session.SetWriteDeadline(deadline), session.Handshake(), session.SetWriteDeadline(time.Time{})); err != nil {
			return nil, 0, err
		}
		inner, result := Inside(session, session.ConnectionState().ServerName, []Protocol{ZMTP, HTTP2, HTTP1, SSH})
		return inner, result, nil
	}
}

func TestWhatIsWithinTLSIsHandedOver(t *testing.T) {
	certificate := selfSigned(t)
	p := open(t, Options{TLS: terminate(&tls.Config{Certificates: []tls.Certificate{certificate}})})
	for _, s := range samples {
		if s.protocol == TLS.Name {
			continue
		}
		client := tls.Client(p.dial(""), &tls.Config{InsecureSkipVerify: true, ServerName: "edge.example"})
		if _, err := io.WriteString(client, s.bytes); err != nil {
			t.Fatal(err)
		}
		c := p.next()
		if name, _ := c.ServerName(); c.Protocol() != s.protocol || name != "edge.example" {
			t.Errorf("%s: recognised as %q for %q", s.peer, c.Protocol(), name)
		}
		expectRead(t, c, s.bytes)
		io.WriteString(c, "answer")
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if all, err := io.ReadAll(client); string(all) != "answer" || err != nil {
			t.Errorf("%s: the client read %q, %v", s.peer, all, err)
		}
		c.end()
	}
}

func TestReadLongAfterHandOverInsideTLSMeetsNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		p := openOn(t, l, Options{TLS: terminate(&tls.Config{Certificates: []tls.Certificate{selfSigned(t)}})})
		client := tls.Client(l.dial(), &tls.Config{InsecureSkipVerify: true})
		go io.WriteString(client, "SSH-2.0-test\r\n")
		c := p.next()
		expectRead(t, c, "SSH-2.0-test\r\n")
		time.Sleep(time.Hour)
		go io.WriteString(client, "still here")
		expectRead(t, c, "still here")
		go io.WriteString(c, "here too")
		expectRead(t, client, "here too")
		go client.Close()
		expectEnd(t, c)
		c.end()
		p.server.Close()
	})
}

func TestSilenceWithinTLSEndsAtTheOneDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 5 * time.Second
		l := newPipeListener()
		p := openOn(t, l, Options{Timeout: timeout, TLS: terminate(&tls.Config{Certificates: []tls.Certificate{selfSigned(t)}})})
		started := time.Now()
		raw := l.dial()
		time.Sleep(timeout / 2) // the handshake comes late, and gets no time of its own
		client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		expectEnd(t, client)
		p.server.Close()
		if took := time.Since(started); p.results("timeout") != 1 || took != timeout {
			t.Errorf("ended after %v; %d timed out", took, p.results("timeout"))
		}
	})
}

func TestHandshakeThatFailsIsLoggedWithItsReason(t *testing.T) {
	p := open(t, Options{TLS: func(*Conn, time.Time) (*Conn, Result, error) {
		return nil, 0, &Refusal{"tls_handshake", errors.New("no certificate suits")}
	}})
	expectEnd(t, p.dial(string(clientHello(t, &tls.Config{ServerName: "edge.example"}))))
	p.server.Close()
	if p.refused("tls_handshake") != 1 || !strings.Contains(p.log.String(), "no certificate suits") {
		t.Errorf("%d refused: %s", p.refused("tls_handshake"), p.log)
	}
}

func TestPlainClientIsRefusedWhereTLSIsAMust(t *testing.T) {
	kept := make(chan handed, 1)
	p := open(t, Options{
		TLSOnly:   true,
		TLS:       helloWithin,
		Quick:     func(*Conn, func()) bool { panic("it was offered before anybody looked into it") },
		Otherwise: func(c *Conn, _ Result, _ error, release func()) bool { kept <- handed{c, release}; return true },
	})
	for _, s := range samples {
		if s.protocol == TLS.Name {
			continue
		}
		p.dial(s.bytes)
		c := receive(t, kept, s.peer)
		if c.Protocol() != s.protocol {
			t.Errorf("%s: offered as %q", s.peer, c.Protocol())
		}
		c.end()
	}
	p.dial(string(clientHello(t, &tls.Config{ServerName: "edge.example"})))
	p.next().end()
	p.server.Close()
	if p.refused(PlainOnTLS) == 0 || p.results("refused") != p.refused(PlainOnTLS) || p.log.count("reason="+PlainOnTLS) == 0 {
		t.Errorf("%d refused: %s", p.refused(PlainOnTLS), p.log)
	}
}
