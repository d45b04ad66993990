package zmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const kilobyte = 1 << 10

// gatedConn is a connection on which nothing more goes out while its gate is shut, as when the peer does not read.
type gatedConn struct {
	net.Conn
	mu     sync.Mutex
	gate   chan struct{} // closed: writes pass
	closed chan struct{}
}

func (c *gatedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	gate := c.gate
	c.mu.Unlock()
	select {
	case <-gate:
		return c.Conn.Write(p)
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *gatedConn) Close() error {
	close(c.closed) // Conn closes once
	return c.Conn.Close()
}

// stuckPeer is a peer of s to which nothing more can be written until release is called.
func stuckPeer(t testing.TB, s *Socket, kind SocketType) (peer *Conn, release func()) {
	t.Helper()
	near, far := tcpPair(t)
	g := &gatedConn{Conn: near, gate: make(chan struct{}), closed: make(chan struct{})}
	open := g.gate
	close(open)
	accepted := make(chan *Conn, 1)
	go func() {
		c, err := Accept(testContext(t), far, Options{SocketType: kind})
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	c, err := Connect(testContext(t), g, s.options.Options)
	if peer = <-accepted; err != nil || peer == nil {
		t.Fatal(err)
	}
	shut := make(chan struct{})
	g.mu.Lock()
	g.gate = shut
	g.mu.Unlock()
	before := s.Status().Peers
	attached := make(chan error, 1)
	go func() { attached <- s.Attach(c) }()
	t.Cleanup(func() { peer.Close(); closeNow(s); <-attached })
	awaitPeers(t, s, before+1)
	return peer, sync.OnceFunc(func() { close(shut) })
}

// fill sends until everything on the way to the one stuck peer is full, and returns how many messages that took.
func fill(t testing.TB, s *Socket, m *Message) (sent int) {
	t.Helper()
	stuck := func() bool { // and stays so until release: nothing more leaves the socket's queue
		w := s.links[0].conn.out
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.busy && w.room != nil
	}
	eventually(t, "the socket is full", func() bool {
		for {
			last := stuck()
			err := s.TrySend(m)
			if errors.Is(err, ErrFull) {
				return last
			}
			if err != nil {
				t.Fatal(err)
			}
			sent++
		}
	})
	return sent
}

func TestHighWaterMarkHoldsTheSenderUntilThePeerReads(t *testing.T) {
	for name, o := range map[string]SocketOptions{
		"in messages": {QueueMessagesMax: 10}, "in bytes": {QueueBytesMax: 100 * kilobyte},
	} {
		t.Run(name, func(t *testing.T) {
			o.SocketType = PUSH
			push := newSocket(t, o)
			peer, release := stuckPeer(t, push, PULL)
			m := NewMessage(make([]byte, 20*kilobyte))
			sent := fill(t, push, m)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := push.Send(ctx, m); !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a full socket sent: %v", err)
			}
			last := make(chan error, 1)
			go func() { last <- push.Send(testContext(t), texts("last")) }()
			release()
			for range sent {
				wantSize(t, recv(t, peer), 20*kilobyte)
			}
			wantParts(t, recv(t, peer), "last")
			if err := <-last; err != nil {
				t.Error(err)
			}
		})
	}
}

func wantSize(t testing.TB, m *Message, size int) {
	t.Helper()
	if m.Bytes() != size {
		t.Fatalf("got %d bytes, want %d", m.Bytes(), size)
	}
}

func TestMessageLargerThanTheQueueGoesAlone(t *testing.T) {
	push := newSocket(t, SocketOptions{Options: Options{SocketType: PUSH}, QueueBytesMax: kilobyte})
	peer, release := stuckPeer(t, push, PULL)
	big := NewMessage(make([]byte, 8<<20))
	if err := push.TrySend(big); err != nil {
		t.Fatal(err)
	}
	release()
	wantSize(t, recv(t, peer), 8<<20)
}

func TestFullPeerIsPassedOver(t *testing.T) {
	push := newSocket(t, SocketOptions{Options: Options{SocketType: PUSH}, QueueMessagesMax: 2})
	stuckPeer(t, push, PULL)
	m := NewMessage(make([]byte, 50*kilobyte))
	fill(t, push, m)
	pull := newSocket(t, ofType(PULL))
	dialTo(t, pull, bind(t, push))
	awaitPeers(t, push, 2)
	for range 20 {
		if err := push.Send(testContext(t), m); err != nil {
			t.Fatal(err)
		}
		get(t, pull)
	}
}

func TestReceiverThatDoesNotReceiveHoldsItsPeer(t *testing.T) {
	pull, push := pairOf(t, SocketOptions{Options: Options{SocketType: PULL}, QueueMessagesMax: 5},
		SocketOptions{Options: Options{SocketType: PUSH}, QueueMessagesMax: 5})
	m := NewMessage(make([]byte, 50*kilobyte))
	const messages = 200 // more than the system's buffers hold
	sent := make(chan error, 1)
	go func() {
		for range messages {
			if err := push.Send(testContext(t), m); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	eventually(t, "the receiver is full", func() bool { return pull.Status().Received >= 6 })
	for i := range messages {
		if ahead := pull.Status().Received - int64(i); ahead > 6 { // five in the queue and one in the reader's hand
			t.Fatalf("%d messages were read ahead", ahead)
		}
		get(t, pull)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestSlowSubscriberMissesWhatOthersGet(t *testing.T) {
	pub := newSocket(t, SocketOptions{Options: Options{SocketType: PUB}, QueueMessagesMax: 3})
	slow, _ := stuckPeer(t, pub, SUB)
	if err := slow.Subscribe(testContext(t), nil); err != nil {
		t.Fatal(err)
	}
	quick := newSocket(t, SocketOptions{Options: Options{SocketType: SUB}, QueueMessagesMax: 10_000})
	if err := quick.Subscribe([]byte("t")); err != nil {
		t.Fatal(err)
	}
	dialTo(t, quick, bind(t, pub))
	awaitWishes(t, pub, 2)
	var sent int64
	for m := NewMessage([]byte("t"), make([]byte, 50*kilobyte)); pub.Status().Dropped < 100; sent++ {
		if err := pub.Send(testContext(t), m); err != nil {
			t.Fatal(err)
		}
		get(t, quick)
	}
	if status := pub.Status(); status.Sent+status.Dropped != 2*sent {
		t.Errorf("%d copies sent and %d dropped of %d", status.Sent, status.Dropped, 2*sent)
	}
}

func awaitWishes(t testing.TB, pub *Socket, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d topics are asked for", n), func() bool { return wishes(pub) == n })
}

func wishes(pub *Socket) int {
	pub.mu.Lock()
	defer pub.mu.Unlock()
	return len(pub.topics.counts)
}

func TestSubscriberGetsWhatStartsWithItsTopics(t *testing.T) {
	wanted := map[string]bool{}
	var mu sync.Mutex
	pub, sub := pairOf(t, SocketOptions{Options: Options{SocketType: PUB}, Subscribed: func(topic []byte, is bool) {
		mu.Lock()
		defer mu.Unlock()
		wanted[string(topic)] = is
	}}, ofType(SUB))
	do := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	do(sub.Subscribe([]byte("ab")), sub.Subscribe([]byte("ab")), sub.Subscribe([]byte("abcd")), sub.Subscribe([]byte("x")))
	awaitWishes(t, pub, 3)
	for _, first := range []string{"a", "ab", "abc", "abcde", "b", "x", ""} {
		put(t, pub, first, "body")
	}
	for _, first := range []string{"ab", "abc", "abcde", "x"} {
		want(t, get(t, sub), first, "body")
	}
	do(sub.Cancel([]byte("ab")), sub.Cancel([]byte("x")))
	awaitWishes(t, pub, 2)
	do(sub.Cancel([]byte("ab")), sub.Cancel([]byte("never")))
	awaitWishes(t, pub, 1)
	put(t, pub, "abc")
	put(t, pub, "abcd")
	want(t, get(t, sub), "abcd")
	mu.Lock()
	defer mu.Unlock()
	if len(wanted) != 3 || wanted["ab"] || !wanted["abcd"] || wanted["x"] {
		t.Errorf("told of %v", wanted)
	}
}

func TestSubscriptionsAreToldToAPublisherThatComesLater(t *testing.T) {
	sub := newSocket(t, ofType(SUB))
	const topics = 3000 // more than the write buffer takes
	for i := range topics {
		if err := sub.Subscribe(fmt.Appendf(nil, "topic %40d", i)); err != nil {
			t.Fatal(err)
		}
	}
	first := newSocket(t, ofType(PUB))
	dialTo(t, sub, bind(t, first))
	awaitWishes(t, first, topics)
	closeNow(first)
	second := newSocket(t, ofType(PUB))
	dialTo(t, sub, bind(t, second))
	awaitWishes(t, second, topics)
}

func TestSubscriberWithTooManyTopicsIsTurnedAway(t *testing.T) {
	for name, topics := range map[string][]string{
		"in number": {"a", "b", "c", "d"}, "in bytes": {strings.Repeat("x", topicBytesMax/20), strings.Repeat("y", topicBytesMax)},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			pub := newSocket(t, SocketOptions{Options: Options{SocketType: PUB, Announce30: true}, TopicsMax: 3, Changed: func(_ *Link, up bool, err error) {
				if !up {
					ended <- err
				}
			}})
			peer, _ := stuckPeer(t, pub, SUB)
			for _, topic := range topics {
				_ = peer.Subscribe(testContext(t), []byte(topic)) // the last ones may find the connection closed
			}
			if err := <-ended; !errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v", err)
			}
			awaitWishes(t, pub, 0)
		})
	}
}

func TestPeerThatComesBackIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s") // which nobody else takes, unlike a port
	failed := make(chan string, 1)
	push := newSocket(t, SocketOptions{
		Options: Options{SocketType: PUSH}, ReconnectMin: 5 * time.Millisecond, ReconnectMax: 20 * time.Millisecond,
		ConnectFailed: func(endpoint string, _ error) {
			select {
			case failed <- endpoint:
			default:
			}
		},
	})
	dialTo(t, push, "ipc://"+path)
	for range 3 {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		pull, served := newSocket(t, ofType(PULL)), make(chan error, 1)
		go func() { served <- pull.Serve(l) }()
		put(t, push, "here")
		want(t, get(t, pull), "here")
		for len(failed) > 0 {
			<-failed // of the time before
		}
		closeNow(pull)
		if err, told := <-served, <-failed; err != nil || told != "ipc://"+path {
			t.Fatalf("told of %q; served: %v", told, err)
		}
		if _, err := push.Offer(testContext(t), texts("x")); !errors.Is(err, ErrNoPeer) {
			t.Errorf("offered to nobody: %v", err)
		}
	}
}

func TestOfferWaitsForTheFirstConnectionAlone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dealer := newSocket(t, ofType(DEALER))
	dialTo(t, dealer, "tcp://"+l.Addr().String())
	offered := make(chan error, 1)
	go func() {
		_, err := dealer.Offer(testContext(t), texts("early"))
		offered <- err
	}()
	router := newSocket(t, ofType(ROUTER))
	serve(t, router, l)
	if err := <-offered; err != nil {
		t.Fatal(err)
	}
	want(t, get(t, router)[1:], "early")
}

