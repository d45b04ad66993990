package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

func TestDemoAnswersItsPageAndStaysWhileItIsOpen(t *testing.T) {
	defer goleak.VerifyNone(t)
	stdout, ended := newWatched(), make(chan int, 1)
	d := newDemonstration(stdout, demoClients)
	d.listen, d.duration, d.every = "127.0.0.1:0", 3*time.Second, 10*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { ended <- d.show(ctx, os.Stderr) }()
	stdout.await(t, "open http://")
	_, rest, _ := strings.Cut(stdout.String(), "open http://")
	addr, _, _ := strings.Cut(rest, "/")
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+addr+"/chat/websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	for started := time.Now(); time.Since(started) < d.duration*3/2; { // longer than the demo would last without a page
		if err := ws.WriteMessage(websocket.TextMessage, fmt.Append(nil, "what time is it?")); err != nil {
			t.Fatal(err)
		}
		_, answer, err := ws.ReadMessage()
		if err != nil {
			t.Fatalf("the page was cut off: %v\n%s", err, stdout)
		}
		if _, err := time.Parse("2006-01-02 15:04:05.000000", string(answer)); err != nil {
			t.Fatalf("the answer is %q", answer)
		}
	}
	cancel()
	select {
	case code := <-ended:
		if code != exitOK {
			t.Errorf("exit code %d:\n%s", code, stdout)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it did not end")
	}
}
