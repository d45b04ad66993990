package zmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newSocket makes a socket that reconnects soon and is closed when the test ends.
func newSocket(t testing.TB, o SocketOptions) *Socket {
	t.Helper()
	if o.ReconnectMin == 0 {
		o.ReconnectMin, o.ReconnectMax = 5*time.Millisecond, 50*time.Millisecond
	}
	s, err := NewSocket(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(s) })
	return s
}

// closeNow closes a socket without waiting for what was sent.
func closeNow(s *Socket) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Close(ctx) // unflushed messages are no concern here
}

func ofType(kind SocketType) SocketOptions { return SocketOptions{Options: Options{SocketType: kind}} }

// bind makes a socket serve a port of its own.
func bind(t testing.TB, s *Socket) (endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, l)
	return "tcp://" + l.Addr().String()
}

func serve(t testing.TB, s *Socket, l net.Listener) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		closeNow(s)
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func dialTo(t testing.TB, s *Socket, endpoint string) {
	t.Helper()
	if err := s.Connect(endpoint); err != nil {
		t.Fatal(err)
	}
}

// pairOf is a bound socket and one that is connected to it.
func pairOf(t testing.TB, bound, connecting SocketOptions) (b, c *Socket) {
	t.Helper()
	b, c = newSocket(t, bound), newSocket(t, connecting)
	dialTo(t, c, bind(t, b))
	awaitPeers(t, b, 1)
	awaitPeers(t, c, 1)
	return b, c
}

func awaitPeers(t testing.TB, s *Socket, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d peers", n), func() bool { return s.Status().Peers == n })
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testWait); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", testWait, what)
		}
	}
}

func texts(parts ...string) *Message {
	m := &Message{}
	for _, p := range parts {
		m.Append([]byte(p))
	}
	return m
}

func put(t testing.TB, s *Socket, parts ...string) {
	t.Helper()
	if err := s.Send(testContext(t), texts(parts...)); err != nil {
		t.Fatalf("send %.40q: %v", parts, err)
	}
}

func get(t testing.TB, s *Socket) []string {
	t.Helper()
	m := &Message{}
	if err := s.Recv(testContext(t), m); err != nil {
		t.Fatal(err)
	}
	return textsOf(m)
}

func textsOf(m *Message) []string {
	got := make([]string, m.Len())
	for i := range got {
		got[i] = string(m.Part(i))
	}
	return got
}

func want(t testing.TB, got []string, parts ...string) {
	t.Helper()
	if !slices.Equal(got, parts) {
		t.Errorf("got %.80q, want %.80q", got, parts)
	}
}

// shapes are messages of every shape.
var shapes = [][]string{
	{"hello"}, {""}, {"", ""}, {"", "body"}, {"a", "", "c", "", ""}, {"a", "b", "c", "d", "e", "f"},
	{strings.Repeat("x", 255), strings.Repeat("y", 256)}, {strings.Repeat("z", 200_000), "", "end"},
}

func TestPushedMessagesAreAllPulled(t *testing.T) {
	for name, bound := range map[string]SocketType{"pull binds": PULL, "push binds": PUSH} {
		t.Run(name, func(t *testing.T) {
			b, c := pairOf(t, ofType(bound), ofType(map[SocketType]SocketType{PULL: PUSH, PUSH: PULL}[bound]))
			push, pull := c, b
			if bound == PUSH {
				push, pull = b, c
			}
			for _, parts := range shapes {
				put(t, push, parts...)
				want(t, get(t, pull), parts...)
			}
		})
	}
}

func TestSocketsMeetOverAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	pull, push := newSocket(t, ofType(PULL)), newSocket(t, ofType(PUSH))
	serve(t, pull, l)
	dialTo(t, push, "ipc://"+path)
	put(t, push, "over", "ipc")
	want(t, get(t, pull), "over", "ipc")
}