func TestAskerLearnsThatItsPeerHasGone(t *testing.T) {
	rep, req := pairOf(t, ofType(REP), ofType(REQ))
	put(t, req, "question")
	want(t, get(t, rep), "question")
	closeNow(rep)
	if err := req.Recv(testContext(t), &Message{}); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
}

func TestLateReplyIsNotTakenForAnother(t *testing.T) {
	rep, req := pairOf(t, ofType(REP), ofType(REQ))
	put(t, req, "slow")
	want(t, get(t, rep), "slow")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := req.Recv(ctx, &Message{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	req.Abandon()
	_ = rep.Send(testContext(t), texts("late")) // its peer may have gone already
	put(t, req, "next")
	want(t, get(t, rep), "next")
	put(t, rep, "right")
	want(t, get(t, req), "right")
}

func TestCloseDeliversWhatWasSent(t *testing.T) {
	pull, push := pairOf(t, ofType(PULL), ofType(PUSH))
	const messages = 500
	m := NewMessage(make([]byte, 10*kilobyte))
	for range messages {
		if err := push.Send(testContext(t), m); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- push.Close(testContext(t)) }()
	for range messages {
		get(t, pull)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := push.Send(testContext(t), m); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed socket sent: %v", err)
	}
}

func TestCloseGivesUpOnAPeerThatDoesNotRead(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	push := newSocket(t, SocketOptions{Options: Options{SocketType: PUSH}, QueueMessagesMax: 2})
	peer, _ := stuckPeer(t, push, PULL)
	fill(t, push, NewMessage(make([]byte, 50*kilobyte)))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := push.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	awaitPeers(t, push, 0)
	peer.Close()
}

func TestCloseEndsEveryWait(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	waits := map[string]func(*Socket) error{
		"recv":  func(s *Socket) error { return s.Recv(context.Background(), &Message{}) },
		"send":  func(s *Socket) error { return s.Send(context.Background(), texts("x")) },
		"offer": func(s *Socket) error { _, err := s.Offer(context.Background(), texts("x")); return err },
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, wait := range waits {
		s, err := NewSocket(ofType(DEALER))
		if err != nil {
			t.Fatal(err)
		}
		dialTo(t, s, "tcp://"+l.Addr().String())
		ended := make(chan error, 1)
		go func() { ended <- wait(s) }()
		closeNow(s)
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestMessagesOfAPeerThatLeftAreStillReceived(t *testing.T) {
	pull, push := pairOf(t, ofType(PULL), ofType(PUSH))
	for range 100 {
		put(t, push, "testament")
	}
	if err := push.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	awaitPeers(t, pull, 0)
	for range 100 {
		want(t, get(t, pull), "testament")
	}
}

func TestHandlerGetsMessagesBeforeItLearnsOfTheEnd(t *testing.T) {
	got := make(chan string, 10)
	rep := newSocket(t, SocketOptions{Options: Options{SocketType: ROUTER}, Receive: func(from *Link, m *Message) {
		got <- string(m.Part(0))
		if err := from.TrySend(texts("echo")); err != nil {
			t.Error(err)
		}
	}, Changed: func(_ *Link, up bool, err error) { got <- fmt.Sprint(up, err) }})
	dealer := newSocket(t, ofType(DEALER))
	dialTo(t, dealer, bind(t, rep))
	put(t, dealer, "hello")
	want(t, get(t, dealer), "echo")
	closeNow(dealer)
	for _, want := range []string{"true <nil>", "hello", "false " + io.EOF.Error()} {
		if g := <-got; g != want {
			t.Errorf("got %q, want %q", g, want)
		}
	}
	if err := rep.Recv(testContext(t), &Message{}); err == nil {
		t.Error("Recv beside a handler")
	}
}

func TestSocketAllocatesNothingPerMessage(t *testing.T) {
	pull, push := pairOf(t, ofType(PULL), ofType(PUSH))
	out, in, ctx := NewMessage(make([]byte, 100), nil), &Message{}, context.Background()
	exchange := func() {
		if err := errors.Join(push.Send(ctx, out), pull.Recv(ctx, in)); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		exchange()
	}
	if n := testing.AllocsPerRun(500, exchange); n >= 1 {
		t.Errorf("%.1f allocations for a message", n)
	}
}
