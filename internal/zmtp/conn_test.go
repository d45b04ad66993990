package zmtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// testWait bounds every wait of a test: long enough for a busy machine, short enough to see a hang.
const testWait = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	t.Cleanup(cancel)
	return ctx
}

// tcpPair is two ends of a TCP connection.
func tcpPair(t testing.TB) (dialled, accepted net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

// connect makes two Conns that have finished their handshake.
func connect(t testing.TB, client, server Options) (c, s *Conn) {
	t.Helper()
	c, s, errC, errS := tryConnect(t, client, server)
	if errC != nil || errS != nil {
		t.Fatalf("client: %v; server: %v", errC, errS)
	}
	return c, s
}

func tryConnect(t testing.TB, client, server Options) (c, s *Conn, errC, errS error) {
	t.Helper()
	dialled, accepted := tcpPair(t)
	ctx := testContext(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if s, errS = Accept(ctx, accepted, server); errS == nil {
			t.Cleanup(func() { s.Close() })
		}
	}()
	if c, errC = Connect(ctx, dialled, client); errC == nil {
		t.Cleanup(func() { c.Close() })
	}
	<-done
	return c, s, errC, errS
}

func send(t testing.TB, c *Conn, parts ...string) {
	t.Helper()
	m := &Message{}
	for _, p := range parts {
		m.Append([]byte(p))
	}
	if err := c.Send(testContext(t), m); err != nil {
		t.Fatal(err)
	}
}

// recv receives one message; a watchdog closes a connection that says nothing.
func recv(t testing.TB, c *Conn) *Message {
	t.Helper()
	m := &Message{}
	watchdog := time.AfterFunc(testWait, func() { c.Close() })
	defer watchdog.Stop()
	if err := c.Recv(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func wantParts(t testing.TB, m *Message, parts ...string) {
	t.Helper()
	got := make([]string, m.Len())
	for i := range got {
		got[i] = string(m.Part(i))
	}
	if len(got) != len(parts) || strings.Join(got, "|") != strings.Join(parts, "|") {
		t.Errorf("got %.200q, want %.200q", got, parts)
	}
}

func TestMessagesOfEveryShapeArriveUnderEveryMechanism(t *testing.T) {
	for name, s := range allSecurities(t) {
		c, srv := connect(t, Options{SocketType: DEALER, Security: s[0]}, Options{SocketType: ROUTER, Security: s[1]})
		for _, parts := range [][]string{
			{"hello"}, {""}, {"", ""}, {"", "body"}, {"a", "b", "c", "d", "e", "f"},
			{strings.Repeat("x", 255), strings.Repeat("y", 256)}, {strings.Repeat("z", 200_000), "", "end"},
		} {
			send(t, c, parts...)
			wantParts(t, recv(t, srv), parts...)
			send(t, srv, parts...)
			wantParts(t, recv(t, c), parts...)
		}
		if t.Failed() {
			t.Fatalf("under %s", name)
		}
	}
}

func TestPeerIsKnownAfterTheHandshake(t *testing.T) {
	s := allSecurities(t)["CURVE"]
	c, srv := connect(t,
		Options{SocketType: DEALER, Identity: []byte("me"), Security: s[0], Metadata: Metadata{{Name: "X-App", Value: []byte("v1")}}},
		Options{SocketType: ROUTER, Security: s[1], Announce30: true})
	p := srv.Peer()
	app, _ := p.Metadata.Get("x-app")
	if string(p.Identity()) != "me" || p.SocketType() != DEALER || string(app) != "v1" || p.Minor != 1 {
		t.Errorf("server sees %+v", p)
	}
	if p := c.Peer(); p.Minor != 0 || p.SocketType() != ROUTER {
		t.Errorf("client sees %+v", p)
	}
}

func TestReceivingAllocatesNothingOnceBuffersHaveGrown(t *testing.T) {
	for name, s := range allSecurities(t) {
		c, srv := connect(t, Options{SocketType: PUSH, Security: s[0]}, Options{SocketType: PULL, Security: s[1]})
		out, in := NewMessage(make([]byte, 100), nil, make([]byte, 3000)), &Message{}
		ctx := context.Background()
		roundTrip := func() {
			if err := c.Send(ctx, out); err != nil {
				t.Fatal(err)
			}
			if err := srv.Recv(in); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 {
			roundTrip()
		}
		// The writer's goroutine is counted too; its pool may be emptied by a collection now and then.
		if n := testing.AllocsPerRun(500, roundTrip); n > 0.5 {
			t.Errorf("%s: %.1f allocations a message", name, n)
		}
		clone := Message{}
		if n := testing.AllocsPerRun(100, func() { clone = in.Clone() }); n > 1 {
			t.Errorf("%s: Clone makes %.1f allocations", name, n)
		}
		wantParts(t, &clone, string(in.Part(0)), "", string(in.Part(2)))
	}
}

func TestManySendersShareOneConnection(t *testing.T) {
	const senders, each = 8, 300
	s := allSecurities(t)["CURVE"]
	c, srv := connect(t, Options{SocketType: PUSH, Security: s[0], WriteBufferBytes: 2000}, Options{SocketType: PULL, Security: s[1]})
	ctx := testContext(t)
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range each {
				if err := c.Send(ctx, NewMessage(fmt.Appendf(nil, "%d", i), fmt.Appendf(nil, "%d", j))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	next := map[string]int{}
	for range senders * each {
		m := recv(t, srv)
		if from, n := string(m.Part(0)), string(m.Part(1)); n != fmt.Sprint(next[from]) {
			t.Fatalf("sender %s: got message %s, want %d", from, n, next[from])
		}
		next[string(m.Part(0))]++
	}
	wg.Wait()
}

// sendUntil sends until an error comes, which it returns.
func sendUntil(ctx context.Context, c *Conn) error {
	for m := NewMessage(make([]byte, 32<<10)); ; {
		if err := c.Send(ctx, m); err != nil {
			return err
		}
	}
}

// waitUntilStuck waits until a sender to a peer that does not read has to wait.
func waitUntilStuck(t *testing.T, c *Conn) {
	t.Helper()
	for deadline := time.Now().Add(testWait); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c.out.mu.Lock()
		stuck := c.out.busy && c.out.room != nil
		c.out.mu.Unlock()
		if stuck {
			return
		}
	}
	t.Fatal("no sender ever had to wait")
}

func TestSenderWaitsForAPeerThatDoesNotReadAndCanGiveUp(t *testing.T) {
	c, srv := connect(t, Options{SocketType: PUSH}, Options{SocketType: PULL})
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, 1)
	go func() { failed <- sendUntil(ctx, c) }()
	waitUntilStuck(t, c)
	if err := c.TrySend(NewMessage(make([]byte, 32<<10))); err != nil && !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	c.out.mu.Lock()
	pending := 0
	if c.out.pending != nil {
		pending = len(c.out.pending.b)
	}
	c.out.mu.Unlock()
	if pending > DefaultWriteBufferBytes {
		t.Errorf("%d bytes wait, at most %d are allowed", pending, DefaultWriteBufferBytes)
	}
	go func() { // the peer reads again, so that the next message fits
		for m := (&Message{}); srv.Recv(m) == nil; {
		}
	}()
	if err := c.Send(testContext(t), NewMessage([]byte("late"))); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

func TestCloseEndsWhoeverWaits(t *testing.T) {
	c, srv := connect(t, Options{SocketType: PUSH}, Options{SocketType: PULL})
	ended := make(chan error, 3)
	go func() { ended <- sendUntil(context.Background(), c) }()
	waitUntilStuck(t, c)
	go func() { ended <- c.Flush(context.Background()) }()
	go func() { ended <- c.Recv(&Message{}) }()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	m, err := &Message{}, error(nil)
	for err == nil { // what was written still arrives
		err = srv.Recv(m)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the peer sees %v", err)
	}
}

func TestPeerThatLeavesBetweenMessagesIsEOFAndWithinOneIsNot(t *testing.T) {
	for wire, want := range map[string]error{
		"":             io.EOF,
		"\x00":         io.ErrUnexpectedEOF,
		"\x00\x05hell": io.ErrUnexpectedEOF,
		"\x01\x01a":    io.ErrUnexpectedEOF,
	} {
		nc, srv := rawPeer(t, "PUSH", PULL)
		nc.Write([]byte(wire))
		nc.Close()
		if err := srv.Recv(&Message{}); err != want {
			t.Errorf("after %q: got %v, want %v", wire, err, want)
		}
	}
}

func TestClosedConnectionsLeaveNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	for range 10 {
		for _, s := range allSecurities(t) {
			c, srv := connect(t, Options{SocketType: PUSH, Security: s[0]}, Options{SocketType: PULL, Security: s[1]})
			send(t, c, "hello")
			recv(t, srv)
			c.Close()
			srv.Close()
			srv.Close() // twice is once
		}
	}
	_, _, errC, errS := tryConnect(t, Options{SocketType: PUSH}, Options{SocketType: PUB}) // fails on both sides
	if errC == nil || errS == nil {
		t.Errorf("PUSH and PUB met: %v, %v", errC, errS)
	}
	goleak.VerifyNone(t, before)
}

func TestSubscriptionsArriveInBothForms(t *testing.T) {
	for _, old := range []bool{false, true} {
		for name, s := range allSecurities(t) {
			sub, pub := connect(t, Options{SocketType: SUB, Security: s[0], Announce30: old}, Options{SocketType: PUB, Security: s[1]})
			ctx := testContext(t)
			if err := errors.Join(sub.Subscribe(ctx, []byte("news")), sub.Cancel(ctx, []byte("news")), sub.Subscribe(ctx, nil)); err != nil {
				t.Fatal(err)
			}
			for _, want := range []struct {
				kind  Kind
				topic string
			}{{KindSubscribe, "news"}, {KindCancel, "news"}, {KindSubscribe, ""}} {
				if m := recv(t, pub); m.Kind() != want.kind || string(m.Part(0)) != want.topic {
					t.Errorf("%s, 3.0: %v: got %v %q, want %+v", name, old, m.Kind(), m.Parts(), want)
				}
			}
			if err := pub.Subscribe(ctx, nil); err == nil {
				t.Error("a PUB subscribed")
			}
		}
	}
}

func TestSubscribeIsWrittenInThePeersForm(t *testing.T) {
	for minor, want := range map[byte]string{0: "\x00\x05\x01news", 1: "\x04\x0e\x09SUBSCRIBEnews", 9: "\x04\x0e\x09SUBSCRIBEnews"} {
		nc, sub := rawPeerMinor(t, "PUB", SUB, minor)
		if err := sub.Subscribe(testContext(t), []byte("news")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != want {
			t.Errorf("to 3.%d: %q, %v", minor, got, err)
		}
	}
}

// rawPeer is the other side as bare bytes: it has finished a NULL handshake as a socket of type theirs with our Conn.
func rawPeer(t testing.TB, theirs string, ours SocketType) (net.Conn, *Conn) {
	t.Helper()
	return rawPeerMinor(t, theirs, ours, 1)
}

func rawPeerMinor(t testing.TB, theirs string, ours SocketType, minor byte) (net.Conn, *Conn) {
	t.Helper()
	return rawPeerOptions(t, theirs, minor, Options{SocketType: ours})
}

func rawPeerOptions(t testing.TB, theirs string, minor byte, o Options) (net.Conn, *Conn) {
	t.Helper()
	dialled, accepted := tcpPair(t)
	hello := Greeting{Major: 3, Minor: minor, Mechanism: MechanismNull}.Append(nil)
	hello = AppendCommand(hello, nameReady, Metadata{{Name: PropertySocketType, Value: []byte(theirs)}}.Append(nil))
	if _, err := dialled.Write(hello); err != nil {
		t.Fatal(err)
	}
	srv, err := Accept(testContext(t), accepted, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	_ = dialled.SetReadDeadline(time.Now().Add(testWait))
	if _, err := io.ReadFull(dialled, make([]byte, GreetingBytes)); err != nil {
		t.Fatal(err)
	}
	_, body, err := readCommand(dialled, nil, DefaultMetadataBytesMax)
	if err != nil || !bytes.HasPrefix(body, []byte("\x05READY")) {
		t.Fatalf("%q, %v", body, err)
	}
	return dialled, srv
}

func TestSenderWritesItselfWhereRequestsAndRepliesTakeTurns(t *testing.T) {
	req, rep := connect(t, Options{SocketType: REQ}, Options{SocketType: REP})
	for i := range 3 {
		want := fmt.Sprint("turn ", i)
		for _, way := range []struct{ from, to *Conn }{{req, rep}, {rep, req}} {
			if err := way.from.Send(testContext(t), NewMessage([]byte(want))); err != nil {
				t.Fatal(err)
			}
			wantParts(t, recv(t, way.to), want)
		}
	}
	for _, c := range []*Conn{req, rep} {
		c.out.mu.Lock()
		if c.out.started {
			t.Error("a goroutine was woken to write")
		}
		c.out.mu.Unlock()
	}
}

// TestSenderLeavesWhatAFullSocketDoesNotTake has the sender itself fill the socket with part of a message.
func TestSenderLeavesWhatAFullSocketDoesNotTake(t *testing.T) {
	c, srv := connect(t, Options{SocketType: PUSH}, Options{SocketType: PULL, FrameBytesMax: 64 << 20, MessageBytesMax: 64 << 20})
	large := bytes.Repeat([]byte("0123456789abcdef"), 2<<20) // more than the kernel takes
	for _, body := range [][]byte{large, []byte("behind it")} {
		if err := c.Send(testContext(t), NewMessage(body)); err != nil {
			t.Fatal(err)
		}
	}
	c.out.mu.Lock()
	if c.out.rest == nil && !c.out.busy {
		t.Error("the kernel took all of it")
	}
	c.out.mu.Unlock()
	for _, want := range [][]byte{large, []byte("behind it")} {
		if m := recv(t, srv); m.Len() != 1 || !bytes.Equal(m.Part(0), want) {
			t.Errorf("got %d parts, %d bytes, want %d", m.Len(), m.Bytes(), len(want))
		}
	}
}
