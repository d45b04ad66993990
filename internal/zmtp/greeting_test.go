package zmtp

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// libzmqGreeting is what libzmq 4.3.4 sends in the end; the tests of tag libzmq compare it with the real one.
const libzmqGreeting = "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01CURVE"

func greetingBytes(start string) []byte {
	return append([]byte(start), make([]byte, GreetingBytes-len(start))...)
}

func TestGreetingOfLibzmqIsUnderstood(t *testing.T) {
	g, err := ParseGreeting(greetingBytes(libzmqGreeting))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Greeting{Major: 3, Minor: 1, Mechanism: MechanismCurve}); g != want {
		t.Fatalf("got %+v, want %+v", g, want)
	}
	if b := g.Append(nil); !bytes.Equal(b, greetingBytes(libzmqGreeting)) {
		t.Fatalf("written as % x", b)
	}
}

func TestGreetingPaddingAndFutureVersionsAreAccepted(t *testing.T) {
	b := greetingBytes("\xff12345678\x7f\x04\x07NULL")
	b[63] = 9 // filler: a later version may use it
	g, err := ParseGreeting(b)
	if err != nil || g.Major != 4 || g.Minor != 7 {
		t.Fatalf("got %+v, %v", g, err)
	}
}

func TestBadGreetingIsRefusedWithItsReason(t *testing.T) {
	for name, c := range map[string]struct {
		start  string
		reason Reason
	}{
		"junk":               {"GET / HTTP/1.1\r\n", ReasonSignature},
		"telnet":             {"\xff\xfb\x01\xff\xfb\x03\xff\xfc\x27\x00", ReasonSignature},
		"ZMTP 2":             {"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x05", ReasonVersion},
		"no mechanism":       {"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00", ReasonMechanism},
		"lower case":         {"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00null", ReasonMechanism},
		"hole in mechanism":  {"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NU\x00LL", ReasonMechanism},
		"as-server is seven": {"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + strings.Repeat("\x00", 16) + "\x07", ReasonMechanism},
	} {
		_, err := ParseGreeting(greetingBytes(c.start))
		wantReason(t, name, err, c.reason)
	}
	if _, err := ParseGreeting([]byte(libzmqGreeting)); err == nil {
		t.Error("half a greeting was accepted")
	}
}

func TestOldVersionCanBeAskedFor(t *testing.T) {
	_, err := ParseGreeting(greetingBytes("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x05"))
	if err = inStep(StepGreeting, err); !errors.Is(err, ErrOldVersion) {
		t.Fatalf("%v is not ErrOldVersion", err)
	}
}

// wantReason fails unless err is a ProtocolError with this reason and a detail.
func wantReason(t *testing.T, what string, err error, want Reason) {
	t.Helper()
	var p *ProtocolError
	if !errors.As(err, &p) || p.Reason != want || p.Detail == "" {
		t.Errorf("%s: got %v, want a protocol error with reason %s", what, err, want)
	}
}
