package pair

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"gateway/internal/zmtp"
)

// greeting is what a peer sends that says all at once.
func greeting(m zmtp.Mechanism) string {
	return string(zmtp.Greeting{Major: 3, Minor: 1, Mechanism: m}.Append(nil))
}

// told is what a gate says to a peer of which it wants to see the greeting.
var told = greeting("CURVE")[:zmtp.SignatureBytes+1]

// hello is a HELLO that is well-formed and was made for nobody.
var hello = "\x04\xc8\x05HELLO\x01\x00" + strings.Repeat("\x00", 72) + strings.Repeat("k", 32) + strings.Repeat("\x00", 7) + "\x01" + strings.Repeat("b", 80)

func curveGate(o Options) Options {
	o.Mechanisms = []zmtp.Mechanism{zmtp.MechanismCurve}
	return o
}

// gatedWorker is parked behind the gate.
func (s *scene) gatedWorker(m zmtp.Mechanism) *actor {
	s.t.Helper()
	w := s.offer(Worker, greeting(m))
	w.want(told)
	return w
}

func TestOnlyAWellFormedHelloCostsAWorker(t *testing.T) {
	s := newScene(t, curveGate(Options{}))
	worker := s.gatedWorker("CURVE")
	s.stands(0, 1, 0)
	old := []byte(greeting("CURVE"))
	old[10] = 1
	sealed := []byte(hello)
	sealed[10] = 7 // padding that is not zero
	for _, c := range []struct {
		name, says string
		want       End
	}{
		{"ZMTP 2", string(old[:12]), Mechanism},
		{"NULL", greeting("NULL"), Mechanism},
		{"PLAIN", greeting("PLAIN") + "\x04\x08\x05HELLO\x00\x00", Mechanism},
		{"no mechanism", greeting(""), FirstWords},
		{"a message first", greeting("CURVE") + "\x00\x01x", FirstWords},
		{"READY first", greeting("CURVE") + "\x04\x06\x05READY", FirstWords},
		{"a huge command", greeting("CURVE") + "\x06\x00\x00\x00\x01\x00\x00\x00\x00", FirstWords},
		{"a HELLO with bad padding", greeting("CURVE") + string(sealed), FirstWords},
		{"a HELLO of 199 bytes", greeting("CURVE") + "\x04\xc7" + hello[2:201], FirstWords},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(s.silent())
			client := s.offer(Client, c.says)
			client.t = t
			eventually(t, "it is held silent", func() bool { return len(s.silent()) > before })
			client.Close()
			client.wantEnd(c.want)
			s.stands(0, 1, 0)
		})
	}
	s.offer(Client, greeting("CURVE")[:10]).send(greeting("CURVE")[10:] + hello)
	spoken := []byte(greeting("CURVE"))
	spoken[minorAt] = 0
	worker.want(string(spoken[len(told):]) + hello)
}

func TestClientThatIsSlowAtTheGateCostsNoWorker(t *testing.T) {
	s := newScene(t, curveGate(Options{HandshakeTimeout: time.Second}))
	s.gatedWorker("CURVE")
	s.stands(0, 1, 0)
	var clients []*actor
	for _, says := range []string{greeting("CURVE"), greeting("CURVE")[:30], greeting("CURVE") + hello[:100]} {
		clients = append(clients, s.offer(Client, says))
	}
	for _, client := range clients {
		client.wantEnd(Slow)
	}
	s.stands(0, 1, 0)
}

// silent are the connections that were given to Hold.
func (s *scene) silent() []net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holds
}

// Workers of another mechanism than the gate takes are held, not parked: a client could do nothing with them.
func TestWorkerOfAnotherMechanismIsNotParked(t *testing.T) {
	s := newScene(t, curveGate(Options{}))
	worker := s.offer(Worker, greeting("NULL"))
	eventually(t, "it is held silent", func() bool { return len(s.silent()) == 1 })
	worker.Close()
	worker.wantEnd(Mechanism)
	s.stands(0, 0, 0)
}

func TestTheOldestAtTheGateMakesPlace(t *testing.T) {
	s := newScene(t, curveGate(Options{GatingMax: 2}))
	oldest := s.offer(Client, greeting("CURVE")[:10])
	oldest.want(told[:10])
	s.offer(Client, greeting("CURVE")[:10]).want(told[:10])
	s.offer(Client, greeting("CURVE")[:10]).want(told[:10])
	oldest.wantEnd(Crowded)
}

