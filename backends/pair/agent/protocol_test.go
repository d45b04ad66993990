package agent

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// talk runs the door's and the agent's side of the beginning against each other.
func talk(t *testing.T, doorToken, agentToken string, h Hello) (Hello, error) {
	t.Helper()
	door, far := net.Pipe()
	defer door.Close()
	defer far.Close()
	for _, c := range []net.Conn{door, far} {
		c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	said := make(chan error, 1)
	go func() { said <- introduce(far, agentToken, h) }()
	got, err := Interview(door, doorToken)
	if sent := <-said; sent != nil {
		t.Fatalf("the agent: %v", sent)
	}
	return got, err
}

var someone = Hello{Name: "w-1.example", Slots: 8, Load: 3, Minor: 1, Mechanism: "CURVE"}

func TestDoorLearnsWhoTheAgentIs(t *testing.T) {
	for _, tokens := range [][2]string{{"", ""}, {"", "superfluous"}, {"swordfish", "swordfish"}} {
		if got, err := talk(t, tokens[0], tokens[1], someone); err != nil || got != someone {
			t.Errorf("tokens %q: got %+v, error %v", tokens, got, err)
		}
	}
}

func TestAgentWithoutTheTokenIsTurnedAway(t *testing.T) {
	for _, token := range []string{"", "sword"} {
		if _, err := talk(t, "swordfish", token, someone); !errors.Is(err, ErrToken) {
			t.Errorf("token %q: error %v", token, err)
		}
	}
}

func TestBadNamesAreTurnedAway(t *testing.T) {
	for _, name := range []string{"", "a b", "\n", "-x", strings.Repeat("x", 65)} {
		h := someone
		h.Name = name
		if _, err := talk(t, "", "", h); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
}

// A HELLO that was recorded opens no second door: the nonce is another.
func TestRecordedHelloIsWorthless(t *testing.T) {
	var recorded bytes.Buffer
	record := func(doorReads io.Reader, doorWrites io.Writer) error {
		_, err := Interview(struct {
			io.Reader
			io.Writer
		}{doorReads, doorWrites}, "swordfish")
		return err
	}
	door, far := net.Pipe()
	go func() {
		introduce(far, "swordfish", someone)
		far.Close()
	}()
	if err := record(io.TeeReader(door, &recorded), door); err != nil {
		t.Fatal(err)
	}
	if err := record(&recorded, io.Discard); !errors.Is(err, ErrToken) {
		t.Errorf("a recorded HELLO: error %v", err)
	}
}

func TestGoIsAnsweredOrDenied(t *testing.T) {
	door, far := net.Pipe()
	answers := make(chan error, 1)
	go func() { answers <- Summon(door, "192.0.2.1:7") }()
	if client, err := awaitGo(far); err != nil || client != "192.0.2.1:7" {
		t.Fatalf("client %q, error %v", client, err)
	}
	accept(far)
	if err := <-answers; err != nil {
		t.Errorf("after OK: %v", err)
	}
	go func() { answers <- Summon(door, "") }()
	if _, err := awaitGo(far); err != nil {
		t.Fatal(err)
	}
	Deny(far, errors.New("no worker"))
	var denied *Denied
	if err := <-answers; !errors.As(err, &denied) || denied.Why != "no worker" {
		t.Errorf("after NO: %v", err)
	}
	go Deny(door, ErrToken)
	if _, err := awaitGo(far); !errors.As(err, &denied) || denied.Why != ErrToken.Error() {
		t.Errorf("denied instead of GO: %v", err)
	}
}

// Whatever a stranger says to a door, it gets no further, and nothing panics.
func FuzzInterview(f *testing.F) {
	fields := appendHello(nil, someone)
	f.Add(append([]byte(Magic+"\x00"+string(byte(len(fields)))), append(fields, make([]byte, 32)...)...))
	f.Add([]byte(Magic + "\xff\xff"))
	f.Add([]byte("GWA"))
	f.Fuzz(func(t *testing.T, said []byte) {
		conn := struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(said), io.Discard}
		if _, err := Interview(conn, "swordfish"); err == nil {
			t.Errorf("%q was let in without the token", said)
		}
		conn.Reader = bytes.NewReader(said)
		if h, err := Interview(conn, ""); err == nil && CheckName(h.Name) != nil {
			t.Errorf("%q was let in with the name %q", said, h.Name)
		}
		parseHello(said)
		Summon(conn, "")
		awaitGo(bytes.NewReader(said))
	})
}
