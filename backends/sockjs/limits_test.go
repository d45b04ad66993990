package sockjs

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func TestFloodingBrowserWaitsForTheProgramAndLosesNothing(t *testing.T) {
	const messages, size = 1500, 32 << 10 // more than all buffers on the way hold
	g := start(t, Options{})
	release := make(chan struct{})
	p := g.run(func(*program, event) { <-release })
	ws := dial(t, g.url+"/websocket")
	other := dial(t, g.url+"/websocket")
	var written atomic.Int64
	done := make(chan error, 1)
	go func() {
		filler := strings.Repeat("x", size)
		for i := range messages {
			if err := ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "%d %s", i, filler)); err != nil {
				done <- err
				return
			}
			written.Add(1)
		}
		done <- nil
	}()
	stalled(&written)
	if n := written.Load(); n == messages {
		t.Fatal("nothing held the flood back")
	}
	other.say("me too")
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sawOther := false
	for next := 0; next < messages || !sawOther; {
		e := p.next()
		switch {
		case e.kind != typeMessage:
		case e.data == "me too":
			sawOther = true
		default:
			if number, _, _ := strings.Cut(e.data, " "); number != fmt.Sprint(next) {
				t.Fatalf("message %s came, want %d", number, next)
			}
			next++
		}
	}
}

// stalled waits until a count, which ends somewhere, has not moved for a while.
func stalled(count *atomic.Int64) {
	const still = 300 * time.Millisecond
	for last, since := int64(-1), time.Now(); time.Since(since) <= still; time.Sleep(time.Millisecond) { // between two looks
		if n := count.Load(); n != last {
			last, since = n, time.Now()
		}
	}
}

func TestBrowserThatNeverReadsIsClosedAlone(t *testing.T) {
	const fillBytesMax = 64 << 20 // more than all buffers on the way to a browser hold
	g := start(t, Options{
		Block: "chat", SendBufferBytesMax: 64 << 10,
		DisconnectDelay: time.Minute, // for which the poller can ask what became of it, however long the other one takes
	})
	p := g.run(nil)
	never := dial(t, g.session()+"/websocket") // and reads nothing
	if err := never.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	lazy := p.expect(typeConnect, "")
	url := g.session()
	post(t, url+"/xhr", "").is(200, "o\n") // and polls no more
	poller := p.expect(typeConnect, "")
	ws := dial(t, g.session()+"/websocket")
	ws.hear("o")
	awake := p.expect(typeConnect, "")

	gone := map[string]bool{}
	filler := strings.Repeat("x", 48<<10)
	for sent := 0; len(gone) < 2; sent += len(filler) {
		if sent > fillBytesMax {
			t.Fatalf("of the two that do not read %d were closed", len(gone))
		}
		for _, id := range []string{lazy, poller, awake} {
			p.say(typeMessage, id, filler)
		}
		ws.hear(`a["` + filler + `"]`)
		select {
		case e := <-p.got:
			if e.kind != typeDisconnect || e.session == awake || gone[e.session] {
				t.Fatalf("the program got %s of %s", e.kind, e.session)
			}
			gone[e.session] = true
		default:
		}
	}
	post(t, url+"/xhr", "").is(200, "c[1008,\"Reading too slowly\"]\n")
	if got := value(t, g.metrics.Ended.WithLabelValues("chat", "slow")); got < 1 {
		t.Errorf("%v sessions counted as slow", got)
	}
}