// speaker is one end of a real ZMTP connection.
type speaker struct {
	*actor
	conn *zmtp.Conn
	err  error
}

func (s *scene) speak(role Role, o zmtp.Options) <-chan speaker {
	s.t.Helper()
	a := s.offer(role, "")
	a.SetDeadline(time.Time{})
	ready := make(chan speaker, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := zmtp.Connect(ctx, a.TCPConn, o)
		ready <- speaker{a, conn, err}
	}()
	return ready
}

// exchange passes a message each way.
func exchange(t *testing.T, a, b *zmtp.Conn) {
	t.Helper()
	var m zmtp.Message
	m.Append([]byte("hello"))
	for _, way := range [][2]*zmtp.Conn{{a, b}, {b, a}} {
		if err := way[0].Send(t.Context(), &m); err != nil {
			t.Fatal(err)
		}
		if err := way[1].Recv(&m); err != nil || string(m.Part(0)) != "hello" {
			t.Fatalf("error %v", err)
		}
	}
}

func TestEveryMechanismPassesTheGateEndToEnd(t *testing.T) {
	keys, err := zmtp.GenerateKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ client, worker zmtp.Security }{
		{zmtp.Null{}, zmtp.Null{}},
		{zmtp.PlainClient{User: "anna", Password: "secret"}, zmtp.PlainServer{Authenticate: func(_, _ string) error { return nil }}},
		{zmtp.CurveClient{Server: keys.Public}, zmtp.CurveServer{Secret: keys.Secret}},
	} {
		for _, minors := range [][2]bool{{false, false}, {true, false}, {false, true}} {
			s := newScene(t, Options{Mechanisms: []zmtp.Mechanism{c.client.Mechanism()}})
			worker := s.speak(Worker, zmtp.Options{SocketType: zmtp.DEALER, Security: c.worker, Announce30: minors[0]})
			client := s.speak(Client, zmtp.Options{SocketType: zmtp.DEALER, Security: c.client, Announce30: minors[1], Identity: []byte("me")})
			a, b := <-client, <-worker
			if a.err != nil || b.err != nil {
				t.Fatalf("%s: client %v, worker %v", c.client.Mechanism(), a.err, b.err)
			}
			exchange(t, a.conn, b.conn)
			if c.client.Mechanism() == zmtp.MechanismNull && string(b.conn.Peer().Identity()) != "me" {
				t.Errorf("the worker saw the identity %q", b.conn.Peer().Identity())
			}
			eventually(t, "the handshake shows as complete", func() bool {
				pairs := s.Status(10).Pairs
				return len(pairs) == 1 && pairs[0].Handshake == HandshakeDone
			})
			a.conn.Close()
			b.conn.Close()
			a.end()
		}
	}
}

// A client with a wrong key is not even told; the worker is free at once, and after a few more the source is held silent.
func TestSourceThatFailsAgainAndAgainIsSlowedDown(t *testing.T) {
	keys, err := zmtp.GenerateKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := zmtp.GenerateKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, curveGate(Options{}))
	workers := 0
	attempt := func() speaker {
		workers++
		worker := s.speak(Worker, zmtp.Options{SocketType: zmtp.DEALER, Security: zmtp.CurveServer{Secret: keys.Secret}})
		s.stands(0, 1, 0)
		client := <-s.speak(Client, zmtp.Options{SocketType: zmtp.DEALER, Security: zmtp.CurveClient{Server: wrong.Public}})
		if w := <-worker; w.err == nil || client.err == nil {
			t.Fatalf("worker %v, client %v", w.err, client.err)
		}
		s.stands(0, 0, 0)
		return client
	}
	for range failuresFree {
		attempt().wantEnd(Handshake)
	}
	// One more, and it is held; so is whatever comes from there for a while.
	worker := s.speak(Worker, zmtp.Options{SocketType: zmtp.DEALER, Security: zmtp.CurveServer{Secret: keys.Secret}})
	s.stands(0, 1, 0)
	s.offer(Client, greeting("CURVE")+hello)
	<-worker
	eventually(t, "it is held silent", func() bool { return len(s.silent()) == 1 })
	held := s.offer(Client, greeting("CURVE")+hello)
	eventually(t, "the next is held at once", func() bool { return len(s.silent()) == 2 })
	held.Close()
	if o := held.wantEnd(Failing); !errors.Is(o.Err, errFailing) {
		t.Errorf("error %v", o.Err)
	}
}

