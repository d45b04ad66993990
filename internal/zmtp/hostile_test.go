package zmtp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// echoServer answers every message until its peer breaks a rule; why is how each connection ended.
type echoServer struct {
	address string
	why     chan error
}

func startEchoServer(t testing.TB, o Options) *echoServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close() })
	s := &echoServer{address: l.Addr().String(), why: make(chan error, 2*halfOpenMax+100)}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() { s.why <- echo(ctx, nc, o) }()
		}
	}()
	return s
}

func echo(ctx context.Context, nc net.Conn, o Options) error {
	c, err := Accept(ctx, nc, o)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	for m := (&Message{}); ; {
		if err := c.Recv(m); err != nil {
			return err
		}
		if err := c.Send(ctx, m); err != nil {
			return err
		}
	}
}

// attack connects and writes bytes; the connection stays open until the test ends.
func (s *echoServer) attack(t testing.TB, wire []byte) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_, _ = nc.Write(wire) // the server may have closed already
	return nc
}

// ended waits for the next connection to end and says why it did.
func (s *echoServer) ended(t testing.TB) error {
	t.Helper()
	select {
	case err := <-s.why:
		return err
	case <-time.After(testWait):
		t.Fatal("the connection was not ended")
		return nil
	}
}

// good is a peer beside the attackers, which must not notice them.
func (s *echoServer) good(t testing.TB, security Security) *Conn {
	t.Helper()
	c, err := Dial(testContext(t), "tcp", s.address, Options{SocketType: DEALER, Security: security})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func exchange(t testing.TB, c *Conn) {
	t.Helper()
	send(t, c, "are you", "there?")
	wantParts(t, recv(t, c), "are you", "there?")
}

func nullGreeting() []byte {
	return Greeting{Major: 3, Minor: 1, Mechanism: MechanismNull}.Append(nil)
}

func dealerReady(more ...Property) []byte {
	m := append(Metadata{{Name: PropertySocketType, Value: []byte("DEALER")}}, more...)
	return AppendCommand(nil, nameReady, m.Append(nil))
}

func TestHostileBytesAreRefusedWithAReasonAndGoodPeersStay(t *testing.T) {
	server := startEchoServer(t, Options{SocketType: ROUTER, PartsMax: 100})
	good := server.good(t, nil)
	greeted := slices.Clip(nullGreeting())
	shaken := slices.Clip(append(nullGreeting(), dealerReady()...)) // clipped: each case appends to it
	for _, c := range []struct {
		name   string
		wire   []byte
		reason Reason
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ReasonSignature},
		{"ZMTP 2", []byte("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x05"), ReasonVersion},
		{"unknown mechanism", Greeting{Major: 3, Mechanism: "GSSAPI"}.Append(nil), ReasonMechanism},
		{"mechanism of junk", append(bytes.Clone(greeted[:mechanismAt]), bytes.Repeat([]byte{0xAA}, 52)...), ReasonMechanism},
		{"READY of 2^62 bytes", append(greeted, "\x06\x40\x00\x00\x00\x00\x00\x00\x00"...), ReasonTooLarge},
		{"READY of 2^63 bytes", append(greeted, "\x06\x80\x00\x00\x00\x00\x00\x00\x00"...), ReasonFrame},
		{"READY of 1 MiB", append(greeted, "\x06\x00\x00\x00\x00\x00\x10\x00\x00"...), ReasonTooLarge},
		{"oversized metadata", append(greeted, dealerReady(Property{"X-A", make([]byte, 9<<10)})...), ReasonTooLarge},
		{"truncated metadata", append(greeted, AppendCommand(nil, nameReady, []byte("\x0bSocket-Type\x00\x00\x00\x7fDEALER"))...), ReasonMetadata},
		{"message instead of READY", append(greeted, "\x00\x05hello"...), ReasonCommand},
		{"HELLO instead of READY", append(greeted, AppendCommand(nil, nameHello, nil)...), ReasonCommand},
		{"wrong socket", append(greeted, AppendCommand(nil, nameReady, []byte("\x0bSocket-Type\x00\x00\x00\x03PUB"))...), ReasonSocketType},
		{"frame of 2^62 bytes", append(shaken, "\x02\x40\x00\x00\x00\x00\x00\x00\x00"...), ReasonTooLarge},
		{"frame of 2^63 bytes", append(shaken, "\x02\x80\x00\x00\x00\x00\x00\x00\x00"...), ReasonFrame},
		{"frame of 32 GiB", append(shaken, "\x02\x00\x00\x00\x08\x00\x00\x00\x00"...), ReasonTooLarge},
		{"frame of one byte too many", append(shaken, "\x02\x00\x00\x00\x00\x01\x00\x00\x01"...), ReasonTooLarge},
		{"message of one byte too many", append(shaken, "\x01\x01x\x02\x00\x00\x00\x00\x01\x00\x00\x00"...), ReasonTooLarge},
		{"reserved flags", append(shaken, "\x08\x00"...), ReasonFrame},
		{"command with MORE", append(shaken, "\x05\x05\x04PONG"...), ReasonFrame},
		{"endless MORE", append(shaken, bytes.Repeat([]byte("\x01\x00"), 1000)...), ReasonTooLarge},
		{"command without a name", append(shaken, "\x04\x00"...), ReasonCommand},
		{"command of 1 MiB", append(shaken, "\x06\x00\x00\x00\x00\x00\x10\x00\x00"...), ReasonTooLarge},
		{"second READY", append(shaken, dealerReady()...), ReasonCommand},
		{"SUBSCRIBE to a ROUTER", append(shaken, AppendCommand(nil, nameSubscribe, nil)...), ReasonCommand},
		{"PING with a long context", append(shaken, AppendCommand(nil, namePing, make([]byte, 2+17))...), ReasonCommand},
	} {
		t.Log(c.name) // says which one hangs
		server.attack(t, c.wire)
		wantReason(t, c.name, server.ended(t), c.reason)
		exchange(t, good)
	}
}

