//go:build libzmq

package zmtp

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"
)

// The tests of this file talk to the real libzmq, the reference implementation.

// plainDomain is where libzmq's own authentication knows anna.
const plainDomain = "plain"

var startAuthentication = sync.OnceValue(func() error {
	if err := zmq.AuthStart(); err != nil {
		return err
	}
	zmq.AuthPlainAdd(plainDomain, "anna", "secret")
	zmq.AuthCurveAdd("*", zmq.CURVE_ALLOW_ANY)
	return nil
})

// libzmqSocket is a libzmq socket that plays the other part of security.
func libzmqSocket(t testing.TB, kind zmq.Type, security Security, counterpart Security) *zmq.Socket {
	t.Helper()
	s, err := zmq.NewSocket(kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	must(s.SetLinger(0), s.SetRcvtimeo(testWait), s.SetSndtimeo(testWait))
	switch c := counterpart.(type) {
	case PlainClient:
		must(s.SetPlainUsername(c.User), s.SetPlainPassword(c.Password))
	case PlainServer:
		must(startAuthentication(), s.SetPlainServer(1), s.SetZapDomain(plainDomain))
	case CurveClient:
		pair := c.Pair
		if pair == (KeyPair{}) {
			pair = newPair(t)
		}
		must(s.SetCurveServerkey(c.Server.String()), s.SetCurvePublickey(pair.Public.String()), s.SetCurveSecretkey(pair.Secret.Z85()))
	case CurveServer:
		must(s.SetCurveServer(1), s.SetCurveSecretkey(c.Secret.Z85()))
	}
	return s
}

// meetLibzmq makes a Conn whose other side is a libzmq socket; libzmq binds or connects.
func meetLibzmq(t testing.TB, s *zmq.Socket, o Options, libzmqBinds bool) *Conn {
	t.Helper()
	c, err := tryMeetLibzmq(t, s, o, libzmqBinds)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryMeetLibzmq(t testing.TB, s *zmq.Socket, o Options, libzmqBinds bool) (c *Conn, err error) {
	t.Helper()
	ctx := testContext(t)
	if libzmqBinds {
		if err := s.Bind("tcp://127.0.0.1:*"); err != nil {
			t.Fatal(err)
		}
		endpoint, err := s.GetLastEndpoint()
		if err != nil {
			t.Fatal(err)
		}
		c, err = Dial(ctx, "tcp", strings.TrimPrefix(endpoint, "tcp://"), o)
		if err != nil {
			return nil, err
		}
	} else {
		nc := acceptLibzmq(t, s)
		if c, err = Accept(ctx, nc, o); err != nil {
			return nil, err
		}
	}
	t.Cleanup(func() { c.Close() })
	return c, nil
}

// acceptLibzmq lets s connect and returns the connection.
func acceptLibzmq(t testing.TB, s *zmq.Socket) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := s.Connect("tcp://" + l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

// libzmqCases are all mechanisms, with our side in either role, connecting or accepting.
func libzmqCases(t *testing.T, run func(t *testing.T, ours, theirs Security, libzmqBinds bool)) {
	for name, s := range allSecurities(t) {
		for _, binds := range []bool{false, true} {
			who := map[bool]string{false: "libzmq connects", true: "libzmq binds"}[binds]
			t.Run(name+"/we are client, "+who, func(t *testing.T) { run(t, s[0], s[1], binds) })
			t.Run(name+"/we are server, "+who, func(t *testing.T) { run(t, s[1], s[0], binds) })
		}
	}
}

func TestLibzmqEchoesMessagesOfEveryShapeUnderEveryMechanism(t *testing.T) {
	libzmqCases(t, func(t *testing.T, ours, theirs Security, binds bool) {
		s := libzmqSocket(t, zmq.DEALER, ours, theirs)
		c := meetLibzmq(t, s, Options{SocketType: DEALER, Security: ours}, binds)
		if p := c.Peer(); p.SocketType() != DEALER || p.Minor != 1 {
			t.Errorf("peer is %+v", p)
		}
		for _, parts := range [][]string{
			{"x"}, {""}, {"", ""}, {"", "body"}, {"a", "b", "c", "d", "e", "f"},
			{strings.Repeat("x", 255), strings.Repeat("y", 256)}, {strings.Repeat("z", 100_000), "", "end"},
		} {
			send(t, c, parts...)
			got, err := s.RecvMessage(0)
			if err != nil || strings.Join(got, "|") != strings.Join(parts, "|") {
				t.Fatalf("libzmq received %.80q, want %.80q: %v", got, parts, err)
			}
			if _, err := s.SendMessage(got); err != nil {
				t.Fatal(err)
			}
			wantParts(t, recv(t, c), parts...)
		}
	})
}

func TestSixteenMebibytesGoToLibzmqAndBack(t *testing.T) {
	for _, mechanism := range []string{"NULL", "CURVE"} {
		security := allSecurities(t)[mechanism]
		s := libzmqSocket(t, zmq.PAIR, security[0], security[1])
		c := meetLibzmq(t, s, Options{SocketType: PAIR, Security: security[0]}, true)
		for size := 1; size <= largestBodyBytes; size *= 64 {
			body := bytes.Repeat([]byte{byte(size >> 8), 1, 2, 3}, size/4+1)[:size]
			if err := c.Send(testContext(t), NewMessage(body)); err != nil {
				t.Fatal(err)
			}
			got, err := s.RecvBytes(0)
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%s: libzmq received %d bytes of %d: %v", mechanism, len(got), size, err)
			}
			if _, err := s.SendBytes(got, 0); err != nil {
				t.Fatal(err)
			}
			if m := recv(t, c); m.Len() != 1 || !bytes.Equal(m.Part(0), body) {
				t.Fatalf("%s: received %d bytes of %d", mechanism, m.Bytes(), size)
			}
		}
	}
}

func TestSubscriptionsOfLibzmqArriveInBothForms(t *testing.T) {
	for _, old := range []bool{false, true} {
		for name, security := range allSecurities(t) {
			s := libzmqSocket(t, zmq.SUB, security[1], security[0])
			pub := meetLibzmq(t, s, Options{SocketType: PUB, Security: security[1], Announce30: old}, false)
			if err := errors.Join(s.SetSubscribe("news"), s.SetUnsubscribe("news"), s.SetSubscribe("")); err != nil {
				t.Fatal(err)
			}
			for _, want := range []struct {
				kind  Kind
				topic string
			}{{KindSubscribe, "news"}, {KindCancel, "news"}, {KindSubscribe, ""}} {
				if m := recv(t, pub); m.Kind() != want.kind || m.Len() != 1 || string(m.Part(0)) != want.topic {
					t.Errorf("%s, 3.0 %v: got %v %q, want %+v", name, old, m.Kind(), m.Parts(), want)
				}
			}
			send(t, pub, "news", "today")
			if got, err := s.RecvMessage(0); err != nil || strings.Join(got, "|") != "news|today" {
				t.Errorf("%s, 3.0 %v: libzmq received %q, %v", name, old, got, err)
			}
		}
	}
}

func TestLibzmqUnderstandsOurSubscriptionsInBothForms(t *testing.T) {
	for _, old := range []bool{false, true} {
		for name, security := range allSecurities(t) {
			s := libzmqSocket(t, zmq.XPUB, security[0], security[1])
			if err := s.SetXpubVerbose(1); err != nil {
				t.Fatal(err)
			}
			sub := meetLibzmq(t, s, Options{SocketType: SUB, Security: security[0], Announce30: old}, true)
			ctx := testContext(t)
			if err := errors.Join(sub.Subscribe(ctx, []byte("news")), sub.Subscribe(ctx, []byte("old")), sub.Cancel(ctx, []byte("old"))); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"\x01news", "\x01old", "\x00old"} {
				if got, err := s.Recv(0); err != nil || got != want {
					t.Errorf("%s, 3.0 %v: libzmq received %q, want %q: %v", name, old, got, want, err)
				}
			}
			if _, err := s.SendMessage("other", "x"); err != nil {
				t.Fatal(err)
			}
			if _, err := s.SendMessage("news", "today"); err != nil {
				t.Fatal(err)
			}
			wantParts(t, recv(t, sub), "news", "today")
		}
	}
}

func TestConnectionWithLibzmqOutlivesItsHeartbeatsAndOurs(t *testing.T) {
	t.Parallel() // it waits
	const beat = 50 * time.Millisecond
	type ending struct {
		name string
		err  error
		m    Message
	}
	securities, ended := allSecurities(t), make(chan ending, 4)
	sockets := map[string]*zmq.Socket{}
	for name, security := range securities {
		s := libzmqSocket(t, zmq.DEALER, security[0], security[1])
		if err := errors.Join(s.SetHeartbeatIvl(beat), s.SetHeartbeatTimeout(100*beat), s.SetHeartbeatTtl(100*beat)); err != nil {
			t.Fatal(err)
		}
		o := Options{SocketType: DEALER, Security: security[0], Heartbeat: Heartbeat{Interval: beat, Timeout: 100 * beat, TTL: 100 * beat}}
		c := meetLibzmq(t, s, o, true)
		sockets[name] = s
		go func() {
			e := ending{name: name}
			e.err = c.Recv(&e.m)
			ended <- e
		}()
	}
	select {
	case e := <-ended:
		t.Fatalf("%s: got %q, %v from a peer that said nothing", e.name, e.m.Parts(), e.err)
	case <-time.After(heartbeatFor):
	}
	for name, s := range sockets {
		if _, err := s.Send("still here", 0); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		e := <-ended
		if e.err != nil {
			t.Fatalf("%s: %v", e.name, e.err)
		}
		wantParts(t, &e.m, "still here")
	}
}

func TestLibzmqWithAWrongKeyIsRefused(t *testing.T) {
	ours := CurveServer{Secret: newPair(t).Secret}
	s := libzmqSocket(t, zmq.DEALER, ours, CurveClient{Server: newPair(t).Public})
	_, err := tryMeetLibzmq(t, s, Options{SocketType: ROUTER, Security: ours}, false)
	wantReason(t, "HELLO for another server", err, ReasonBox)

	s = libzmqSocket(t, zmq.ROUTER, nil, CurveServer{Secret: newPair(t).Secret})
	if _, err := tryMeetLibzmq(t, s, Options{SocketType: DEALER, Security: CurveClient{Server: newPair(t).Public}}, true); err == nil {
		t.Fatal("libzmq took a HELLO for another server")
	}
}

func TestLibzmqHearsThatItsKeyIsNotWanted(t *testing.T) {
	key := newPair(t)
	ours := CurveServer{Secret: key.Secret, Authenticate: func(PublicKey) error { return errors.New("unknown key") }}
	s := libzmqSocket(t, zmq.DEALER, ours, CurveClient{Server: key.Public})
	const address = "inproc://refused-key"
	if err := s.Monitor(address, zmq.EVENT_HANDSHAKE_FAILED_AUTH); err != nil {
		t.Fatal(err)
	}
	monitor, err := zmq.NewSocket(zmq.PAIR)
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.Close()
	if err := errors.Join(monitor.SetRcvtimeo(testWait), monitor.Connect(address)); err != nil {
		t.Fatal(err)
	}
	if _, err := tryMeetLibzmq(t, s, Options{SocketType: ROUTER, Security: ours}, false); !errors.Is(err, ErrRefused) {
		t.Fatalf("got %v", err)
	}
	if event, _, status, err := monitor.RecvEvent(0); err != nil || event != zmq.EVENT_HANDSHAKE_FAILED_AUTH || status != 400 {
		t.Fatalf("libzmq reports %v %d, %v", event, status, err)
	}
}

func TestLibzmqRefusesAWrongPasswordAndSaysSo(t *testing.T) {
	s := libzmqSocket(t, zmq.ROUTER, nil, PlainServer{})
	_, err := tryMeetLibzmq(t, s, Options{SocketType: DEALER, Security: PlainClient{User: "anna", Password: "guess"}}, true)
	var refusal *PeerError
	if !errors.As(err, &refusal) || refusal.Reason != "400" {
		t.Fatalf("got %v", err)
	}
}

func TestMechanismOfLibzmqThatIsNotOursIsRefused(t *testing.T) {
	s := libzmqSocket(t, zmq.DEALER, nil, Null{})
	_, err := tryMeetLibzmq(t, s, Options{SocketType: ROUTER, Security: CurveServer{Secret: newPair(t).Secret}}, false)
	wantReason(t, "NULL to a CURVE server", err, ReasonMechanism)
}

func TestLadderSeesWhatLibzmqShowsStepByStep(t *testing.T) {
	for name, security := range allSecurities(t) {
		s := libzmqSocket(t, zmq.DEALER, security[1], security[0])
		if err := s.SetIdentity("me"); err != nil {
			t.Fatal(err)
		}
		l := NewLadder(acceptLibzmq(t, s))
		ctx := testContext(t)
		if err := l.Signature(ctx); err != nil {
			t.Fatal(err)
		}
		if major, err := l.Major(ctx); err != nil || major != 3 {
			t.Fatalf("%s: major %d, %v", name, major, err)
		}
		greeting, err := l.Greeting(ctx)
		if err != nil || greeting.Mechanism != security[0].Mechanism() || greeting.Minor != 1 {
			t.Fatalf("%s: %+v, %v", name, greeting, err)
		}
		body, err := l.FirstCommand(ctx, 1, DefaultMetadataBytesMax)
		if err != nil {
			t.Fatal(err)
		}
		lookAtFirstCommand(t, security[1], body, l.FirstFrame())
		read, written, _ := l.HandOver()
		if written != GreetingBytes || len(read) != GreetingBytes+len(l.FirstFrame()) {
			t.Errorf("%s: hands over %d bytes read, %d written", name, len(read), written)
		}
		c, err := l.Accept(ctx, Options{SocketType: ROUTER, Security: security[1]})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := s.Send("through the ladder", 0); err != nil {
			t.Fatal(err)
		}
		wantParts(t, recv(t, c), "through the ladder")
		c.Close()
	}
}

func lookAtFirstCommand(t *testing.T, ours Security, body, frame []byte) {
	t.Helper()
	switch s := ours.(type) {
	case Null:
		data, err := expectCommand(body, nameReady)
		if m, err2 := ParseMetadata(data); err != nil || err2 != nil || string(m.Identity()) != "me" || m.SocketType() != DEALER {
			t.Errorf("READY shows %v, %v, %v", m, err, err2)
		}
	case CurveServer:
		hello, err := ParseHelloFrame(frame)
		if err != nil || !hello.OpensWith(s.Secret) || hello.OpensWith(newPair(t).Secret) {
			t.Errorf("HELLO: %v", err)
		}
	}
}
