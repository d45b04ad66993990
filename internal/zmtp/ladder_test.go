package zmtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
)

// libzmqManners is how libzmq shows its greeting: the signature, the version after the other's signature, the rest after
// the other's version.
func libzmqManners(t *testing.T, nc net.Conn, after []byte) {
	t.Helper()
	greeting := nullGreeting()
	_ = nc.SetDeadline(time.Now().Add(testWait))
	for _, turn := range []struct{ say, then int }{{SignatureBytes, SignatureBytes}, {1, 1}, {GreetingBytes - 11, GreetingBytes - 11}} {
		if _, err := nc.Write(greeting[:turn.say]); err != nil {
			t.Error(err)
			return
		}
		greeting = greeting[turn.say:]
		if _, err := io.ReadFull(nc, make([]byte, turn.then)); err != nil {
			return // the ladder was not climbed so far
		}
	}
	if _, err := nc.Write(after); err != nil {
		t.Error(err)
	}
}

func TestLadderWritesNoMoreThanEachStepNeeds(t *testing.T) {
	nc, accepted := tcpPair(t)
	go libzmqManners(t, nc, dealerReady())
	l, ctx := NewLadder(accepted), testContext(t)
	said := func(step string, read, written int) {
		t.Helper()
		if gotRead, gotWritten, _ := l.HandOver(); len(gotRead) != read || gotWritten != written {
			t.Errorf("after %s: read %d and wrote %d bytes, want %d and %d", step, len(gotRead), gotWritten, read, written)
		}
	}
	if err := l.Signature(ctx); err != nil {
		t.Fatal(err)
	}
	said("Signature", 10, 0)
	if major, err := l.Major(ctx); err != nil || major != 3 {
		t.Fatalf("%d, %v", major, err)
	}
	said("Major", 11, 10)
	if g, err := l.Greeting(ctx); err != nil || g.Mechanism != MechanismNull {
		t.Fatalf("%+v, %v", g, err)
	}
	said("Greeting", 64, 11)
	body, err := l.FirstCommand(ctx, 1, DefaultMetadataBytesMax)
	if err != nil || !bytes.Equal(body, dealerReady()[2:]) || !bytes.Equal(l.FirstFrame(), dealerReady()) {
		t.Fatalf("%q, %v", body, err)
	}
	said("FirstCommand", 64+len(dealerReady()), 64)
	read, _, _ := l.HandOver()
	if want := append(nullGreeting(), dealerReady()...); !bytes.Equal(read, want) {
		t.Errorf("hands over % x, want % x", read, want)
	}
}

func TestLadderIsClimbedAtOnceByWhoWantsTheTop(t *testing.T) {
	nc, accepted := tcpPair(t)
	go libzmqManners(t, nc, dealerReady())
	body, err := NewLadder(accepted).FirstCommand(testContext(t), 0, DefaultMetadataBytesMax)
	if err != nil || !bytes.HasPrefix(body, []byte("\x05READY")) {
		t.Fatalf("%q, %v", body, err)
	}
}

func TestPeerOfZMTP2IsSeenBeforeTheVersionIsSaid(t *testing.T) {
	nc, accepted := tcpPair(t)
	if _, err := nc.Write([]byte("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x05")); err != nil {
		t.Fatal(err)
	}
	l, ctx := NewLadder(accepted), testContext(t)
	if major, err := l.Major(ctx); err != nil || major != 1 {
		t.Fatalf("major %d, %v", major, err)
	}
	if _, err := l.Greeting(ctx); !errors.Is(err, ErrOldVersion) {
		t.Fatalf("got %v", err)
	}
	if read, written, _ := l.HandOver(); written != SignatureBytes || len(read) != 11 {
		t.Errorf("%d bytes read, %d written: the byte relay cannot take over", len(read), written)
	}
}

