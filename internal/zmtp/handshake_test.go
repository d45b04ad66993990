package zmtp

import (
	"errors"
	"strings"
	"testing"
)

// side is one end of a handshake in memory.
func side(s Security, t SocketType, accepts bool) handshake {
	m := Metadata{{Name: PropertySocketType, Value: []byte(t)}, {Name: PropertyIdentity, Value: []byte("id-" + t)}}
	return s.newHandshake(local{metadata: m, check: t.checkPeer, accepts: accepts})
}

// bodies cuts frames, all of them commands, into their bodies.
func bodies(t *testing.T, frames []byte) (out [][]byte) {
	t.Helper()
	for len(frames) > 0 {
		h, n, err := ParseFrameHeader(frames)
		if err != nil || n == 0 || !h.Command() {
			t.Fatalf("handshake wrote % x: %v", frames, err)
		}
		out = append(out, frames[n:n+int(h.Size)])
		frames = frames[n+int(h.Size):]
	}
	return out
}

// shake lets both sides talk until they are done or one gives up.
func shake(t *testing.T, a, b handshake) (doneA, doneB bool, errA, errB error) {
	t.Helper()
	toB, toA := bodies(t, a.start(nil)), bodies(t, b.start(nil))
	for len(toA)+len(toB) > 0 {
		var answer []byte
		if len(toB) > 0 {
			answer, doneB, errB = b.receive(nil, toB[0])
			toA, toB = append(toA, bodies(t, answer)...), toB[1:]
			if errB != nil && len(toA) == 0 {
				return
			}
			continue
		}
		answer, doneA, errA = a.receive(nil, toA[0])
		toB, toA = append(toB, bodies(t, answer)...), toA[1:]
		if errA != nil {
			return
		}
	}
	return
}

func allSecurities(t *testing.T) map[string][2]Security {
	t.Helper()
	server, client := newPair(t), newPair(t)
	right := func(user, password string) error {
		if user != "anna" || password != "secret" {
			return errors.New("unknown")
		}
		return nil
	}
	return map[string][2]Security{
		"NULL":                       {Null{}, Null{}},
		"PLAIN":                      {PlainClient{User: "anna", Password: "secret"}, PlainServer{Authenticate: right}},
		"CURVE":                      {CurveClient{Server: server.Public, Pair: client}, CurveServer{Secret: server.Secret}},
		"CURVE without a client key": {CurveClient{Server: server.Public}, CurveServer{Secret: server.Secret}},
	}
}

func newPair(t testing.TB) KeyPair {
	t.Helper()
	pair, err := GenerateKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestEveryMechanismComesToAnEnd(t *testing.T) {
	for name, s := range allSecurities(t) {
		a, b := side(s[0], DEALER, false), side(s[1], ROUTER, true)
		doneA, doneB, errA, errB := shake(t, a, b)
		if !doneA || !doneB {
			t.Errorf("%s: %v, %v", name, errA, errB)
			continue
		}
		pa, sealA, _ := a.result()
		pb, _, openB := b.result()
		if pa.SocketType() != ROUTER || string(pb.Identity()) != "id-DEALER" || pa.Mechanism != s[1].Mechanism() {
			t.Errorf("%s: client learnt %+v, server %+v", name, pa, pb)
		}
		if (sealA != nil) != (pa.Mechanism == MechanismCurve) || (openB != nil) != (pa.Mechanism == MechanismCurve) {
			t.Errorf("%s: encryption is not what the mechanism promises", name)
		}
	}
}

func TestServerLearnsWhoTheClientIs(t *testing.T) {
	s := allSecurities(t)
	a, b := side(s["PLAIN"][0], REQ, false), side(s["PLAIN"][1], REP, true)
	shake(t, a, b)
	if peer, _, _ := b.result(); peer.User != "anna" {
		t.Errorf("PLAIN: %+v", peer)
	}
	client := s["CURVE"][0].(CurveClient)
	a, b = side(client, REQ, false), side(s["CURVE"][1], REP, true)
	shake(t, a, b)
	if peer, _, _ := b.result(); peer.Key != client.Pair.Public {
		t.Errorf("CURVE: %+v", peer)
	}
	if peer, _, _ := a.result(); peer.Key != client.Server {
		t.Errorf("CURVE, client's side: %+v", peer)
	}
}

func TestUnwantedClientHearsWhy(t *testing.T) {
	no := errors.New("not on the list")
	s := allSecurities(t)
	curve := s["CURVE"][1].(CurveServer)
	curve.Authenticate = func(PublicKey) error { return no }
	for name, c := range map[string]struct {
		client, server Security
		clientType     SocketType
		heard          string
	}{
		"PLAIN, wrong password": {PlainClient{User: "anna", Password: "guess"}, s["PLAIN"][1], REQ, "400"},
		"PLAIN, nobody known":   {s["PLAIN"][0], PlainServer{}, REQ, "400"},
		"CURVE, unknown key":    {s["CURVE"][0], curve, REQ, "400"},
		"NULL, wrong socket":    {Null{}, Null{}, SUB, "SUB"},
		"PLAIN, wrong socket":   {s["PLAIN"][0], s["PLAIN"][1], SUB, "SUB"},
		"CURVE, wrong socket":   {s["CURVE"][0], s["CURVE"][1], SUB, "SUB"},
	} {
		_, _, errA, errB := shake(t, side(c.client, c.clientType, false), side(c.server, REP, true))
		var heard *PeerError
		if !errors.As(errA, &heard) || !strings.Contains(heard.Reason, c.heard) {
			t.Errorf("%s: client got %v", name, errA)
		}
		if !errors.Is(errB, ErrRefused) {
			t.Errorf("%s: server got %v", name, errB)
		}
	}
	_, _, _, err := shake(t, side(s["CURVE"][0], REQ, false), side(curve, REP, true))
	if !errors.Is(err, no) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestMechanismRefusesAnythingButTheCommandThatIsDue(t *testing.T) {
	for name, s := range allSecurities(t) {
		for _, body := range []string{
			"", "\x05HELLO", "\x05ERROR", "\x04PING\x00\x00", "\x07MESSAGE12345678", "\x07WELCOMEx", "\x08INITIATE",
			"\x05READY\x01", "\x09SUBSCRIBE",
		} {
			client, server := side(s[0], REQ, false), side(s[1], REP, true)
			client.start(nil)
			for who, h := range map[string]handshake{"client": client, "server": server} {
				answer, done, err := h.receive(nil, []byte(body))
				if err == nil || done || len(answer) > 0 && !strings.Contains(string(answer), "ERROR") {
					t.Errorf("%s %s took %q: answer %q, done %v", name, who, body, answer, done)
				}
			}
		}
	}
}

func TestPlainHelloWithSparesOrGapsIsRefused(t *testing.T) {
	s := allSecurities(t)["PLAIN"][1]
	for _, data := range []string{"\x04anna", "\x04anna\x06secre", "\x04anna\x06secret!", "\xffanna\x06secret"} {
		_, _, err := side(s, REP, true).receive(nil, []byte("\x05HELLO"+data))
		wantReason(t, data, err, ReasonCommand)
	}
}
