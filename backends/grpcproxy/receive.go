package grpcproxy

// What each frame does: RFC 9113 section 6. The reader calls receive for every frame, without locks. A streamError ends
// the stream, any other error the connection.

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2"
)

func (c *conn) receive(h frameHeader, p []byte) error {
	if !c.settle && (h.kind != http2.FrameSettings || h.has(http2.FlagSettingsAck)) {
		return connError{http2.ErrCodeProtocol, "the first frame is not SETTINGS"} // section 3.4
	}
	if c.blocks.open() && (h.kind != http2.FrameContinuation || h.stream != c.blocks.head.stream) {
		return connError{http2.ErrCodeProtocol, "a header block is interrupted"} // section 4.3
	}
	switch h.kind {
	case http2.FrameData:
		return c.receiveData(h, p)
	case http2.FrameHeaders:
		return c.receiveHeaders(h, p)
	case http2.FrameContinuation:
		return c.receiveContinuation(h, p)
	case http2.FrameWindowUpdate:
		return c.receiveWindowUpdate(h, p)
	case http2.FrameRSTStream:
		return c.receiveReset(h, p)
	case http2.FrameSettings:
		return c.receiveSettings(h, p)
	case http2.FramePing:
		return c.receivePing(h, p)
	case http2.FrameGoAway:
		return c.receiveGoAway(h, p)
	case http2.FramePriority:
		return c.receivePriority(h, p)
	case http2.FramePushPromise:
		return connError{http2.ErrCodeProtocol, "PUSH_PROMISE, which is disabled"} // section 8.4
	}
	return c.nuisance() // unknown frames are ignored (section 4.1)
}

// receiveData holds section 6.1. The connection's window is given back at once: a stream whose reader has stopped holds
// up itself alone.
func (c *conn) receiveData(h frameHeader, p []byte) error {
	if h.stream == 0 {
		return connError{http2.ErrCodeProtocol, "DATA on stream 0"}
	}
	size := len(p)
	p, err := h.unpad(p)
	if err != nil {
		return err
	}
	if c.window -= size; c.window < 0 {
		return connError{http2.ErrCodeFlowControl, "more DATA than the connection's window"}
	}
	if c.owed += size; c.owed >= connWindow/4 {
		c.windowUpdate(0, c.owed, c.batch)
		c.window += c.owed
		c.owed = 0
	}
	s := c.stream(h.stream)
	if s == nil {
		return c.stray(h.stream)
	}
	if len(p) == 0 && !h.has(http2.FlagDataEndStream) {
		if err := c.emptyData(); err != nil {
			return err
		}
	}
	s.call.mu.Lock()
	defer s.call.mu.Unlock()
	return s.call.receiveData(s, p, size, h.has(http2.FlagDataEndStream), c.batch)
}

// receiveHeaders holds section 6.2.
func (c *conn) receiveHeaders(h frameHeader, p []byte) error {
	if h.stream == 0 {
		return connError{http2.ErrCodeProtocol, "HEADERS on stream 0"}
	}
	p, err := h.unpad(p)
	if err != nil {
		return err
	}
	dependsOnItself := false
	if h.has(http2.FlagHeadersPriority) {
		if len(p) < priorityBytes {
			return connError{http2.ErrCodeFrameSize, "HEADERS with half a priority"}
		}
		dependsOnItself = binary.BigEndian.Uint32(p)&^(1<<31) == h.stream
		p = p[priorityBytes:]
	}
	c.blocks.begin(h, dependsOnItself)
	return c.receiveFragment(p, h.has(http2.FlagHeadersEndHeaders))
}

// receiveContinuation holds section 6.10.
func (c *conn) receiveContinuation(h frameHeader, p []byte) error {
	if !c.blocks.open() {
		return connError{http2.ErrCodeProtocol, "CONTINUATION without HEADERS"}
	}
	return c.receiveFragment(p, h.has(http2.FlagContinuationEndHeaders))
}

// receiveFragment acts on a header block when it is whole.
func (c *conn) receiveFragment(p []byte, last bool) error {
	whole, err := c.blocks.add(p, last)
	if errors.Is(err, errHeaderFlood) {
		return c.calm("headers", err.Error())
	}
	if err != nil || !whole {
		return err
	}
	head := c.blocks.head
	end := head.has(http2.FlagHeadersEndStream)
	if c.blocks.dependsOnItself {
		return malformed(head.stream, "a stream that depends on itself")
	}
	s := c.stream(head.stream)
	if s == nil {
		return c.role.headers(head.stream, c.blocks.fields, end, c.blocks.tooLarge)
	}
	s.call.mu.Lock()
	defer s.call.mu.Unlock()
	return s.call.receiveHeaders(s, c.blocks.fields, end, c.blocks.tooLarge, c.batch)
}

