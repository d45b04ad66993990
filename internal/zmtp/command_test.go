package zmtp

import (
	"strings"
	"testing"
	"time"
)

func TestCommandIsWrittenAndRead(t *testing.T) {
	b := AppendCommand(nil, "READY", []byte("data"))
	if string(b) != "\x04\x0a\x05READYdata" {
		t.Fatalf("written as %q", b)
	}
	name, data, err := ParseCommand(b[2:])
	if err != nil || string(name) != "READY" || string(data) != "data" {
		t.Fatalf("read as %q, %q, %v", name, data, err)
	}
}

func TestMalformedCommandIsRefused(t *testing.T) {
	for _, body := range []string{"", "\x00", "\x05READ", "\xffREADY", "\x05RE DY", "\x01\x00", "\x05READ\x80"} {
		_, _, err := ParseCommand([]byte(body))
		wantReason(t, body, err, ReasonCommand)
	}
}

func TestErrorReasonIsMadeFitForTheWire(t *testing.T) {
	b := AppendError(nil, "no such user\n"+strings.Repeat("x", 300))
	if b[0] != byte(FlagCommand|FlagLong) {
		t.Fatalf("flags %#x", b[0])
	}
	_, data, err := ParseCommand(b[9:])
	if err != nil {
		t.Fatal(err)
	}
	peer, err := ParseError(data)
	if err != nil || len(peer.Reason) != 255 || !strings.HasPrefix(peer.Reason, "no-such-user-xxx") {
		t.Fatalf("read as %v, %v", peer, err)
	}
}

func TestTruncatedErrorCommandIsRefused(t *testing.T) {
	for _, data := range []string{"", "\x03", "\x0340", "\x034000", "\xff400"} {
		_, err := ParseError([]byte(data))
		wantReason(t, data, err, ReasonCommand)
	}
}

func TestPingKeepsItsContextAndLifeTime(t *testing.T) {
	body := appendPingBody(nil, Ping{TTL: 6500 * time.Millisecond, Context: []byte("0123456789abcdef")})
	name, data, err := ParseCommand(body)
	if err != nil || string(name) != "PING" {
		t.Fatalf("%q, %v", name, err)
	}
	p, err := ParsePing(data)
	if err != nil || p.TTL != 6500*time.Millisecond || string(p.Context) != "0123456789abcdef" {
		t.Fatalf("%+v, %v", p, err)
	}
	longest, err := ParsePing(appendPingBody(nil, Ping{TTL: 24 * time.Hour})[5:])
	if err != nil || longest.TTL != 6553500*time.Millisecond {
		t.Fatalf("a day became %v, %v", longest.TTL, err)
	}
}

func TestPingOfAWrongSizeIsRefused(t *testing.T) {
	for _, data := range []string{"", "\x00", "\x00\x000123456789abcdefX"} {
		_, err := ParsePing([]byte(data))
		wantReason(t, data, err, ReasonCommand)
	}
}

func TestSubscriptionTakesThePeersForm(t *testing.T) {
	for _, s := range []Subscription{{Topic: []byte("news")}, {Topic: []byte("news"), Cancel: true}, {Topic: []byte{}}} {
		body, command := s.appendBody(nil, 0)
		got, ok := ParseSubscriptionMessage(body)
		if command || !ok || string(got.Topic) != string(s.Topic) || got.Cancel != s.Cancel {
			t.Errorf("3.0: %+v became %q, %v and was read as %+v, %v", s, body, command, got, ok)
		}
		body, command = s.appendBody(nil, 1)
		name, data, err := ParseCommand(body)
		if err != nil || !command {
			t.Fatalf("3.1: %q, %v, %v", body, command, err)
		}
		got, ok = ParseSubscriptionCommand(name, data)
		if !ok || string(got.Topic) != string(s.Topic) || got.Cancel != s.Cancel {
			t.Errorf("3.1: %+v became %q and was read as %+v, %v", s, body, got, ok)
		}
	}
	if _, ok := ParseSubscriptionMessage([]byte("\x02news")); ok {
		t.Error("a message starting with 2 was taken for a subscription")
	}
	if _, ok := ParseSubscriptionCommand([]byte("JOIN"), nil); ok {
		t.Error("JOIN was taken for a subscription")
	}
}
