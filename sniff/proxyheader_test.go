package sniff

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

// proxied is a header and what must come of it.
type proxied struct {
	name   string
	header string
	client string // "": the proxy itself
	local  string
	reason string // why it is refused; "": it is not
}

func v2Header(t testing.TB, source, destination net.Addr, extensions int) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, source, destination)
	if extensions > 0 {
		if err := h.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_NOOP, Value: make([]byte, extensions)}}); err != nil {
			t.Fatal(err)
		}
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func proxyHeaders(t testing.TB) []proxied {
	v4, v4to := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 443}
	v6, v6to := &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 4711}, &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 443}
	longest := "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
	if len(longest) != proxyV1BytesMax {
		t.Fatalf("the longest header has %d bytes", len(longest))
	}
	udp := []byte(v2Header(t, v4, v4to, 0))
	udp[13] = 0x12
	command := []byte(v2Header(t, v4, v4to, 0))
	command[12] = 0x2f
	return []proxied{
		{"v1 IPv4", "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", "192.0.2.7:4711", "198.51.100.1:443", ""},
		{"v1 IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "[2001:db8::7]:4711", "[2001:db8::1]:443", ""},
		{"v1 a health check", "PROXY UNKNOWN\r\n", "", "", ""},
		{"v1 the longest", longest, "", "", ""},
		{"v2 IPv4", v2Header(t, v4, v4to, 0), "192.0.2.7:4711", "198.51.100.1:443", ""},
		{"v2 IPv6", v2Header(t, v6, v6to, 0), "[2001:db8::7]:4711", "[2001:db8::1]:443", ""},
		{"v2 with a large extension", v2Header(t, v6, v6to, 3000), "[2001:db8::7]:4711", "[2001:db8::1]:443", ""},
		{"v2 from a unix socket", v2Header(t, &net.UnixAddr{Net: "unix", Name: "/run/client"}, &net.UnixAddr{Net: "unix", Name: "/run/edge"}, 0), "/run/client", "/run/edge", ""},
		{"v2 a health check", proxyV2Signature + "\x20\x00\x00\x00", "", "", ""},

		{"no header", string(zmtpSample), "", "", ProxyMissing},
		{"HTTP", "GET / HTTP/1.1\r\nHost: example\r\n\r\n", "", "", ProxyMissing},
		{"almost the signature of v2", "\r\n\r\n\x00\r\nQUIX\n\x21\x11\x00\x0c", "", "", ProxyMissing},
		{"v1 without an end", strings.Repeat("PROXY TCP4 ", 12), "", "", ProxyMalformed},
		{"v1 with nonsense", "PROXY TCP4 here there 1 2\r\n", "", "", ProxyMalformed},
		{"v1 ended by LF", "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n", "", "", ProxyMalformed},
		{"v1 with a name for a port", "PROXY TCP4 192.0.2.7 198.51.100.1 ssh 443\r\n", "", "", ProxyMalformed},
		{"v2 too long", proxyV2Signature + "\x21\x11\xff\xff", "", "", ProxyMalformed},
		{"v2 too short for its addresses", proxyV2Signature + "\x21\x11\x00\x04abcd", "", "", ProxyMalformed},
		{"v2 datagrams", string(udp), "", "", ProxyMalformed},
		{"v2 unknown command", string(command), "", "", ProxyMalformed},
	}
}

var zmtpSample = []byte("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03")

func everybody(net.Addr) bool { return true }

func TestClientBehindAProxyHasItsOwnAddress(t *testing.T) {
	for _, h := range proxyHeaders(t) {
		t.Run(h.name, func(t *testing.T) {
			p := open(t, Options{ProxyFrom: everybody})
			client := p.dial(h.header + "SSH-2.0-test\r\n")
			if h.reason != "" {
				expectEnd(t, client)
				p.server.Close()
				if n := p.refused(h.reason); n != 1 || p.results("refused") != 1 || p.log.count("reason="+h.reason) != 1 {
					t.Errorf("%d refused as %s: %s", n, h.reason, p.log)
				}
				return
			}
			c := p.next()
			defer c.end()
			from, to := h.client, h.local
			if from == "" {
				from, to = client.LocalAddr().String(), p.addr
			}
			if c.Protocol() != "ssh" || c.RemoteAddr().String() != from || c.LocalAddr().String() != to {
				t.Errorf("%q from %v to %v, want %s to %s", c.Protocol(), c.RemoteAddr(), c.LocalAddr(), from, to)
			}
			expectRead(t, c, "SSH-2.0-test\r\n")
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			expectEnd(t, client)
			if _, raw := detachAll(c.Conn); raw.RemoteAddr().String() != client.LocalAddr().String() {
				t.Errorf("a relay gets %T", raw)
			}
		})
	}
}