// receiveWindowUpdate holds section 6.9.
func (c *conn) receiveWindowUpdate(h frameHeader, p []byte) error {
	if len(p) != 4 {
		return connError{http2.ErrCodeFrameSize, "WINDOW_UPDATE is not 4 bytes"}
	}
	n := int64(binary.BigEndian.Uint32(p) &^ (1 << 31))
	if h.stream != 0 {
		return c.streamWindowUpdate(h.stream, n)
	}
	if n == 0 {
		return connError{http2.ErrCodeProtocol, "WINDOW_UPDATE by 0"}
	}
	c.mu.Lock()
	c.sendWindow += n
	over := c.sendWindow > windowMax
	c.mu.Unlock()
	if over {
		return connError{http2.ErrCodeFlowControl, "the connection's window is larger than 2^31-1"}
	}
	c.resume(c.batch)
	return nil
}

func (c *conn) streamWindowUpdate(id uint32, n int64) error {
	s := c.stream(id)
	if s == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.role.idle(id) {
			return connError{http2.ErrCodeProtocol, "WINDOW_UPDATE on an idle stream"}
		}
		return nil // section 5.1: allowed for a while after the end
	}
	if n == 0 {
		return malformed(id, "WINDOW_UPDATE by 0")
	}
	s.call.mu.Lock()
	defer s.call.mu.Unlock()
	return s.widen(n, c.batch)
}

// receiveReset holds section 6.4.
func (c *conn) receiveReset(h frameHeader, p []byte) error {
	if h.stream == 0 {
		return connError{http2.ErrCodeProtocol, "RST_STREAM on stream 0"}
	}
	if len(p) != 4 {
		return connError{http2.ErrCodeFrameSize, "RST_STREAM is not 4 bytes"}
	}
	s := c.stream(h.stream)
	if s == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.role.idle(h.stream) {
			return connError{http2.ErrCodeProtocol, "RST_STREAM on an idle stream"}
		}
		return nil
	}
	s.call.mu.Lock()
	defer s.call.mu.Unlock()
	s.call.receiveReset(s, http2.ErrCode(binary.BigEndian.Uint32(p)), c.batch)
	return c.resetByCaller()
}

// receivePing holds section 6.7.
func (c *conn) receivePing(h frameHeader, p []byte) error {
	if h.stream != 0 {
		return connError{http2.ErrCodeProtocol, "PING on a stream"}
	}
	if len(p) != 8 {
		return connError{http2.ErrCodeFrameSize, "PING is not 8 bytes"}
	}
	if h.has(http2.FlagPingAck) {
		c.role.pong(p)
		return c.nuisance()
	}
	if err := c.nuisance(); err != nil {
		return err
	}
	c.mu.Lock()
	if !c.dead {
		buf := c.out.buffer()
		buf.bytes = appendPing(buf.bytes, http2.FlagPingAck, p)
	}
	c.mu.Unlock()
	return c.answered()
}

// receiveGoAway holds section 6.8.
func (c *conn) receiveGoAway(h frameHeader, p []byte) error {
	if h.stream != 0 {
		return connError{http2.ErrCodeProtocol, "GOAWAY on a stream"}
	}
	if len(p) < 8 {
		return connError{http2.ErrCodeFrameSize, "GOAWAY is shorter than 8 bytes"}
	}
	c.role.goAway(binary.BigEndian.Uint32(p) &^ (1 << 31))
	return nil
}

// priorityBytes is the size of a priority (section 6.3).
const priorityBytes = 5

// receivePriority checks what it ignores: priorities are deprecated (section 5.3.2).
func (c *conn) receivePriority(h frameHeader, p []byte) error {
	if h.stream == 0 {
		return connError{http2.ErrCodeProtocol, "PRIORITY on stream 0"}
	}
	if len(p) != priorityBytes {
		return streamError{h.stream, http2.ErrCodeFrameSize, "PRIORITY is not 5 bytes"}
	}
	if binary.BigEndian.Uint32(p)&^(1<<31) == h.stream {
		return malformed(h.stream, "a stream that depends on itself")
	}
	return c.nuisance()
}

// answered ends the connection of a peer that makes us answer and does not read the answers.
func (c *conn) answered() error {
	c.mu.Lock()
	waiting := c.out.waiting()
	c.mu.Unlock()
	c.batch.touch(c)
	if waiting > controlBytesMax {
		return c.calm("unread", "answers are not read")
	}
	return nil
}
