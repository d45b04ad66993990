package sniff

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// sample is what a real client sends first, and how many of these bytes decide.
type sample struct {
	protocol string
	peer     string
	bytes    string
	decided  int
}

const clientHelloTLS13 = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x5b\x90\x1d\xd9\x9c\x6d\x3e\x09\x2a\x4d\xb0\x6e\x71\x55"

var samples = []sample{
	{"zmtp", "libzmq 4.3.4", "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f", 10},
	{"zmtp", "libzmq 4.3.4, 9 bytes of routing id", "\xff\x00\x00\x00\x00\x00\x00\x00\x0a\x7f", 10},
	{"zmtp", "libzmq 4.3.4, 255 bytes of routing id", "\xff\x00\x00\x00\x00\x00\x00\x01\x00\x7f", 10},
	{"zmtp", "go-zeromq 0.17.0, whole greeting", "\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x00NULL" + strings.Repeat("\x00", 48), 10},
	{"zmtp", "JeroMQ 0.3.6, ZMTP 2.0 PUSH", "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x08\x00\x00", 10},
	{"http2", "grpc-go 1.85", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 24},
	{"http1", "curl", "GET /chat/info HTTP/1.1\r\nHost: localhost\r\n\r\n", 4},
	{"http1", "browser, preflight", "OPTIONS /chat/0/s/xhr HTTP/1.1\r\n", 8},
	{"http1", "HEAD", "HEAD / HTTP/1.0\r\n\r\n", 5},
	{"http1", "POST", "POST /chat/0/s/xhr HTTP/1.1\r\n", 5},
	{"http1", "PUT", "PUT /f HTTP/1.1\r\n", 4},
	{"http1", "DELETE", "DELETE /f HTTP/1.1\r\n", 7},
	{"http1", "CONNECT", "CONNECT example.com:443 HTTP/1.1\r\n", 8},
	{"http1", "TRACE", "TRACE / HTTP/1.1\r\n", 6},
	{"http1", "PATCH", "PATCH /f HTTP/1.1\r\n", 6},
	{"http1", "PROPFIND", "PROPFIND / HTTP/1.1\r\n", 9},
	{"http1", "PROPPATCH, the longest", "PROPPATCH / HTTP/1.1\r\n", 10},
	{"tls", "crypto/tls, TLS 1.3", clientHelloTLS13, 6},
	{"tls", "OpenSSL, SSL 3.0 record", "\x16\x03\x00\x00\x2f\x01\x00\x00\x2b", 6},
	{"tls", "record of one byte", "\x16\x03\x01\x00\x01\x01", 6},
	{"tls", "largest record", "\x16\x03\x03\x40\x00\x01", 6},
	{"ssh", "OpenSSH 9.2", "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", 4},
	{"ssh", "OpenSSH 1.99", "SSH-1.99-OpenSSH_3.4\r\n", 4},
}

func TestEveryPeerIsRecognisedAtTheByteThatDecides(t *testing.T) {
	for _, s := range samples {
		t.Run(s.protocol+"/"+s.peer, func(t *testing.T) {
			for n := range len(s.bytes) + 1 {
				wantName, want := "", NeedMore
				if n >= s.decided {
					wantName, want = s.protocol, Accept
				}
				if name, v := Classify(All, []byte(s.bytes[:n])); name != wantName || v != want {
					t.Fatalf("after %d bytes (%x): %q, %v; want %q, %v", n, s.bytes[:n], name, v, wantName, want)
				}
			}
		})
	}
}

// A protocol's own probe must not need more than the byte that decides, and all the others must have rejected by then.
func TestOthersRejectWhatOneAccepts(t *testing.T) {
	for _, s := range samples {
		for _, f := range Explain(All, []byte(s.bytes)[:s.decided]) {
			want := Reject
			if f.Protocol == s.protocol {
				want = Accept
			}
			if f.Verdict != want {
				t.Errorf("%s: the probe of %s says %v, want %v", s.peer, f.Protocol, f.Verdict, want)
			}
		}
	}
}

// nearMisses resemble a protocol until their last byte, which must be the one that rejects.
var nearMisses = map[string]string{
	"Telnet":                          "\xff\xfd",
	"BGP":                             "\xff\xff",
	"ZMTP with a length beyond 2^56":  "\xff\x01",
	"ZMTP, byte 9 is 7E":              "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7e",
	"ZMTP, byte 9 is FF":              "\xff\x00\x00\x00\x00\x00\x00\x00\x01\xff",
	"ZMTP 1.0, anonymous":             "\x01",
	"HTTP/2 preface, other version":   "PRI * HTTP/2.1",
	"HTTP/2 preface, other ending":    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
	"HTTP/2 preface, LF only":         "PRI * HTTP/2.0\n",
	"PRI as a method":                 "PRI /",
	"method in lower case":            "g",
	"method in mixed case":            "Ge",
	"method with a tab":               "GET\t",
	"method that ends early":          "PU ",
	"method that goes on":             "GETS",
	"empty line before the request":   "\r",
	"HTTP response":                   "HT",
	"TLS alert":                       "\x15",
	"TLS application data":            "\x17",
	"TLS, other major version":        "\x16\x02",
	"TLS, empty record":               "\x16\x03\x01\x00\x00",
	"TLS, record of 16385 bytes":      "\x16\x03\x01\x40\x01",
	"TLS, record of 65535 bytes":      "\x16\x03\x01\xff",
	"TLS, ServerHello":                "\x16\x03\x03\x00\x7a\x02",
	"SSLv2 ClientHello":               "\x80",
	"SSH in mixed case":               "Ss",
	"SSH with a space":                "SSH ",
	"PROXY v1":                        "PROX",
	"PROXY v2":                        "\r",
	"SMTP":                            "E",
	"a null byte":                     "\x00",
	"Redis":                           "*",
	"PostgreSQL":                      "\x00",
	"RDP":                             "\x03",
	"UTF-8 byte order mark, then GET": "\xef",
}