func TestHandshakeThatDoesNotEndFreesTheWorker(t *testing.T) {
	s := newScene(t, curveGate(Options{HandshakeTimeout: time.Second}))
	worker := s.gatedWorker("CURVE")
	s.stands(0, 1, 0)
	client := s.offer(Client, greeting("CURVE")+hello)
	client.wantEnd(Unfinished)
	if o := worker.wantEnd(Unfinished); !errors.Is(o.Err, context.DeadlineExceeded) && !strings.Contains(o.Err.Error(), "WELCOME") {
		t.Errorf("error %v", o.Err)
	}
	s.stands(0, 0, 0)
}

const welcome = "\x04\xa8\x07WELCOME"

// A worker is not harmed by an INITIATE that is not even well-formed: it never gets it.
func TestMalformedInitiateDoesNotReachTheWorker(t *testing.T) {
	for name, initiate := range map[string]string{
		"too short":    "\x04\x20\x08INITIATE" + strings.Repeat("x", 23),
		"another name": "\x04\x06\x05READY",
		"a message":    "\x00\x01x",
		"too long":     "\x06\x00\x00\x00\x00\x7f\x00\x00\x00",
		"reserved":     "\xf0",
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, curveGate(Options{}))
			worker := s.gatedWorker("CURVE")
			s.stands(0, 1, 0)
			client := s.offer(Client, greeting("CURVE")+hello)
			worker.want(greeting("CURVE")[len(told):][:0] + string(append([]byte{0}, greeting("CURVE")[minorAt+1:]...)) + hello)
			worker.send(welcome + strings.Repeat("w", 160))
			client.want(told)
			client.want(string(append([]byte{0}, greeting("CURVE")[minorAt+1:]...)) + welcome + strings.Repeat("w", 160))
			client.send(initiate)
			worker.wantEOF()
			client.wantEnd(Handshake)
			worker.wantEnd(Handshake)
		})
	}
}

func TestEitherSideThatLeavesInTheHandshakeFreesTheOther(t *testing.T) {
	for _, leaves := range []Role{Client, Worker} {
		t.Run(leaves.String(), func(t *testing.T) {
			s := newScene(t, curveGate(Options{}))
			worker := s.gatedWorker("CURVE")
			s.stands(0, 1, 0)
			client := s.offer(Client, greeting("CURVE")+hello)
			worker.want(string(append([]byte{0}, greeting("CURVE")[minorAt+1:]...)) + hello)
			if leaves == Worker {
				worker.Close()
			} else {
				client.Close()
			}
			client.wantEnd(Handshake)
			worker.wantEnd(Handshake)
			s.stands(0, 0, 0)
		})
	}
}

// Of a mechanism that nobody knows yet the gate looks at the name alone, and every byte goes through.
func TestMechanismNotInventedYetPassesTheGate(t *testing.T) {
	s := newScene(t, Options{Mechanisms: []zmtp.Mechanism{"QUANTUM"}})
	worker := s.gatedWorker("QUANTUM")
	s.stands(0, 1, 0)
	client := s.offer(Client, greeting("QUANTUM"))
	client.want(greeting("QUANTUM"))
	worker.want(greeting("QUANTUM")[len(told):])
	client.send("\x00\x05first")
	worker.want("\x00\x05first")
	worker.send("\x00\x06second")
	client.want("\x00\x06second")
}

// An earlier block may have answered a client before this one was chosen; here nothing is gated, and its worker says the
// rest.
func TestClientThatWasAnsweredGetsTheRestOfItsWorkersGreeting(t *testing.T) {
	for _, answered := range []int{10, 11, 64} {
		s := newScene(t, Options{})
		far, near := s.connect(Client)
		s.Offer(Client, &answeredConn{readAhead{near, []byte(greeting("NULL"))}, answered}, func(o Outcome) { far.ended <- o })
		worker := s.offer(Worker, "")
		worker.want(greeting("NULL"))
		worker.send(greeting("NULL") + "rest")
		far.want(greeting("NULL")[answered:] + "rest")
		far.Close()
		worker.wantEOF()
	}
}

type answeredConn struct {
	readAhead
	answered int
}

func (c *answeredConn) Answered() int { return c.answered }
