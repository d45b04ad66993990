package browser

import (
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gateway/internal/zmtp"
)

const patience = 10 * time.Second

// bind plays one of the gateway's sockets.
func bind(t *testing.T, kind zmtp.SocketType) (*zmtp.Socket, string) {
	t.Helper()
	s, err := zmtp.NewSocket(zmtp.SocketOptions{Options: zmtp.Options{SocketType: kind}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close(context.Background())
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, "tcp://" + l.Addr().String()
}

func TestProgramAnswersWithTheDateAndDisconnects(t *testing.T) { check(t, false) }

func TestProgramThatStaysDisconnectsWhoSaysBye(t *testing.T) { check(t, true) }

func check(t *testing.T, stay bool) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	push, toProgram := bind(t, zmtp.PUSH)
	pull, fromProgram := bind(t, zmtp.PULL)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Reply(ctx, Replier{Pull: toProgram, Push: fromProgram, Stay: stay}) }()
	say := func(parts ...string) {
		m := &zmtp.Message{}
		for _, part := range parts {
			m.Append([]byte(part))
		}
		if err := push.Send(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(kind string) (data string) {
		t.Helper()
		m := &zmtp.Message{}
		if err := pull.Recv(ctx, m); err != nil {
			t.Fatal(err)
		}
		if m.Len() != 3 || string(m.Part(0)) != kind || string(m.Part(1)) != "id" {
			t.Fatalf("the program says %q, want %s", m.Parts(), kind)
		}
		return string(m.Part(2))
	}
	say("connect", "id", "")
	say("not three parts")
	say("message", "id", "what time is it?")
	if date := hear("message"); !isDate(date) {
		t.Errorf("the date is %q", date)
	}
	if stay {
		say("message", "id", goodbye)
		hear("message")
	}
	hear("disconnect")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func isDate(text string) bool {
	_, err := time.Parse(dateFormat, text)
	return err == nil
}