func TestMessageThatIsTooBigEndsItsSession(t *testing.T) {
	g := start(t, Options{MessageBytesMax: 100})
	p := g.run(nil)
	fits, tooBig := strings.Repeat("x", 100), strings.Repeat("x", 101)
	ws := dial(t, g.session()+"/websocket")
	ws.hear("o")
	p.expect(typeConnect, "")
	ws.say(`["` + fits + `"]`)
	p.expect(typeMessage, fits)
	ws.say(`["` + tooBig + `"]`)
	ws.hear(`c[1009,"Message too big"]`)
	ws.closed()
	p.expect(typeDisconnect, "")

	plain := dial(t, g.url+"/websocket")
	p.expect(typeConnect, "")
	plain.say(tooBig)
	plain.closed()
	p.expect(typeDisconnect, "")

	url := g.session()
	post(t, url+"/xhr", "").is(200, "o\n")
	p.expect(typeConnect, "")
	post(t, url+"/xhr_send", `["`+tooBig+`"]`).status(413)
	p.expect(typeDisconnect, "")
	post(t, url+"/xhr_send", strings.Repeat(" ", payloadBytesMin+1)).status(413)
}

func TestWhatABrowserDoesNotGetIsCounted(t *testing.T) {
	g := start(t, Options{Block: "chat", DisconnectDelay: 2 * time.Second})
	p := g.run(nil)
	for _, end := range []string{typeDisconnect, ""} { // by the program, by the browser
		post(t, g.session()+"/xhr", "").is(200, "o\n")
		id := p.expect(typeConnect, "")
		p.say(typeMessage, id, "one")
		p.say(typeMessage, id, "two")
		if end != "" {
			p.say(end, id, "")
		}
		p.expect(typeDisconnect, "")
	}
	eventually(t, "all four are counted", func() bool {
		return value(t, g.metrics.Dropped.WithLabelValues("chat", "undelivered")) == 4
	})
}

func TestMessageThatFitsNoBufferIsDroppedAlone(t *testing.T) {
	g := start(t, Options{Block: "chat", SendBufferBytesMax: 100})
	p := g.run(nil)
	ws := dial(t, g.session()+"/websocket")
	ws.hear("o")
	id := p.expect(typeConnect, "")
	p.say(typeMessage, id, strings.Repeat("x", 101))
	p.say(typeMessage, id, "fits")
	ws.hear(`a["fits"]`)
	if got := value(t, g.metrics.Dropped.WithLabelValues("chat", "too_big")); got != 1 {
		t.Errorf("%v messages counted as too big, want 1", got)
	}
}

func TestSessionsAreBoundedAndPlacesComeBack(t *testing.T) {
	g := start(t, Options{Block: "chat", SessionsMax: 2})
	g.run(nil)
	one, _ := dial(t, g.url+"/websocket"), dial(t, g.url+"/websocket")
	post(t, g.session()+"/xhr", "").contains(503, "all places are taken")
	if _, response, err := websocket.DefaultDialer.Dial("ws"+g.url[4:]+"/websocket", nil); err == nil || response.StatusCode != 503 {
		t.Errorf("a WebSocket too many: %v %v", response, err)
	}
	if got := value(t, g.metrics.Refused.WithLabelValues("chat", "sessions")); got != 2 {
		t.Errorf("%v refusals counted, want 2", got)
	}
	one.Close()
	eventually(t, "the place is free again", func() bool {
		c, response, err := websocket.DefaultDialer.Dial("ws"+g.url[4:]+"/websocket", nil)
		if err == nil {
			c.Close()
		} else {
			response.Body.Close()
		}
		return err == nil
	})
}

func TestBrokenWebSocketHandshakeIsNoSession(t *testing.T) {
	g := start(t, Options{SessionsMax: 1})
	p := g.run(nil)
	for range 3 {
		rawRequest(t, g.url, "GET /websocket HTTP/1.1\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 99").head("400")
	}
	eventually(t, "the place is free", func() bool {
		g.mu.RLock()
		defer g.mu.RUnlock()
		return len(g.live) == 0
	})
	p.nothing()
}