// detachAll is what a relay does.
func detachAll(c net.Conn) (prefix []byte, raw net.Conn) {
	for {
		d, ok := c.(interface{ Detach() ([]byte, net.Conn) })
		if !ok {
			return prefix, c
		}
		head, below := d.Detach()
		prefix, c = append(prefix, head...), below
	}
}

// TestProxyHeaderByteByByte also shows that nothing behind the header is read with it.
func TestProxyHeaderByteByByte(t *testing.T) {
	for _, h := range proxyHeaders(t) {
		if h.reason != "" {
			continue
		}
		for size := 1; size <= len(h.header); {
			v, more := frameProxyHeader([]byte(h.header[:size]))
			if last := size == len(h.header); last != (v == Accept) || !last && (v != NeedMore || more < 1 || size+more > len(h.header)) {
				t.Errorf("%s: %v and %d more after %d of %d bytes", h.name, v, more, size, len(h.header))
			}
			size++
		}
		client, server := net.Pipe()
		go func() {
			for i := range len(h.header) {
				client.Write([]byte{h.header[i]})
			}
			client.Write([]byte("behind"))
			client.Close()
		}()
		c, _, err := readProxyHeader(server)
		if err != nil {
			t.Errorf("%s: %v", h.name, err)
			continue
		}
		if rest, err := io.ReadAll(c); string(rest) != "behind" {
			t.Errorf("%s: %q is left, %v", h.name, rest, err)
		}
	}
}

func TestForgedProxyHeaderIsRefusedWhereNobodyTrustsIt(t *testing.T) {
	for _, h := range proxyHeaders(t)[:5] {
		p := open(t, Options{ProxyFrom: func(net.Addr) bool { return false }})
		expectEnd(t, p.dial(h.header+"SSH-2.0-test\r\n"))
		p.dial("SSH-2.0-test\r\n") // who sends none is served
		p.next().end()
		p.server.Close()
		if n := p.refused(ProxyUntrusted); n != 1 {
			t.Errorf("%s: %d refused: %s", h.name, n, p.log)
		}
	}
}

func TestLibzmqBehindAProxyThatTellsNothingCanBeKept(t *testing.T) {
	kept := make(chan handed, 1)
	p := open(t, Options{ProxyFrom: everybody, Otherwise: func(c *Conn, result Result, _ error, release func()) bool {
		if result != Refused {
			t.Errorf("offered as %v", result)
		}
		kept <- handed{c, release}
		return true
	}})
	p.dial(string(zmtpSample[:10]))
	c := receive(t, kept, "the client")
	if c.Protocol() != "zmtp" || string(c.Prefix()) != string(zmtpSample[:10]) {
		t.Errorf("offered as %q with %x", c.Protocol(), c.Prefix())
	}
	c.end()
}

func TestProxyThatNeverEndsItsHeaderIsTimedOut(t *testing.T) {
	for _, first := range []string{"", "PROXY TCP4 192.0.2.7", proxyV2Signature + "\x21\x11\x00\x0cabc"} {
		p := open(t, Options{ProxyFrom: everybody, Timeout: timeoutOf(true)})
		expectEnd(t, p.dial(first))
		p.server.Close()
		if n := p.results("timeout"); n != 1 {
			t.Errorf("%q: %d timed out", first, n)
		}
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, h := range proxyHeaders(f) {
		f.Add([]byte(h.header))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		client, server := net.Pipe()
		go func() {
			client.Write(header)
			client.Close()
		}()
		defer server.Close()
		c, _, err := readProxyHeader(server)
		if err != nil {
			return
		}
		if c.RemoteAddr() == nil || c.LocalAddr() == nil {
			t.Fatalf("%q: no address", header)
		}
		rest, err := io.ReadAll(c)
		if err != nil || !bytes.HasSuffix(header, rest) {
			t.Fatalf("%q: %q is left, %v", header, rest, err)
		}
		if again, _ := frameProxyHeader(header[:len(header)-len(rest)]); again != Accept {
			t.Fatalf("%q: the header ends elsewhere", header)
		}
	})
}