func TestNearMissIsRejectedAtItsFirstWrongByte(t *testing.T) {
	for what, junk := range nearMisses {
		for n := range len(junk) {
			if _, v := Classify(All, []byte(junk[:n])); v != NeedMore {
				t.Errorf("%s: %v after %d bytes, want need more", what, v, n)
			}
		}
		for _, tail := range []string{"", "\x00", " / HTTP/1.1\r\n\r\n", strings.Repeat("\x7f", 40)} {
			if name, v := Classify(All, []byte(junk+tail)); v != Reject || name != "" {
				t.Errorf("%s followed by %q: %q, %v; want reject", what, tail, name, v)
			}
		}
	}
}

// The seven bytes in the middle of a ZMTP signature hold anything: libzmq puts a length there.
func TestMiddleOfZMTPSignatureVaries(t *testing.T) {
	for i := 2; i < 9; i++ {
		for b := range 256 {
			signature := []byte("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f")
			signature[i] = byte(b)
			if name, v := Classify(All, signature); name != "zmtp" || v != Accept {
				t.Fatalf("%x: %q, %v", signature, name, v)
			}
		}
	}
}

// A probe that never makes up its mind, or looks past its limit, cannot keep a connection waiting.
func TestUndecidedProbeIsHeldToItsLimit(t *testing.T) {
	undecided := func([]byte) Verdict { return NeedMore }
	for _, max := range []int{-1, 0, 1, 7, prefixBytesMax, 1000} {
		p := []Protocol{{Name: "undecided", PrefixMax: max, Probe: undecided}}
		limit := p[0].limit()
		if _, v := Classify(p, make([]byte, limit-1)); v != NeedMore {
			t.Errorf("PrefixMax %d: %v below the limit", max, v)
		}
		if _, v := Classify(p, make([]byte, limit)); v != Reject {
			t.Errorf("PrefixMax %d: %v at the limit", max, v)
		}
	}
	greedy := []Protocol{{Name: "greedy", PrefixMax: 2, Probe: func(prefix []byte) Verdict {
		if len(prefix) > 2 {
			t.Errorf("saw %d bytes", len(prefix))
		}
		return Accept
	}}}
	Classify(greedy, make([]byte, prefixBytesMax))
}

func TestNothingToChooseFromIsRejected(t *testing.T) {
	if name, v := Classify(nil, []byte("GET / ")); name != "" || v != Reject {
		t.Errorf("%q, %v", name, v)
	}
}

func TestExplainKeepsTheOrder(t *testing.T) {
	got := fmt.Sprint(Explain(All, []byte("P")))
	if want := "[{zmtp reject} {http2 need more} {http1 need more} {tls reject} {ssh reject}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestClassifyingAllocatesNothing(t *testing.T) {
	for _, s := range samples {
		prefix := []byte(s.bytes)
		if n := testing.AllocsPerRun(100, func() { Classify(All, prefix) }); n != 0 {
			t.Errorf("%s: %v allocations", s.peer, n)
		}
	}
}

func FuzzNoPrefixIsAcceptedByTwo(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s.bytes))
	}
	for _, junk := range nearMisses {
		f.Add([]byte(junk))
	}
	f.Fuzz(func(t *testing.T, prefix []byte) {
		before := bytes.Clone(prefix)
		accepted := 0
		for _, f := range Explain(All, prefix) {
			if f.Verdict == Accept {
				accepted++
			}
		}
		name, v := Classify(All, prefix)
		if accepted > 1 {
			t.Errorf("%x is accepted by %d probes", prefix, accepted)
		}
		if (accepted == 1) != (v == Accept) || (name != "") != (v == Accept) {
			t.Errorf("%x: %d probes accept, Classify says %q, %v", prefix, accepted, name, v)
		}
		if v == NeedMore && len(prefix) >= prefixBytesMax {
			t.Errorf("%x: undecided after %d bytes", prefix, len(prefix))
		}
		if v == NeedMore && !canBeAccepted(prefix) {
			t.Errorf("%x: needs more although nothing can come of it", prefix)
		}
		if !bytes.Equal(prefix, before) {
			t.Errorf("a probe changed %x to %x", before, prefix)
		}
	})
}

// canBeAccepted reports whether some next byte is not rejected.
func canBeAccepted(prefix []byte) bool {
	for b := range 256 {
		if _, v := Classify(All, append(bytes.Clone(prefix), byte(b))); v != Reject {
			return true
		}
	}
	return false
}

func FuzzFinalVerdictNeverChanges(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s.bytes))
	}
	for _, junk := range nearMisses {
		f.Add([]byte(junk + " / HTTP/1.1\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		stream = stream[:min(len(stream), 2*prefixBytesMax)]
		final := make([]Verdict, len(All))
		for n := range len(stream) + 1 {
			for i, f := range Explain(All, stream[:n]) {
				if final[i] != NeedMore && f.Verdict != final[i] {
					t.Fatalf("%s said %v, and %v of %x", f.Protocol, final[i], f.Verdict, stream[:n])
				}
				final[i] = f.Verdict
			}
		}
	})
}
