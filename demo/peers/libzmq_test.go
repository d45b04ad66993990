//go:build libzmq

package peers

import (
	"fmt"
	"testing"
	"time"

	libzmq "github.com/pebbe/zmq4"
)

// TestPushReachesLibzmq and its mirror hold the peers against the real library.
func TestPushReachesLibzmq(t *testing.T) {
	const messages = 20
	pull, err := libzmq.NewSocket(libzmq.PULL)
	if err != nil {
		t.Fatal(err)
	}
	defer pull.Close()
	if err := pull.SetRcvtimeo(eventWait); err != nil {
		t.Fatal(err)
	}
	if err := pull.Bind("tcp://127.0.0.1:*"); err != nil {
		t.Fatal(err)
	}
	at, err := pull.GetLastEndpoint()
	if err != nil {
		t.Fatal(err)
	}
	pushed := make(chan error, 1)
	go func() {
		pushed <- Push(t.Context(), Client{Connect: at, Every: fast, Count: messages}, newDiary().report)
	}()
	for seq := 1; seq <= messages; seq++ {
		frames, err := pull.RecvMessage(0)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"push", fmt.Sprint(seq), "Hello from push"}; fmt.Sprint(frames) != fmt.Sprint(want) {
			t.Fatalf("received %q, want %q", frames, want)
		}
	}
	if err := <-pushed; err != nil {
		t.Error(err)
	}
}

func TestPullHearsLibzmq(t *testing.T) {
	const messages = 20
	d := newDiary()
	at, _ := serving(t, Pull, "127.0.0.1:0", "pull", d.report)
	push, err := libzmq.NewSocket(libzmq.PUSH)
	if err != nil {
		t.Fatal(err)
	}
	defer push.Close()
	// Heartbeats reach a peer as PING; they are no messages.
	if err := push.SetHeartbeatIvl(10 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := push.Connect("tcp://" + at); err != nil {
		t.Fatal(err)
	}
	for seq := 1; seq <= messages; seq++ {
		if _, err := push.SendMessage("libzmq", fmt.Sprint(seq), "hi"); err != nil {
			t.Fatal(err)
		}
	}
	d.await(t, messages, "received", func(e Event) bool { return e.Kind == Received && e.From == "libzmq" && e.Text == "hi" })
	if n := d.of(is(Received)); n != messages {
		t.Errorf("%d messages, want %d", n, messages)
	}
}
