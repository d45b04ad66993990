package grpcproxy

// What is sent on a connection: frames are appended to its output under conn.mu, in the order in which they must leave.
// Flow control towards the peer is RFC 9113 section 5.2 and 6.9: DATA waits for the stream's window, the connection's,
// and for room in the output; everything else is sent at once.

import (
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Write makes the output the HPACK encoder's writer. It never fails.
func (o *output) Write(p []byte) (int, error) {
	o.pending.bytes = append(o.pending.bytes, p...)
	return len(p), nil
}

// appendHeaders encodes the fields and appends them. conn.mu is held: a header block must leave in the order in which
// it was encoded (section 4.3).
func (c *conn) appendHeaders(stream uint32, fields []hpack.HeaderField, end bool) {
	buf := c.out.buffer()
	start := len(buf.bytes)
	var flags http2.Flags
	if end {
		flags = http2.FlagHeadersEndStream
	}
	buf.bytes = appendFrameHeader(buf.bytes, 0, http2.FrameHeaders, flags, stream)
	for i := range fields {
		_ = c.encoder.WriteField(fields[i]) // output.Write never fails
	}
	buf.bytes = splitHeaders(buf.bytes, start, flags, stream)
}

// sendHeaders sends a header block on an open stream.
func (c *conn) sendHeaders(stream uint32, fields []hpack.HeaderField, end bool, b *batch) {
	c.mu.Lock()
	if !c.dead {
		c.appendHeaders(stream, fields, end)
		b.touch(c)
	}
	c.mu.Unlock()
}

// sendData sends as much of p as the windows and the output have room for, and END_STREAM with its last byte. It returns
// how much it took and whether that was everything. What is left is the caller's to keep; where the connection is what
// holds it up, the stream is noted and pumped when there is room. The call's lock is held.
func (c *conn) sendData(s *half, p []byte, end bool, b *batch) (n int, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return len(p), true
	}
	for {
		rest := len(p) - n
		k := int(min(int64(rest), frameBytesMax, s.sendWindow, c.sendWindow))
		if k <= 0 && rest > 0 {
			if s.sendWindow > 0 {
				c.block(s)
			}
			return n, false
		}
		if c.out.waiting() > outputBytesMax {
			c.block(s)
			return n, false
		}
		c.out.appendData(s.id, end && k == rest, p[n:n+k])
		b.touch(c)
		c.nuisances.used = 0
		s.sendWindow -= int64(k)
		c.sendWindow -= int64(k)
		if n += k; n == len(p) {
			return n, true
		}
	}
}

// block notes a stream that could send if the connection could. conn.mu is held.
func (c *conn) block(s *half) {
	if s.blocked {
		return
	}
	s.blocked, s.nextBlocked = true, nil
	if c.blockedLast == nil {
		c.blocked = s
	} else {
		c.blockedLast.nextBlocked = s
	}
	c.blockedLast = s
}

// resume lets blocked streams send, first come first served, while the connection can. No lock is held.
func (c *conn) resume(b *batch) {
	for {
		c.mu.Lock()
		s := c.blocked
		if s == nil || c.sendWindow <= 0 || c.out.waiting() > outputBytesMax {
			c.mu.Unlock()
			return
		}
		if c.blocked = s.nextBlocked; c.blocked == nil {
			c.blockedLast = nil
		}
		s.blocked, s.nextBlocked = false, nil
		c.mu.Unlock()
		s.call.mu.Lock()
		s.pump(b)
		s.call.mu.Unlock()
	}
}

// windowUpdate gives n bytes back to the peer; stream 0 is the connection.
func (c *conn) windowUpdate(stream uint32, n int, b *batch) {
	c.mu.Lock()
	if !c.dead {
		buf := c.out.buffer()
		buf.bytes = appendWindowUpdate(buf.bytes, stream, n)
		b.touch(c)
	}
	c.mu.Unlock()
}

// reset sends RST_STREAM and remembers it: what the peer has under way is to be ignored (section 5.1).
func (c *conn) reset(stream uint32, code http2.ErrCode, b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return
	}
	buf := c.out.buffer()
	buf.bytes = appendReset(buf.bytes, stream, code)
	b.touch(c)
	if len(c.ownResets) < ownResetsMax {
		c.ownResets = append(c.ownResets, stream)
		return
	}
	c.ownResets[c.ownReset] = stream
	c.ownReset = (c.ownReset + 1) % ownResetsMax
}

// remove forgets a stream that is closed on both sides.
func (c *conn) remove(s *half, b *batch) {
	c.mu.Lock()
	delete(c.streams, s.id)
	c.open.Store(int64(len(c.streams)))
	c.hangUpIfDone()
	if c.hangUp {
		b.touch(c)
	}
	c.mu.Unlock()
}