func TestBrowsersWaitForTheFirstProgram(t *testing.T) {
	const longer = time.Second // than an answer may take to be written
	g := start(t, Options{WriteTimeout: longer / 2})
	url := g.session()
	post(t, url+"/xhr", "").is(200, "o\n")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		post(t, url+"/xhr_send", `["early"]`).status(204)
	}()
	ws := dial(t, g.session()+"/websocket")
	ws.hear("o")
	ws.say(`["bird"]`)
	select {
	case <-sent:
		t.Error("a message was taken, and there is nobody to take it")
	case <-time.After(longer):
	}
	g.run(echo)
	ws.hear(`a["bird"]`)
	<-sent
	post(t, url+"/xhr", "").is(200, "a[\"early\"]\n")
}

func TestBrowsersAreRefusedWithoutAProgramWhereConfigured(t *testing.T) {
	g := start(t, Options{RefuseWithoutPeer: true})
	for _, r := range []reply{get(t, g.url+"/info"), post(t, g.session()+"/xhr", "")} {
		r.contains(503, "no program is connected")
		r.equal("Retry-After", "1")
	}
	p := g.run(echo)
	ws := dial(t, g.url+"/websocket")
	ws.say("hello")
	ws.hear("hello")
	p.stop()
	eventually(t, "the program is gone", func() bool { return g.push.Status().Peers == 0 })
	get(t, g.url+"/info").status(503)
}

func TestOnlySomeRequestsWaitForOneSession(t *testing.T) {
	g := start(t, Options{})
	url := g.session()
	post(t, url+"/xhr", "").is(200, "o\n")
	replies := make(chan int, sendersMax+1)
	for range sendersMax + 1 {
		go func() { replies <- post(t, url+"/xhr_send", `["waits"]`).code }()
	}
	if code := <-replies; code != http.StatusServiceUnavailable {
		t.Errorf("one request too many got %d", code)
	}
	g.run(nil)
	for range sendersMax {
		if code := <-replies; code != http.StatusNoContent {
			t.Errorf("a request that waited got %d", code)
		}
	}
}

func TestQuietBrowsersGetHeartbeats(t *testing.T) {
	g := start(t, Options{Heartbeat: 30 * time.Millisecond})
	g.run(nil)
	url := g.session()
	post(t, url+"/xhr", "").is(200, "o\n")
	post(t, url+"/xhr", "").is(200, "h\n")
	ws := dial(t, g.session()+"/websocket")
	ws.hear("o")
	ws.hear("h")
	pinged := make(chan struct{}, 100)
	plain := dial(t, g.url+"/websocket")
	pong := plain.PingHandler()
	plain.SetPingHandler(func(data string) error {
		pinged <- struct{}{}
		return pong(data)
	})
	go plain.ReadMessage()
	<-pinged
	<-pinged
}

func TestBrowserThatFallsSilentOnAWebSocketIsGone(t *testing.T) {
	g := start(t, Options{Heartbeat: 30 * time.Millisecond, WriteTimeout: 30 * time.Millisecond})
	p := g.run(nil)
	dial(t, g.url+"/websocket") // and never reads, so never answers a ping
	p.expect(typeConnect, "")
	p.expect(typeDisconnect, "")
}

func TestBrowserThatPollsNoMoreIsGone(t *testing.T) {
	g := start(t, Options{Block: "chat", DisconnectDelay: 50 * time.Millisecond})
	p := g.run(nil)
	post(t, g.session()+"/xhr", "").is(200, "o\n")
	p.expect(typeConnect, "")
	p.expect(typeDisconnect, "")
	if got := value(t, g.metrics.Ended.WithLabelValues("chat", "timeout")); got != 1 {
		t.Errorf("%v sessions counted as timed out, want 1", got)
	}
}

func TestBrowserThatSendsHalfARequestIsLeftAlone(t *testing.T) {
	g := start(t, Options{})
	g.run(nil)
	c := rawRequest(t, g.url, "POST /0/half/xhr HTTP/1.1\nContent-Length: 5")
	if g.named("half") != nil {
		t.Error("a session came of half a request")
	}
	fmt.Fprint(c, "12345")
	c.head("200")
}