func TestLadderLeavesNoDeadlineBehind(t *testing.T) {
	nc, accepted := tcpPair(t)
	l := NewLadder(accepted)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := l.Signature(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if _, err := nc.Write(nullGreeting()); err != nil {
		t.Fatal(err)
	}
	if err := l.Signature(testContext(t)); err != nil {
		t.Fatalf("the connection cannot be held silent and used later: %v", err)
	}
	ctx, cancel = context.WithCancel(testContext(t))
	if _, err := l.Greeting(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := accepted.Write([]byte("x")); err != nil {
		t.Errorf("the step's end cut the connection: %v", err)
	}
}

func TestLadderEndsInAConnectionForEveryMechanism(t *testing.T) {
	for name, s := range allSecurities(t) {
		dialled, accepted := tcpPair(t)
		ctx := testContext(t)
		met := make(chan *Conn, 1)
		go func() {
			c, err := Connect(ctx, dialled, Options{SocketType: DEALER, Security: s[0]})
			if err != nil {
				t.Error(err)
			}
			met <- c
		}()
		l := NewLadder(accepted)
		if _, err := l.FirstCommand(ctx, 1, DefaultMetadataBytesMax); err != nil {
			t.Fatal(err)
		}
		srv, err := l.Accept(ctx, Options{SocketType: ROUTER, Security: s[1]})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := <-met
		send(t, c, "up")
		wantParts(t, recv(t, srv), "up")
		c.Close()
		srv.Close()
	}
}

func TestLadderDoesNotAcceptWithAnotherMechanismThanItAnnounced(t *testing.T) {
	nc, accepted := tcpPair(t)
	go libzmqManners(t, nc, dealerReady())
	l, ctx := NewLadder(accepted), testContext(t)
	if _, err := l.FirstCommand(ctx, 1, DefaultMetadataBytesMax); err != nil {
		t.Fatal(err)
	}
	_, err := l.Accept(ctx, Options{SocketType: ROUTER, Security: CurveServer{Secret: newPair(t).Secret}})
	wantReason(t, "CURVE after NULL", err, ReasonMechanism)
}

func TestWhoDialsALadderSaysAllAtOnce(t *testing.T) {
	dialled, accepted := tcpPair(t)
	ctx := testContext(t)
	seen := make(chan Greeting, 1)
	go func() {
		l := NewLadder(accepted)
		if _, err := l.Greeting(ctx); err != nil {
			t.Error(err)
		}
		g, err := l.Exchange(ctx, 0, MechanismNull)
		if err != nil {
			t.Error(err)
		}
		seen <- g
	}()
	g, err := NewLadder(dialled).Exchange(ctx, 1, MechanismCurve)
	if err != nil || g.Minor != 0 || g.Mechanism != MechanismNull {
		t.Fatalf("%+v, %v", g, err)
	}
	if g := <-seen; g.Minor != 1 || g.Mechanism != MechanismCurve {
		t.Errorf("the other side saw %+v", g)
	}
}

func TestGoZeroMQSpeaksNullWithUs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx := testContext(t)
	dealer := zmq4.NewDealer(ctx, zmq4.WithID(zmq4.SocketIdentity("go")))
	defer dealer.Close()
	dialled := make(chan error, 1)
	go func() { dialled <- dealer.Dial("tcp://" + l.Addr().String()) }()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Accept(ctx, nc, Options{SocketType: ROUTER})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-dialled; err != nil {
		t.Fatal(err)
	}
	if p := c.Peer(); string(p.Identity()) != "go" || p.Minor != 0 {
		t.Errorf("the peer is %+v", p)
	}
	if err := dealer.SendMulti(zmq4.NewMsgFromString([]string{"hello", "", "world"})); err != nil {
		t.Fatal(err)
	}
	wantParts(t, recv(t, c), "hello", "", "world")
	send(t, c, "good", "day")
	got, err := dealer.Recv()
	if err != nil || len(got.Frames) != 2 || string(got.Frames[1]) != "day" {
		t.Fatalf("%v, %v", got, err)
	}
}
