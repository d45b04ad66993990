package sockjs

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// visitor is a browser of any transport, as far as these tests need one.
type visitor struct {
	say   func(text string)
	leave func()
}

// visitors are browsers by transport; each has had its open frame.
func visitors(g *gatewayUnderTest) map[endpoint]func(t *testing.T) visitor {
	poster := func(t *testing.T, url, path string) func(string) {
		return func(text string) {
			if path == "/jsonp_send" {
				postForm(t, url+path, `d=["`+text+`"]`).status(200)
			} else {
				post(t, url+path, `["`+text+`"]`).status(204)
			}
		}
	}
	streaming := func(e endpoint, method, query, open string) func(*testing.T) visitor {
		return func(t *testing.T) visitor {
			url := g.session()
			s := follow(t, method, url+"/"+string(e)+query)
			for seen := ""; !strings.Contains(seen, open); {
				p := make([]byte, 1)
				if _, err := s.content.Read(p); err != nil {
					t.Fatalf("after %q: %v", seen, err)
				}
				seen += string(p)
			}
			return visitor{poster(t, url, "/xhr_send"), s.leave}
		}
	}
	polling := func(method, poll, send string) func(*testing.T) visitor {
		return func(t *testing.T) visitor {
			url := g.session()
			ask(t, method, url+poll, "").status(200)
			return visitor{poster(t, url, send), g.occupy(t, method, url+poll).leave}
		}
	}
	socket := func(framed bool) func(*testing.T) visitor {
		return func(t *testing.T) visitor {
			if !framed {
				ws := dial(t, g.url+"/websocket")
				return visitor{ws.say, func() { ws.Close() }}
			}
			ws := dial(t, g.session()+"/websocket")
			ws.hear("o")
			return visitor{func(text string) { ws.say(`["` + text + `"]`) }, func() { ws.Close() }}
		}
	}
	return map[endpoint]func(*testing.T) visitor{
		webSocketPath:    socket(true),
		rawWebSocketPath: socket(false),
		xhrStreamingPath: streaming(xhrStreamingPath, http.MethodPost, "", "o\n"),
		eventSourcePath:  streaming(eventSourcePath, http.MethodGet, "", "data: o"),
		htmlFilePath:     streaming(htmlFilePath, http.MethodGet, "?c=f", `p("o")`),
		xhrPath:          polling(http.MethodPost, "/xhr", "/xhr_send"),
		jsonpPath:        polling(http.MethodGet, "/jsonp?c=f", "/jsonp_send"),
	}
}

func TestProgramHearsEachBrowserFromConnectToDisconnectInOrder(t *testing.T) {
	const messages = 10
	g := start(t, Options{Prefix: "/chat", DisconnectDelay: 3 * time.Second}) // until a poll follows the one before
	p := g.run(nil)
	ids := map[string]bool{}
	for transport, visit := range visitors(g) {
		t.Run(string(transport), func(t *testing.T) {
			v := visit(t)
			id := p.expect(typeConnect, "")
			if ids[id] || len(id) < 26 {
				t.Errorf("the session id is %q, which is no new and long one", id)
			}
			ids[id] = true
			for i := range messages {
				v.say(fmt.Sprint("m", i))
			}
			v.leave()
			for i := range messages {
				if got := p.expect(typeMessage, fmt.Sprint("m", i)); got != id {
					t.Fatalf("message %d is of session %s, want %s", i, got, id)
				}
			}
			if got := p.expect(typeDisconnect, ""); got != id {
				t.Errorf("the disconnect is of session %s, want %s", got, id)
			}
		})
	}
	p.nothing()
	eventually(t, "all places are free", func() bool {
		g.mu.RLock()
		defer g.mu.RUnlock()
		return len(g.live)+len(g.byID)+len(g.byName) == 0
	})
}

func TestDisconnectComesOnceWhoeverEndsTheSession(t *testing.T) {
	const browsers = 50
	g := start(t, Options{})
	p := g.run(func(p *program, e event) {
		if e.kind == typeMessage { // while the browser leaves
			p.say(typeDisconnect, e.session, "")
			p.say(typeDisconnect, e.session, "")
		}
	})
	var all sync.WaitGroup
	for range browsers {
		all.Go(func() {
			ws := dial(t, g.url+"/websocket")
			ws.say("bye")
			ws.Close()
		})
	}
	all.Wait()
	heard := map[string][]string{}
	for ended := 0; ended < browsers; {
		e := p.next()
		heard[e.session] = append(heard[e.session], e.kind)
		if e.kind == typeDisconnect {
			ended++
		}
	}
	g.abandoned(t)
	p.nothing()
	for id, kinds := range heard {
		if got := strings.Join(kinds, " "); got != "connect message disconnect" && got != "connect disconnect" {
			t.Errorf("of session %s the program heard: %s", id, got)
		}
	}
}

