package grpcproxy

import (
	"fmt"
	"slices"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// callerConn is the role of a connection that a client made: the gateway is the HTTP/2 server.
type callerConn struct {
	*conn
	fixed    *route // of all calls; nil: they are routed
	last     uint32 // the highest stream that the client opened; conn.mu guards it
	goneAway bool   // last was told in GOAWAY; conn.mu guards it
}

// preface holds section 3.4.
func (cc *callerConn) preface() (whole bool, err error) {
	p := cc.in.take(len(http2.ClientPreface))
	if p != nil && string(p) != http2.ClientPreface {
		return false, connError{http2.ErrCodeProtocol, "no HTTP/2 preface"}
	}
	return p != nil, nil
}

func (cc *callerConn) settled() {}

func (cc *callerConn) idle(stream uint32) bool { return stream%2 == 0 || stream > cc.last }

// goAway lets what runs finish: the client will open no more streams.
func (cc *callerConn) goAway(uint32) { cc.drainStreams(cc.batch) }

// headers begins a call.
func (cc *callerConn) headers(stream uint32, fields []hpack.HeaderField, end, tooLarge bool) error {
	if stream%2 == 0 {
		return connError{http2.ErrCodeProtocol, "a client's stream with an even number"} // section 5.1.1
	}
	call := &call{proxy: cc.proxy, route: cc.fixed}
	s := &call.caller
	*s = half{call: call, conn: cc.conn, id: stream, window: streamWindow, length: -1, began: true, recvEnd: end}
	call.mu.Lock()
	defer call.mu.Unlock()
	if err := cc.register(s); err != nil {
		return err
	}
	if s.closed {
		return cc.answered()
	}
	if err := cc.answered(); err != nil {
		return err
	}
	if tooLarge {
		call.turnAway(codes.ResourceExhausted, fmt.Sprintf("header fields over the gateway's limit of %d bytes", cc.proxy.headerBytesMax), cc.batch)
		return nil
	}
	r, err := parseRequest(fields)
	if err != nil || end && r.contentLength > 0 {
		s.close(cc.batch)
		return malformed(stream, fmt.Sprint("a malformed request: ", err))
	}
	s.length = r.contentLength
	call.start(r, fields, cc.batch)
	return nil
}

// register notes the stream. A stream that is one too many is refused; then it is closed.
func (cc *callerConn) register(s *half) error {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if s.id <= cc.last {
		if slices.Contains(cc.ownResets, s.id) {
			s.closed = true // it was under way when we reset the stream
			return nil
		}
		return connError{http2.ErrCodeStreamClosed, "HEADERS on a closed stream"} // section 5.1.1
	}
	cc.last = s.id
	if cc.goneAway {
		s.closed = true // after our last GOAWAY: the client sends it elsewhere
		return nil
	}
	if uint32(len(cc.streams)) >= cc.proxy.streamsMax {
		s.closed = true
		buf := cc.out.buffer()
		buf.bytes = appendReset(buf.bytes, s.id, http2.ErrCodeRefusedStream) // section 5.1.2
		cc.batch.touch(cc.conn)
		return nil
	}
	cc.streams[s.id] = s
	cc.open.Add(1)
	s.sendWindow = cc.initialWindow
	return nil
}

// closed ends the calls of a client that is gone.
func (cc *callerConn) closed(orphans []*half, _ error) {
	for _, s := range orphans {
		s.call.mu.Lock()
		s.call.abandon(cc.batch)
		s.call.mu.Unlock()
	}
	cc.ledger.left()
	cc.proxy.forget(cc.conn)
}

// goAwayPing marks the PING that follows our first GOAWAY.
const goAwayPing = "go away?"

// sayGoAway announces the end. Calls that are under way to us are still served, and how many these are is not known yet:
// the client is told the highest possible stream first, and the real one after a round trip (section 6.8).
func (cc *callerConn) sayGoAway() {
	var b batch
	cc.mu.Lock()
	buf := cc.out.buffer()
	buf.bytes = appendGoAway(buf.bytes, streamIDMax, http2.ErrCodeNo, "")
	buf.bytes = appendPing(buf.bytes, 0, []byte(goAwayPing))
	cc.mu.Unlock()
	b.touch(cc.conn)
	b.run()
}

// pong sends the second GOAWAY.
func (cc *callerConn) pong(data []byte) {
	cc.mu.Lock()
	if string(data) != goAwayPing || cc.goneAway {
		cc.mu.Unlock()
		return
	}
	cc.goneAway = true
	buf := cc.out.buffer()
	buf.bytes = appendGoAway(buf.bytes, cc.last, http2.ErrCodeNo, "")
	cc.mu.Unlock()
	cc.drainStreams(cc.batch)
}