func TestHostileCurveClientsAreRefusedAndGoodOnesStay(t *testing.T) {
	s := allSecurities(t)["CURVE"]
	server := startEchoServer(t, Options{SocketType: ROUTER, Security: s[1]})
	good := server.good(t, s[0])
	greeting := Greeting{Major: 3, Mechanism: MechanismCurve}.Append(nil)
	hello := side(s[0], DEALER, false).start(nil)
	forged, _ := curvePair(t)
	for name, c := range map[string]struct {
		wire   []byte
		reason Reason
	}{
		"HELLO of version 2.0":           {flip(flip(hello, 8, 0), 8, 1), ReasonVersion},
		"HELLO with padding":             {flip(hello, 40, 3), ReasonCommand},
		"HELLO cut by its size":          {flip(hello, 1, 3), ReasonCommand},
		"HELLO for another key":          {forged.start(nil), ReasonBox},
		"INITIATE first":                 {AppendCommand(nil, nameInitiate, make([]byte, 300)), ReasonCommand},
		"HELLO twice":                    {append(bytes.Clone(hello), hello...), ReasonCommand},
		"INITIATE with a cookie of junk": {append(bytes.Clone(hello), AppendCommand(nil, nameInitiate, make([]byte, 300))...), ReasonCookie},
		"INITIATE too short":             {append(bytes.Clone(hello), AppendCommand(nil, nameInitiate, make([]byte, 200))...), ReasonCommand},
	} {
		server.attack(t, append(bytes.Clone(greeting), c.wire...))
		wantReason(t, name, server.ended(t), c.reason)
		exchange(t, good)
	}
}

// A recorded connection is of no use to who plays it again: the server's cookie is another one.
func TestReplayedCurveConnectionIsRefused(t *testing.T) {
	s := allSecurities(t)["CURVE"]
	server := startEchoServer(t, Options{SocketType: ROUTER, Security: s[1]})
	nc, err := net.Dial("tcp", server.address)
	if err != nil {
		t.Fatal(err)
	}
	recorder := &recordingConn{Conn: nc}
	c, err := Connect(testContext(t), recorder, Options{SocketType: DEALER, Security: s[0]})
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c)
	c.Close()
	server.ended(t)
	server.attack(t, recorder.written.Bytes())
	wantReason(t, "replay", server.ended(t), ReasonCookie)
}

