package sockjs

import (
	"fmt"
	"testing"
)

func TestWebsocketHttpErrors(t *testing.T) {
	url := echoService(t).url + "/0/0/websocket"
	t.Run("test_httpMethod", func(t *testing.T) { get(t, url).contains(400, `Can "Upgrade" only to "WebSocket".`) })
	t.Run("test_invalidConnectionHeader", func(t *testing.T) {
		get(t, url, "Upgrade", "WebSocket", "Connection", "close").contains(400, `"Connection" must be "Upgrade".`)
	})
	t.Run("test_invalidMethod", func(t *testing.T) {
		for _, headers := range [][]string{{"Upgrade", "WebSocket", "Connection", "Upgrade"}, nil} {
			r := post(t, url, "", headers...)
			r.is(405, "")
			r.has("Allow")
			r.lacks("Content-Type")
		}
	})
}

// The suite's cases for Hixie 76, as its own client plays them: with RFC 6455.
func TestWebsocketHixie76(t *testing.T) {
	g := echoService(t)
	t.Run("test_transport", func(t *testing.T) {
		ws := dial(t, g.session()+"/websocket")
		ws.hear("o")
		ws.say(`["a"]`)
		ws.hear(`a["a"]`)
	})
	t.Run("test_close", func(t *testing.T) {
		ws := dial(t, closeService(t).session()+"/websocket")
		ws.hear("o")
		ws.hear(goAway)
		ws.closed()
	})
	t.Run("test_empty_frame", func(t *testing.T) {
		ws := dial(t, g.session()+"/websocket")
		ws.hear("o")
		ws.say("")
		ws.say("[]")
		ws.say(`["a"]`)
		ws.hear(`a["a"]`)
	})
	t.Run("test_reuseSessionId", func(t *testing.T) {
		url := g.session() + "/websocket"
		one := dial(t, url)
		one.hear("o")
		other := dial(t, url)
		other.hear("o")
		one.say(`["a"]`)
		one.hear(`a["a"]`)
		other.say(`["b"]`)
		other.hear(`a["b"]`)
		one.Close()
		other.Close()
		again := dial(t, url)
		again.hear("o")
		again.say(`["a"]`)
		again.hear(`a["a"]`)
	})
	t.Run("test_broken_json", func(t *testing.T) {
		ws := dial(t, g.session()+"/websocket")
		ws.hear("o")
		ws.say(`["a`)
		ws.closed()
	})
}

const (
	webSocketKey    = "x3JJHMbDL1EzLkh9GBhXDw=="
	webSocketAccept = "HSmrc0sMlYUkAGmm5OPpG2HaGWk="
)

// upgrade asks for a WebSocket by hand.
func (g *gatewayUnderTest) upgrade(t *testing.T, connection, version string) *raw {
	const head = "GET %s/000/%s/websocket HTTP/1.1\nUpgrade: websocket\nConnection: %s\nSec-WebSocket-Version: %s\n" +
		"Sec-WebSocket-Origin: http://asd\nSec-WebSocket-Key: %s"
	return rawRequest(t, g.url, fmt.Sprintf(head, g.options.Prefix, unused(t), connection, version, webSocketKey))
}

func TestWebsocketHybi10(t *testing.T) {
	g := echoService(t)
	t.Run("test_transport", func(t *testing.T) {
		ws := dial(t, g.session()+"/websocket")
		ws.hear("o")
		ws.say("")
		ws.say(`["a"]`)
		ws.hear(`a["a"]`)
	})
	t.Run("test_close", func(t *testing.T) {
		ws := dial(t, closeService(t).session()+"/websocket")
		ws.hear("o")
		ws.hear(goAway)
		ws.closed()
	})
	t.Run("test_headersSanity", func(t *testing.T) {
		for _, version := range []string{"7", "8", "13"} {
			r := reply{t: t, header: g.upgrade(t, "Upgrade", version).head("101")}
			r.equal("Sec-Websocket-Accept", webSocketAccept)
			r.equal("Connection", "Upgrade")
			r.equal("Upgrade", "websocket")
			r.lacks("Content-Length")
		}
	})
	t.Run("test_broken_json", func(t *testing.T) {
		ws := dial(t, g.session()+"/websocket")
		ws.hear("o")
		ws.say(`["a`)
		ws.closed()
	})
	t.Run("test_firefox_602_connection_header", func(t *testing.T) {
		g.upgrade(t, "keep-alive, Upgrade", "7").head("101")
	})
}

func TestRawWebsocket(t *testing.T) {
	t.Run("test_transport", func(t *testing.T) {
		ws := dial(t, echoService(t).url+"/websocket")
		ws.say("Hello world!\uffff")
		ws.hear("Hello world!\uffff")
	})
	t.Run("test_close", func(t *testing.T) {
		if reason := dial(t, closeService(t).url+"/websocket").closed(); reason != "Go away!" {
			t.Errorf("the reason is %q", reason)
		}
	})
}
