package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-zeromq/zmq4"
	"golang.org/x/sync/errgroup"

	"gateway/internal/freeport"
)

func TestEverythingPushedArrivesOnceAndInOrder(t *testing.T) {
	const pushers, messages = 3, 200
	d := newDiary()
	at, _ := serving(t, Pull, "tcp://127.0.0.1:0", "pull", d.report)
	var group errgroup.Group
	for i := range pushers {
		c := Client{Name: fmt.Sprintf("push-%d", i), Connect: "tcp://" + at, Every: fast, Count: messages}
		group.Go(func() error { return Push(t.Context(), c, d.report) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	// No wait: Push returns once the far side has read everything.
	events, _ := d.all()
	last := map[string]int{}
	for _, e := range events {
		if e.Kind == Received {
			if e.Seq != last[e.From]+1 {
				t.Fatalf("%s: message %d came after %d", e.From, e.Seq, last[e.From])
			}
			last[e.From] = e.Seq
		}
	}
	for i := range pushers {
		if name := fmt.Sprintf("push-%d", i); last[name] != messages {
			t.Errorf("%s: %d of %d messages arrived", name, last[name], messages)
		}
	}
}

func TestStoppedPushHasDeliveredWhatItToldOf(t *testing.T) {
	d := newDiary()
	at, _ := serving(t, Pull, "127.0.0.1:0", "pull", d.report)
	stop := running(Push, Client{Connect: at, Every: fast}, d.report)
	d.await(t, 20, "sent", is(Sent))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if sent, received := d.of(is(Sent)), d.of(is(Received)); sent != received {
		t.Errorf("%d messages were sent, %d arrived", sent, received)
	}
}

func TestPushOutlivesARestartOfThePuller(t *testing.T) {
	before, after, sender := newDiary(), newDiary(), newDiary()
	at, stopPull := serving(t, Pull, freeport.Keep(t), "pull", before.report)
	stop := running(Push, Client{Connect: at, Every: fast}, sender.report)
	defer stop()
	before.await(t, 3, "received", is(Received))
	stopPull()
	sender.await(t, 1, "lost", is(Lost))
	serving(t, Pull, at, "pull", after.report)
	after.await(t, 3, "received", is(Received))
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestPushWhoseServerLeftFirstSaysThatMessagesMayBeLost: nobody can tell what the server had read.
func TestPushWhoseServerLeftFirstSaysThatMessagesMayBeLost(t *testing.T) {
	d := newDiary()
	at, stopPull := serving(t, Pull, "127.0.0.1:0", "pull", d.report)
	link, err := dialPush(t.Context(), Client{Connect: at, Name: "push"})
	if err != nil {
		t.Fatal(err)
	}
	stopPull()
	<-link.left
	if err := link.finish(); !errors.Is(err, errClosed) {
		t.Errorf("the error is: %v", err)
	}
}

func TestPushToNobodySaysWhereAndWhy(t *testing.T) {
	address := refusing(t)
	err := Push(t.Context(), Client{Connect: address, Wait: soon}, newDiary().report)
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), address) {
		t.Errorf("the error is: %v", err)
	}
}

func TestPushToAServerThatHangsUpSaysSo(t *testing.T) {
	err := Push(t.Context(), Client{Connect: closing(t), Wait: soon}, newDiary().report)
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("the error is: %v", err)
	}
}

func TestPushThatIsStoppedBeforeItMetAnybodyEndsInPeace(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Push(ctx, Client{Connect: refusing(t)}, newDiary().report); err != nil {
		t.Error(err)
	}
	stop := running(Push, Client{Connect: refusing(t)}, newDiary().report)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestPeersOverAUnixSocket: the gateway can dial a PULL there.
func TestPeersOverAUnixSocket(t *testing.T) {
	d := newDiary()
	endpoint := "ipc://" + filepath.Join(t.TempDir(), "pull.sock")
	serving(t, Pull, endpoint, "pull", d.report)
	if err := Push(t.Context(), Client{Connect: endpoint, Every: fast, Count: 3}, d.report); err != nil {
		t.Fatal(err)
	}
	if n := d.of(is(Received)); n != 3 {
		t.Errorf("%d of 3 messages arrived", n)
	}
}

// TestPullGoesOnWhenPeersMisbehave: one is silent, one speaks HTTP, one leaves in the middle of a frame.
func TestPullGoesOnWhenPeersMisbehave(t *testing.T) {
	d := newDiary()
	at, _ := serving(t, Pull, "127.0.0.1:0", "pull", d.report)
	var silent net.Conn
	for _, bytes := range []string{"", "GET / HTTP/1.1\r\nHost: pull\r\n" + strings.Repeat("x", 64)} {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(bytes)); err != nil {
			t.Fatal(err)
		}
		if bytes == "" {
			silent = conn
		}
	}
	half, err := dialPush(t.Context(), Client{Connect: at, Name: "half"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := half.conn.Write([]byte{0, 200, 'h', 'a', 'l', 'f'}); err != nil {
		t.Fatal(err)
	}
	half.abort()
	d.await(t, 2, "lost", is(Lost)) // the HTTP client and the half message
	if err := Push(t.Context(), Client{Connect: at, Every: fast, Count: 3}, d.report); err != nil {
		t.Fatal(err)
	}
	if n := d.of(is(Received)); n != 3 {
		t.Errorf("%d of 3 messages arrived", n)
	}
	silent.Close()
}

// TestPullShowsWhatOtherProgramsSend uses the library's own PUSH socket.
func TestPullShowsWhatOtherProgramsSend(t *testing.T) {
	d := newDiary()
	at, _ := serving(t, Pull, "127.0.0.1:0", "pull", d.report)
	push := zmq4.NewPush(t.Context())
	if err := push.Dial("tcp://" + at); err != nil {
		t.Fatal(err)
	}
	defer push.Close()
	for _, msg := range []zmq4.Msg{zmq4.NewMsgString("alone"), zmq4.NewMsgFromString([]string{"a", "", "b\x1b[2J"})} {
		if err := push.Send(msg); err != nil {
			t.Fatal(err)
		}
	}
	d.await(t, 2, "received", is(Received))
	var texts []string
	events, _ := d.all()
	for _, e := range events {
		if e.Kind == Received {
			texts = append(texts, e.Text)
		}
	}
	if got, want := strings.Join(texts, "|"), `"alone"|"a" "" "b\x1b[2J"`; got != want {
		t.Errorf("shown: %s, want %s", got, want)
	}
}

func TestTakenAddressIsNamed(t *testing.T) {
	at, _ := serving(t, Pull, "127.0.0.1:0", "pull", newDiary().report)
	_, err := Listen(t.Context(), "tcp://"+at)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), at) {
		t.Errorf("the error is: %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"127.0.0.1:5555":           "tcp 127.0.0.1:5555",
		"tcp://127.0.0.1:5555":     "tcp 127.0.0.1:5555",
		"tcp://*:5560":             "tcp :5560",
		"tcp://[::1]:5560":         "tcp [::1]:5560",
		"ipc:///run/pull.sock":     "unix /run/pull.sock",
		"unix:///run/greeter.sock": "unix /run/greeter.sock",
		"":                         "error",
		"5555":                     "error",
		"localhost:":               "error",
		"ipc://":                   "error",
		"inproc://x":               "error",
	} {
		network, address, err := ParseEndpoint(endpoint)
		got := network + " " + address
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q is %s (%v), want %s", endpoint, got, err, want)
		}
	}
}

func TestProgramsShowNoControlCharacters(t *testing.T) {
	var b strings.Builder
	Print(&b)(Event{Peer: "pull", Kind: Received, From: "a\x1b[2Jb", Text: strings.Repeat("ä", textRunesMax) + "\n"})
	if strings.ContainsAny(strings.TrimSuffix(b.String(), "\n"), "\x1b\n") {
		t.Errorf("printed: %q", b.String())
	}
}

// endsAfter ends a context when its n-th byte was read.
type endsAfter struct {
	net.Conn
	n   int
	end context.CancelFunc
}

func (c *endsAfter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.n -= n; c.n <= 0 {
		c.end()
	}
	return n, err
}

// TestConnectionThatIsStoppedInItsLastMomentIsNotUsed: what ends the handshake also closes the connection, in its own time.
func TestConnectionThatIsStoppedInItsLastMomentIsNotUsed(t *testing.T) {
	at, _ := serving(t, Pull, "127.0.0.1:0", "pull", newDiary().report)
	open := func(ctx context.Context, conn net.Conn) error {
		_, err := openZMTP(ctx, conn, zmq4.Push, "push", false)
		return err
	}
	connect := func() net.Conn {
		conn, err := dial(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	whole := &endsAfter{Conn: connect(), end: func() {}}
	if err := open(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	if err := open(ctx, &endsAfter{Conn: connect(), n: -whole.n, end: end}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is: %v", err)
	}
}