func TestWhatWasSentBeforeTheDisconnectArrives(t *testing.T) {
	g := start(t, Options{})
	g.run(func(p *program, e event) {
		if e.kind == typeMessage {
			p.say(typeMessage, e.session, "the time")
			p.say(typeDisconnect, e.session, "ignored")
		}
	})
	ws := dial(t, g.session()+"/websocket")
	ws.hear("o")
	ws.say(`"one message needs no array"`)
	ws.hear(`a["the time"]`)
	ws.hear(goAway)
	ws.closed()

	url := g.session()
	post(t, url+"/xhr", "").is(200, "o\n")
	post(t, url+"/xhr_send", `["what time is it?"]`).status(204)
	g.abandoned(t)
	post(t, url+"/xhr", "").is(200, "a[\"the time\"]\n")
	post(t, url+"/xhr", "").is(200, goAway+"\n")
	post(t, url+"/xhr_send", `["more"]`).status(404)
}

func TestBroadcastReachesEveryBrowser(t *testing.T) {
	g := start(t, Options{})
	p := g.run(nil)
	framed, plain := dial(t, g.session()+"/websocket"), dial(t, g.url+"/websocket")
	url := g.session()
	post(t, url+"/xhr", "").is(200, "o\n")
	for range 3 {
		p.expect(typeConnect, "")
	}
	p.say(typeBroadcast, "", `to "all"`)
	framed.hear("o")
	framed.hear(`a["to \"all\""]`)
	plain.hear(`to "all"`)
	post(t, url+"/xhr", "").is(200, "a[\"to \\\"all\\\"\"]\n")
}

func TestMessagesOfNoUseAreCountedAndHarmNobody(t *testing.T) {
	g := start(t, Options{Block: "chat"})
	p := g.run(nil)
	ws := dial(t, g.session()+"/websocket")
	ws.hear("o")
	id := p.expect(typeConnect, "")
	p.say(typeMessage, id)
	p.say(typeMessage, id, "too", "many")
	p.say("connect", id, "")
	p.say(typeMessage, "nobody", "hello")
	p.say(typeDisconnect, "nobody", "")
	p.say(typeMessage, id, "\xff")
	p.say(typeMessage, id, "still here")
	ws.hear(`a["still here"]`)
	for reason, want := range map[dropReason]float64{
		dropNotThreeParts: 2, dropUnknownType: 1, dropNoSession: 2, dropNotUTF8: 1,
	} {
		if got := value(t, g.metrics.Dropped.WithLabelValues("chat", string(reason))); got != want {
			t.Errorf("%s: %v messages counted as dropped, want %v", reason, got, want)
		}
	}
}

func TestBytesThatAreNoTextPassAPlainWebSocket(t *testing.T) {
	g := start(t, Options{})
	g.run(echo)
	ws := dial(t, g.url+"/websocket")
	if err := ws.WriteMessage(websocket.BinaryMessage, []byte("\x00\xff")); err != nil {
		t.Fatal(err)
	}
	if kind, got, err := ws.ReadMessage(); err != nil || kind != websocket.BinaryMessage || string(got) != "\x00\xff" {
		t.Errorf("the echo is %d %q (%v)", kind, got, err)
	}
	ws.say("h") // what would be a heartbeat elsewhere
	ws.hear("h")
	ws.say("")
	ws.hear("")
}

func TestProgramLearnsWhoConnectedWhereConfigured(t *testing.T) {
	g := start(t, Options{ClientAddress: true, ClientHeaders: []string{"User-Agent", "x-absent"}})
	p := g.run(nil)
	ws := dial(t, g.url+"/websocket", "User-Agent", "test/1")
	p.expect(typeConnect, fmt.Sprintf(`{"address":%q,"headers":{"User-Agent":"test/1"}}`, ws.LocalAddr()))
}

func TestStoppingEndsSessionsAndTellsPrograms(t *testing.T) {
	g := start(t, Options{})
	p := g.run(nil)
	ws := dial(t, g.session()+"/websocket")
	ws.hear("o")
	s := follow(t, http.MethodPost, g.session()+"/xhr_streaming")
	s.expect(strings.Repeat("h", xhrPreludeBytes) + "\no\n")
	p.expect(typeConnect, "")
	p.expect(typeConnect, "")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if untold := g.Shutdown(ctx); untold != 0 {
		t.Errorf("%d disconnects were not taken", untold)
	}
	ws.hear(`c[1001,"Server is stopping"]`)
	ws.closed()
	s.expect("c[1001,\"Server is stopping\"]\n")
	s.ends()
	p.expect(typeDisconnect, "")
	p.expect(typeDisconnect, "")
	post(t, g.session()+"/xhr", "").contains(503, "stopping")
}

func TestSessionsAreCountedByTransport(t *testing.T) {
	g := start(t, Options{Block: "chat"})
	g.run(nil)
	dial(t, g.url+"/websocket")
	post(t, g.session()+"/xhr", "").is(200, "o\n")
	want := map[string]int{"raw-websocket": 1, "xhr": 1}
	if got := g.Status(); fmt.Sprint(got.Sessions) != fmt.Sprint(want) || got.Programs != 1 {
		t.Errorf("the status is %+v, want %v", got, want)
	}
	if got := value(t, g.metrics.Sessions.WithLabelValues("chat", "xhr")); got != 1 {
		t.Errorf("%v xhr sessions counted, want 1", got)
	}
}
