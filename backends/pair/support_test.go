package pair

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds everything that must happen.
const patience = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scene is a Rendezvous under test. It is shut down at the end of the test, when nobody may be left.
type scene struct {
	*Rendezvous
	t      *testing.T
	dialer net.Listener
	mu     sync.Mutex
	holds  []net.Conn
}

func newScene(t *testing.T, o Options) *scene {
	t.Helper()
	s := &scene{t: t}
	var err error
	if s.dialer, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	o.Block = "test"
	if o.Hold == nil {
		o.Hold = s.hold
	}
	s.Rendezvous = New(o)
	t.Cleanup(func() {
		s.dialer.Close()
		s.mu.Lock()
		for _, c := range s.holds {
			c.Close()
		}
		s.mu.Unlock()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(over)
		if s.counts.parked != 0 || s.counts.waiting != 0 || len(s.pairs) != 0 {
			t.Errorf("after the shutdown: %+v, %d pairs", s.counts, len(s.pairs))
		}
	})
	return s
}

func (s *scene) hold(c net.Conn, ended func()) {
	s.mu.Lock()
	s.holds = append(s.holds, c)
	s.mu.Unlock()
	go func() {
		io.Copy(io.Discard, c)
		ended()
	}()
}

// actor is the far end of an offered connection.
type actor struct {
	*net.TCPConn
	t     *testing.T
	ended chan Outcome
}

// offer makes a connection, offers its near end, and gives the far end. What was sniffed of it is in ahead.
func (s *scene) offer(role Role, ahead string) *actor {
	s.t.Helper()
	a, near := s.connect(role)
	if ahead != "" {
		near = &readAhead{near, []byte(ahead)}
	}
	s.Offer(role, near, func(o Outcome) { a.ended <- o })
	return a
}

func (s *scene) connect(role Role) (*actor, net.Conn) {
	s.t.Helper()
	// Workers come from another machine than clients.
	from := map[Role]string{Client: "127.0.0.1", Worker: "127.0.0.2", Agent: "127.0.0.3"}[role]
	far, err := net.DialTCP("tcp", &net.TCPAddr{IP: net.ParseIP(from)}, s.dialer.Addr().(*net.TCPAddr))
	if err != nil {
		s.t.Fatal(err)
	}
	near, err := s.dialer.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { far.Close() })
	far.SetDeadline(time.Now().Add(patience))
	return &actor{far, s.t, make(chan Outcome, 1)}, near
}

func (a *actor) send(text string) {
	a.t.Helper()
	if _, err := a.Write([]byte(text)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *actor) want(text string) {
	a.t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(a, got)
	if err != nil || string(got) != text {
		a.t.Fatalf("got %.200q, error %v, want %.200q", got[:n], err, text)
	}
}

func (a *actor) wantEOF() {
	a.t.Helper()
	rest, err := io.ReadAll(a)
	if err != nil || len(rest) > 0 {
		a.t.Fatalf("got %.200q, error %v, want EOF", rest, err)
	}
}

// end waits for the end of the near side.
func (a *actor) end() Outcome {
	a.t.Helper()
	select {
	case o := <-a.ended:
		return o
	case <-time.After(patience):
		a.t.Fatal("done was not called")
		return Outcome{}
	}
}

func (a *actor) wantEnd(want End) Outcome {
	a.t.Helper()
	o := a.end()
	if o.End != want {
		a.t.Fatalf("ended as %q (%v), want %q", o.End, o.Err, want)
	}
	return o
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// stands waits until so many wait on each side, and so many pairs there are.
func (s *scene) stands(waiting, parked, pairs int) {
	s.t.Helper()
	var got [3]int
	defer func() {
		if s.t.Failed() {
			s.t.Logf("waiting, parked, pairs: %v, want %v", got, [3]int{waiting, parked, pairs})
		}
	}()
	eventually(s.t, "the room is as it should be", func() bool {
		s.Rendezvous.mu.Lock()
		defer s.Rendezvous.mu.Unlock()
		got = [3]int{s.counts.waiting, s.counts.parked, len(s.pairs)}
		return got == [3]int{waiting, parked, pairs}
	})
}

func noise(n int) string {
	return string(bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n])
}