func TestWorkIsDealtEvenlyToReadyPeers(t *testing.T) {
	for _, kinds := range [][2]SocketType{{PUSH, PULL}, {DEALER, DEALER}} {
		sender := newSocket(t, ofType(kinds[0]))
		endpoint := bind(t, sender)
		var workers []*Socket
		for range 3 {
			w := newSocket(t, ofType(kinds[1]))
			dialTo(t, w, endpoint)
			workers = append(workers, w)
		}
		awaitPeers(t, sender, 3)
		for i := range 9 {
			put(t, sender, fmt.Sprint(i))
		}
		for _, w := range workers {
			for range 3 {
				get(t, w)
			}
		}
	}
}

func TestNoPeerIsStarvedByAnother(t *testing.T) {
	pull := newSocket(t, ofType(PULL))
	endpoint := bind(t, pull)
	loud, shy := newSocket(t, ofType(PUSH)), newSocket(t, ofType(PUSH))
	dialTo(t, loud, endpoint)
	dialTo(t, shy, endpoint)
	for range 500 {
		put(t, loud, "loud")
	}
	eventually(t, "all is queued", func() bool { return pull.Status().Received == 500 })
	put(t, shy, "shy")
	eventually(t, "the shy one too", func() bool { return pull.Status().Received == 501 })
	for i := range 3 {
		if get(t, pull)[0] == "shy" {
			return
		}
		if i == 2 {
			t.Error("three messages of the loud peer came before the shy one's")
		}
	}
}

func TestRouterNamesItsPeersAndFindsThemByName(t *testing.T) {
	router := newSocket(t, ofType(ROUTER))
	endpoint := bind(t, router)
	named := newSocket(t, SocketOptions{Options: Options{SocketType: DEALER, Identity: []byte("anna")}})
	dialTo(t, named, endpoint)
	put(t, named, "I am", "anna")
	want(t, get(t, router), "anna", "I am", "anna")
	for _, parts := range shapes {
		put(t, router, append([]string{"anna"}, parts...)...)
		want(t, get(t, named), parts...)
	}
	nameless := newSocket(t, ofType(REQ))
	dialTo(t, nameless, endpoint)
	put(t, nameless, "question")
	got := get(t, router)
	if len(got) != 3 || len(got[0]) != 5 || got[0][0] != 0 || got[1] != "" || got[2] != "question" {
		t.Fatalf("got %q", got)
	}
	put(t, router, got[0], "", "answer")
	want(t, get(t, nameless), "answer")
	if err := router.Send(testContext(t), texts("bert", "x")); !errors.Is(err, ErrUnroutable) {
		t.Errorf("sent to nobody: %v", err)
	}
}

func TestSecondPeerOfOneNameIsTurnedAway(t *testing.T) {
	came := make(chan struct{}, 10)
	router := newSocket(t, SocketOptions{Options: Options{SocketType: ROUTER}, Changed: func(_ *Link, up bool, _ error) {
		if up {
			came <- struct{}{}
		}
	}})
	endpoint := bind(t, router)
	anna := SocketOptions{Options: Options{SocketType: DEALER, Identity: []byte("anna")}}
	first, second := newSocket(t, anna), newSocket(t, anna)
	dialTo(t, first, endpoint)
	<-came
	put(t, first, "mine")
	want(t, get(t, router), "anna", "mine")
	dialTo(t, second, endpoint)
	put(t, router, "anna", "to the first")
	want(t, get(t, first), "to the first")
	closeNow(first)
	<-came // what the second sent before, the router did not take
	put(t, second, "mine now")
	want(t, get(t, router), "anna", "mine now")
}

func TestRepAnswersWhomItWasAskedBy(t *testing.T) {
	rep := newSocket(t, ofType(REP))
	endpoint := bind(t, rep)
	for i := range 3 {
		req := newSocket(t, ofType(REQ))
		dialTo(t, req, endpoint)
		question, answer := fmt.Sprint("q", i), fmt.Sprint("a", i)
		put(t, req, question, "")
		want(t, get(t, rep), question, "")
		put(t, rep, "", answer)
		want(t, get(t, req), "", answer)
	}
	dealer := newSocket(t, ofType(DEALER))
	dialTo(t, dealer, endpoint)
	put(t, dealer, "no envelope")
	put(t, dealer, "hop2", "hop1", "", "stacked", "")
	want(t, get(t, rep), "stacked", "")
	put(t, rep, "answer")
	want(t, get(t, dealer), "hop2", "hop1", "", "answer")
	if dropped := rep.Status().Dropped; dropped != 1 {
		t.Errorf("%d messages dropped, want the one without envelope", dropped)
	}
}

