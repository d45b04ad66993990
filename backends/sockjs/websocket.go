package sockjs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

const (
	closeWait           = time.Second // for the browser's answer to the end of a WebSocket
	webSocketReadBytes  = 1 << 10     // of each connection
	webSocketWriteBytes = 4 << 10     // borrowed for each write
	webSocketVersion    = "13"        // RFC 6455
	silenceHeartbeats   = 2           // after so many of them without a word of it, a browser is gone
)

// oldVersions frame as RFC 6455 does: drafts 7 and 8 to 12 of it, spoken by Firefox 6 and Chrome 14.
var oldVersions = map[string]bool{"7": true, "8": true}

// webSocket answers a request for either WebSocket transport.
func (s *Server) webSocket(w http.ResponseWriter, r *http.Request, e endpoint) {
	switch {
	case s.options.NoWebSocket:
		notFound(w, r)
		return
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case !names(r.Header, "Upgrade", "websocket"):
		refuse(w, r, http.StatusBadRequest, `Can "Upgrade" only to "WebSocket".`)
		return
	case !names(r.Header, "Connection", "upgrade"):
		refuse(w, r, http.StatusBadRequest, `"Connection" must be "Upgrade".`)
		return
	}
	if oldVersions[r.Header.Get("Sec-WebSocket-Version")] {
		r.Header.Set("Sec-WebSocket-Version", webSocketVersion)
	}
	c, err := s.open(r, e, "")
	if err != nil {
		refuseSession(w, r, err)
		return
	}
	defer c.release()
	c.serveWebSocket(w, r)
}

// writeBuffers are lent to connections while they write: most are idle.
var writeBuffers sync.Pool

// upgrader takes over connections. Origins were checked.
var upgrader = websocket.Upgrader{
	HandshakeTimeout: DefaultWriteTimeout,
	ReadBufferSize:   webSocketReadBytes,
	WriteBufferSize:  webSocketWriteBytes,
	WriteBufferPool:  &writeBuffers,
	CheckOrigin:      func(*http.Request) bool { return true },
}

// serveWebSocket carries a session over one WebSocket. This goroutine reads, and so is the session's sender: connect,
// every message in turn, and only then the end. Another one writes.
func (c *session) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil { // the browser was answered
		if !c.abandon() {
			c.welcome() // a disconnect is on its way
		}
		return
	}
	defer conn.Close()
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.writeWebSocket(conn)
	}()
	c.welcome()
	c.finish(c.readWebSocket(conn))
	<-written
}

// readWebSocket forwards what the browser says until it ends, and tells how it ended.
func (c *session) readWebSocket(conn *websocket.Conn) ending {
	o := &c.server.options
	limit := o.payloadBytesMax()
	if c.outbox.raw {
		limit = o.MessageBytesMax
	}
	conn.SetReadLimit(int64(limit))
	silence := silenceHeartbeats*o.Heartbeat + o.WriteTimeout
	conn.SetPongHandler(func(string) error { return conn.SetReadDeadline(time.Now().Add(silence)) })
	var payload bytes.Buffer
	for {
		if err := conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return endInterrupted
		}
		payload.Reset()
		_, reader, err := conn.NextReader()
		if err == nil {
			_, err = io.Copy(&payload, reader)
		}
		if err != nil {
			return c.webSocketEnding(err)
		}
		if err := c.takeWebSocket(payload.Bytes()); err != nil {
			return takenEnding(err)
		}
		if payload.Cap() > slabKeepBytesMax {
			payload = bytes.Buffer{}
		}
	}
}

// takeWebSocket forwards one WebSocket message.
func (c *session) takeWebSocket(payload []byte) error {
	ctx := c.server.lifetime
	if c.outbox.raw {
		return c.forward(ctx, payload)
	}
	if len(payload) == 0 { // a heartbeat of the client
		return nil
	}
	texts, err := parseWebSocketPayload(payload)
	if err != nil {
		c.server.meters.drop(dropBrokenJSON)
		return err
	}
	messages, err := c.fitting(texts)
	if err != nil {
		return err
	}
	return c.forward(ctx, messages...)
}

// webSocketEnding is what an error of reading means.
func (c *session) webSocketEnding(err error) ending {
	var closed *websocket.CloseError
	switch {
	case errors.Is(err, websocket.ErrReadLimit):
		c.server.meters.drop(dropTooBig)
		return endTooBig
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		return endClient
	}
	return endInterrupted
}

// takenEnding is what an error of forwarding means.
func takenEnding(err error) ending {
	switch {
	case errors.Is(err, ErrPayload):
		return endBroken
	case errors.Is(err, errTooBig):
		return endTooBig
	}
	return endStopping // or the session has ended before, and this does not count
}

// writeWebSocket gives frames to the browser until the session has ended. Then it ends the reader, in a moment.
func (c *session) writeWebSocket(conn *websocket.Conn) {
	o := &c.server.options
	c.attach() // nobody else can
	defer c.detach()
	heartbeat := time.NewTimer(o.Heartbeat)
	defer heartbeat.Stop()
	pinged := time.Now()
	for {
		f, err := c.next(context.Background(), heartbeat) // the session's end wakes it
		if err == nil && f.kind == frameLast {
			c.leaveWebSocket(conn, f.text)
			return
		}
		if err == nil {
			err = c.writeFrame(conn, f)
		}
		if err == nil && time.Since(pinged) >= o.Heartbeat {
			pinged = time.Now()
			err = conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(o.WriteTimeout))
		}
		if err != nil {
			c.finish(endInterrupted)
			conn.Close()
			return
		}
	}
}

// writeFrame writes one frame as a WebSocket message. Raw, heartbeats are left to pings, and bytes that are no text go as
// binary.
func (c *session) writeFrame(conn *websocket.Conn, f frame) error {
	kind := websocket.TextMessage
	if c.outbox.raw {
		if f.kind == frameHeartbeat {
			return nil
		}
		if !utf8.Valid(f.text) {
			kind = websocket.BinaryMessage
		}
	}
	if err := conn.SetWriteDeadline(time.Now().Add(c.server.options.WriteTimeout)); err != nil {
		return err
	}
	return conn.WriteMessage(kind, f.text)
}

// leaveWebSocket says goodbye, where there is somebody to hear it, and gives the browser a moment to close.
func (c *session) leaveWebSocket(conn *websocket.Conn, goodbye []byte) {
	c.mu.Lock()
	why := c.why
	c.mu.Unlock()
	if why.silent {
		conn.Close()
		return
	}
	if !c.outbox.raw {
		_ = c.writeFrame(conn, frame{goodbye, frameLast}) // the browser may have left already
	}
	bye := websocket.FormatCloseMessage(why.code, why.reason)
	_ = conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(closeWait)) // likewise
	time.AfterFunc(closeWait, func() { conn.Close() })
}