func TestReplayedCurveMessageIsRefused(t *testing.T) {
	s := allSecurities(t)["CURVE"]
	server := startEchoServer(t, Options{SocketType: ROUTER, Security: s[1]})
	nc, err := net.Dial("tcp", server.address)
	if err != nil {
		t.Fatal(err)
	}
	recorder := &recordingConn{Conn: nc}
	c, err := Connect(testContext(t), recorder, Options{SocketType: DEALER, Security: s[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before := recorder.written.Len()
	exchange(t, c)
	if _, err := nc.Write(recorder.written.Bytes()[before:]); err != nil {
		t.Fatal(err)
	}
	wantReason(t, "replay", server.ended(t), ReasonNonce)
}

// recordingConn keeps what was written.
type recordingConn struct {
	net.Conn
	written bytes.Buffer
}

func (c *recordingConn) Write(p []byte) (int, error) {
	c.written.Write(p)
	return c.Conn.Write(p)
}

func TestHandshakeWithASilentPeerEndsInTime(t *testing.T) {
	_, accepted := tcpPair(t)
	_, err := Accept(context.Background(), accepted, Options{SocketType: PULL, HandshakeTimeout: 50 * time.Millisecond})
	if !errors.Is(err, ErrHandshakeTimeout) || !strings.Contains(err.Error(), "greeting") {
		t.Fatalf("got %v", err)
	}
}

func TestHandshakeThatComesByteByByteEndsInTime(t *testing.T) {
	nc, accepted := tcpPair(t)
	go func() {
		for _, b := range append(nullGreeting(), dealerReady()...) {
			if _, err := nc.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond) // the attack itself: 97 bytes, 10 ms each
		}
	}()
	_, err := Accept(context.Background(), accepted, Options{SocketType: ROUTER, HandshakeTimeout: 200 * time.Millisecond})
	if !errors.Is(err, ErrHandshakeTimeout) {
		t.Fatalf("got %v", err)
	}
}

func TestHandshakeEndsWithItsContext(t *testing.T) {
	_, accepted := tcpPair(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("shutting down")
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if _, err := Accept(ctx, accepted, Options{SocketType: PULL}); !errors.Is(err, why) {
		t.Fatalf("got %v", err)
	}
	if _, err := accepted.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is still open: %v", err)
	}
}

func TestPingFloodIsRefused(t *testing.T) {
	server := startEchoServer(t, Options{SocketType: ROUTER})
	good := server.good(t, nil)
	ping := AppendCommand(nil, namePing, []byte("\x00\x00hi"))
	nc := server.attack(t, append(nullGreeting(), dealerReady()...))
	go func() { _, _ = io.Copy(io.Discard, nc) }() // reads its PONGs, too
	_, _ = nc.Write(bytes.Repeat(ping, floodFrames))
	wantReason(t, "flood", server.ended(t), ReasonFlood)
	exchange(t, good)
}

func TestPingsOfAPeerThatDoesNotReadTakeBoundedMemory(t *testing.T) {
	nc, c := rawPeer(t, "DEALER", ROUTER)
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { failed <- sendUntil(ctx, c) }()
	waitUntilStuck(t, c)
	cancel()
	<-failed
	const pings = commandsPerSecondMax / 2
	if _, err := nc.Write(append(bytes.Repeat(AppendCommand(nil, namePing, []byte("\x00\x00")), pings), "\x00\x04done"...)); err != nil {
		t.Fatal(err)
	}
	wantParts(t, recv(t, c), "done")
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.control > controlPendingMax {
		t.Errorf("%d PONGs wait, at most %d may", c.out.control, controlPendingMax)
	}
}

// memory is what the heap and the stacks take after a collection.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// holdEnv tells the test binary, started again by the test below, to be the attackers: their sockets would count against
// this process's limit of open files, and their memory against its memory.
const holdEnv = "ZMTP_TEST_HOLD"

func TestHalfOpenHandshakesTakeLittleMemory(t *testing.T) {
	if address := os.Getenv(holdEnv); address != "" {
		holdHalfOpen(t, address)
		return
	}
	const eachBytesMax = 16 << 10
	client, security := manKeys(t)
	server := startEchoServer(t, Options{SocketType: ROUTER, Security: security, HandshakeTimeout: 5 * time.Minute})
	good := server.good(t, client)
	before := memory()
	attackers := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	attackers.Env = append(os.Environ(), holdEnv+"="+server.address)
	release, err1 := attackers.StdinPipe()
	said, err2 := attackers.StdoutPipe()
	if err := errors.Join(err1, err2, attackers.Start()); err != nil {
		t.Fatal(err)
	}
	defer attackers.Wait()
	defer release.Close()
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "held\n" {
		t.Fatalf("the attackers said %q, %v", line, err)
	}
	exchange(t, good)
	each := int(memory()-before) / halfOpenMax
	t.Logf("figure: %d half-open CURVE handshakes: %d bytes of memory each", halfOpenMax, each)
	if each > eachBytesMax {
		t.Errorf("a half-open handshake takes %d bytes, want at most %d", each, eachBytesMax)
	}
	exchange(t, server.good(t, client))
}

// holdHalfOpen says HELLO on many connections, waits for each WELCOME, and holds them until its input ends.
func holdHalfOpen(t *testing.T, address string) {
	client, _ := manKeys(t)
	hello := append(Greeting{Major: 3, Mechanism: MechanismCurve}.Append(nil), side(client, DEALER, false).start(nil)...)
	attacked := &echoServer{address: address}
	for range halfOpenMax {
		nc := attacked.attack(t, hello)
		_ = nc.SetReadDeadline(time.Now().Add(testWait))
		if _, err := io.ReadFull(nc, make([]byte, GreetingBytes+2+welcomeBytes)); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestAnnouncedFrameTakesNoMemoryBeforeItsBytesArrive(t *testing.T) {
	const attackers, eachBytesMax = 100, 200 << 10
	server := startEchoServer(t, Options{SocketType: ROUTER})
	good := server.good(t, nil)
	before := memory()
	wire := append(nullGreeting(), dealerReady()...)
	wire = append(binary.BigEndian.AppendUint64(append(wire, 2), DefaultMessageBytesMax), "only this"...)
	for range attackers {
		server.attack(t, wire)
	}
	for range 20 {
		exchange(t, good)
	}
	each := int(memory()-before) / attackers
	t.Logf("figure: %d frames of 16 MiB announced: %d bytes each", attackers, each)
	if each > eachBytesMax {
		t.Errorf("an announced frame takes %d bytes, want at most %d", each, eachBytesMax)
	}
}

func TestLargeBodyGrowsWithItsBytes(t *testing.T) {
	const size = 10 << 20
	r := reader{from: &dribble{left: size}, buf: make([]byte, DefaultReadBufferBytes)}
	body, err := r.body(nil, size)
	if err != nil || len(body) != size {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
	if cap(body) > 2*size {
		t.Errorf("%d bytes of memory for %d", cap(body), size)
	}
	r = reader{from: &dribble{left: 100}, buf: make([]byte, DefaultReadBufferBytes)}
	body, err = r.body(nil, size)
	if !errors.Is(err, io.ErrUnexpectedEOF) || cap(body) > 2*growStartBytes {
		t.Errorf("%d bytes of memory for 100 that came, %v", cap(body), err)
	}
}

// dribble gives a few bytes at a time, then EOF.
type dribble struct{ left int }

func (d *dribble) Read(p []byte) (int, error) {
	n := min(len(p), d.left, 1000)
	if n == 0 {
		return 0, io.EOF
	}
	d.left -= n
	return n, nil
}

func TestCloneOfAMessageLasts(t *testing.T) {
	m := NewMessage([]byte("a"), []byte("b"), nil, []byte("d"), []byte("e"), []byte("f"))
	c := m.Clone()
	m.Reset()
	m.Append([]byte("xxxxxx"))
	if !slices.EqualFunc(c.Parts(), []string{"a", "b", "", "d", "e", "f"}, func(b []byte, s string) bool { return string(b) == s }) {
		t.Fatalf("got %q", c.Parts())
	}
	if c.Bytes() != 5 || m.Len() != 1 {
		t.Errorf("%d bytes, %d parts", c.Bytes(), m.Len())
	}
}