func TestReqAndRepKeepTheirTurns(t *testing.T) {
	rep, req := pairOf(t, ofType(REP), ofType(REQ))
	ctx := testContext(t)
	if err := req.Recv(ctx, &Message{}); !errors.Is(err, ErrOutOfStep) {
		t.Errorf("REQ received before it sent: %v", err)
	}
	if err := rep.Send(ctx, texts("x")); !errors.Is(err, ErrOutOfStep) {
		t.Errorf("REP sent before it received: %v", err)
	}
	put(t, req, "one")
	if err := req.Send(ctx, texts("two")); !errors.Is(err, ErrOutOfStep) {
		t.Errorf("REQ sent twice: %v", err)
	}
	want(t, get(t, rep), "one")
	if err := rep.Recv(ctx, &Message{}); !errors.Is(err, ErrOutOfStep) {
		t.Errorf("REP received twice: %v", err)
	}
	put(t, rep, "reply")
	want(t, get(t, req), "reply")
}

func TestSocketsRefuseWhatTheirPatternHasNot(t *testing.T) {
	ctx := testContext(t)
	for _, kind := range []SocketType{PULL, SUB} {
		if err := newSocket(t, ofType(kind)).Send(ctx, texts("x")); err == nil {
			t.Errorf("a %s sent", kind)
		}
	}
	for _, kind := range []SocketType{PUSH, PUB} {
		if err := newSocket(t, ofType(kind)).Recv(ctx, &Message{}); err == nil {
			t.Errorf("a %s received", kind)
		}
	}
	if err := newSocket(t, ofType(PUSH)).Send(ctx, &Message{}); err == nil {
		t.Error("a message without parts was sent")
	}
	if err := newSocket(t, ofType(PUSH)).Subscribe(nil); err == nil {
		t.Error("a PUSH subscribed")
	}
	if _, err := NewSocket(ofType(PAIR)); err == nil {
		t.Error("there is a PAIR")
	}
	for _, bad := range []string{"", "127.0.0.1:1", "tcp://", "udp://127.0.0.1:1"} {
		if err := newSocket(t, ofType(PUSH)).Connect(bad); err == nil {
			t.Errorf("connected to %q", bad)
		}
	}
}

func TestEveryMechanismCarriesASocket(t *testing.T) {
	for name, s := range allSecurities(t) {
		t.Run(name, func(t *testing.T) {
			rep, req := pairOf(t, SocketOptions{Options: Options{SocketType: REP, Security: s[1]}},
				SocketOptions{Options: Options{SocketType: REQ, Security: s[0]}})
			for _, parts := range shapes {
				put(t, req, parts...)
				want(t, get(t, rep), parts...)
				put(t, rep, parts...)
				want(t, get(t, req), parts...)
			}
		})
	}
}

// shortOfMemory is a listener whose accepts fail at first.
type shortOfMemory struct {
	net.Listener
	failures []error
}

func (l *shortOfMemory) Accept() (net.Conn, error) {
	if len(l.failures) > 0 {
		err := l.failures[0]
		l.failures = l.failures[1:]
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", err)}
	}
	return l.Listener.Accept()
}

func TestServeOutlivesErrorsThatPass(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pull, push := newSocket(t, ofType(PULL)), newSocket(t, ofType(PUSH))
	serve(t, pull, &shortOfMemory{l, []error{syscall.EMFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPROTO}})
	dialTo(t, push, "tcp://"+l.Addr().String())
	awaitPeers(t, pull, 1)
}
