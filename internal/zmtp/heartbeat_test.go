package zmtp

import (
	"errors"
	"io"
	"testing"
	"time"
)

func TestHeartbeatAsksAfterASilenceAndGivesUpAfterAnother(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	h := heartbeat{Heartbeat: Heartbeat{Interval: 10 * time.Second, Timeout: 4 * time.Second}, heard: start}
	for _, c := range []struct {
		second, again int
		ping, dead    bool
		hear          bool // something comes right before
	}{
		{second: 0, again: 10},
		{second: 3, again: 7},
		{second: 8, again: 10, hear: true},
		{second: 17, again: 1},
		{second: 18, again: 4, ping: true},
		{second: 20, again: 2},
		{second: 21, again: 10, hear: true},
		{second: 31, again: 4, ping: true},
		{second: 35, dead: true},
	} {
		if c.hear {
			h.hear(at(c.second))
		}
		ping, again, dead := h.due(at(c.second))
		if ping != c.ping || errors.Is(dead, ErrSilent) != c.dead || again != time.Duration(c.again)*time.Second {
			t.Errorf("second %d: ping %v, again in %v, dead %v; want %+v", c.second, ping, again, dead, c)
		}
	}
}

func TestHeartbeatKeepsThePeersTimeToLive(t *testing.T) {
	start := time.Now()
	h := heartbeat{heard: start, peerTTL: time.Second}
	if ping, again, dead := h.due(start.Add(300 * time.Millisecond)); ping || again != 700*time.Millisecond || dead != nil {
		t.Errorf("ping %v, again in %v, %v", ping, again, dead)
	}
	if _, _, dead := h.due(start.Add(time.Second)); !errors.Is(dead, ErrSilent) {
		t.Errorf("got %v", dead)
	}
	if ping, again, dead := (&heartbeat{heard: start}).due(start.Add(time.Hour)); ping || again != 0 || dead != nil {
		t.Errorf("without heartbeats: ping %v, again in %v, %v", ping, again, dead)
	}
}

func TestPingIsAnsweredWithItsContext(t *testing.T) {
	nc, c := rawPeer(t, "DEALER", ROUTER)
	received := make(chan error, 1)
	m := &Message{}
	go func() { received <- c.Recv(m) }()
	wire := AppendCommand(nil, namePing, []byte("\x00\x00context"))
	wire = append(wire, "\x01\x01a"...)                                // commands may stand between the frames of a message
	wire = append(wire, AppendCommand(nil, namePing, []byte{0, 0})...) // without a context
	wire = append(wire, AppendCommand(nil, "NOVELTY", []byte("x"))...) // of a version to come
	wire = append(wire, "\x00\x01b"...)
	if _, err := nc.Write(wire); err != nil {
		t.Fatal(err)
	}
	want := "\x04\x0c\x04PONGcontext\x04\x05\x04PONG"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(nc, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	wantParts(t, m, "a", "b")
}

func TestSilentPeerIsAskedAndGivenUp(t *testing.T) {
	nc, c := rawPeerOptions(t, "DEALER", 1, Options{
		SocketType: ROUTER, Heartbeat: Heartbeat{Interval: 20 * time.Millisecond, Timeout: 30 * time.Millisecond, TTL: time.Second},
	})
	received := make(chan error, 1)
	go func() { received <- c.Recv(&Message{}) }()
	ping := make([]byte, 9)
	if _, err := io.ReadFull(nc, ping); err != nil || string(ping) != "\x04\x07\x04PING\x00\x0a" {
		t.Fatalf("got %q, %v", ping, err)
	}
	if err := <-received; !errors.Is(err, ErrSilent) {
		t.Fatalf("got %v", err)
	}
}

func TestPeerThatOutlivesItsOwnTimeToLiveIsGivenUp(t *testing.T) {
	nc, c := rawPeer(t, "DEALER", ROUTER)
	if _, err := nc.Write(AppendCommand(nil, namePing, []byte{0, 1})); err != nil { // 100 ms
		t.Fatal(err)
	}
	if err := c.Recv(&Message{}); !errors.Is(err, ErrSilent) {
		t.Fatalf("got %v", err)
	}
}

func TestHeartbeatsKeepAnIdleConnection(t *testing.T) {
	nc, c := rawPeerOptions(t, "DEALER", 1, Options{SocketType: ROUTER, Heartbeat: Heartbeat{Interval: time.Millisecond, Timeout: testWait}})
	received := make(chan error, 1)
	m := &Message{}
	go func() { received <- c.Recv(m) }()
	for range 10 { // an answer to each PING, and nothing else
		ping := make([]byte, 9)
		if _, err := io.ReadFull(nc, ping); err != nil || string(ping) != "\x04\x07\x04PING\x00\x00" {
			t.Fatalf("got %q, %v", ping, err)
		}
		if _, err := nc.Write(AppendCommand(nil, namePong, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := nc.Write([]byte("\x00\x0astill here")); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	wantParts(t, m, "still here")
}
