package grpcproxy

// One stream on one connection: half of a call. RFC 9113 sections 5.1 (states) and 5.2 (flow control).
//
// Rules of this file. The call's lock guards a half, but for blocked and nextBlocked, which conn.mu guards. A half is
// never used again after it was closed: an attempt at another backend gets a new one.
//
// Flow control is end to end. What a peer sends on one half is passed to the other at once if that one's windows allow,
// and kept in its queue if not. Only what was passed on is given back to the sender (credit), so a stream holds back
// streamWindow bytes at most; less when the proxy's budget is nearly used.

import (
	"slices"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

type half struct {
	call *call
	conn *conn
	id   uint32

	window  int   // what the peer may still send
	owed    int   // passed on and not yet given back
	length  int64 // of the body that is still to come by content-length; -1: not given
	meter   meter
	began   bool  // the first header block has come (of a backend: the final one, not 1xx)
	recvEnd bool  // the peer sent END_STREAM
	interim uint8 // 1xx that a backend has sent

	sendWindow int64
	queue      queue               // DATA that could not be sent yet
	uncredited int                 // the first bytes of queue that earn the sender nothing: they did so on an earlier attempt
	end        bool                // END_STREAM follows the queue
	trailers   []hpack.HeaderField // follow the queue
	sentEnd    bool
	closed     bool // nothing more is sent or acted on

	blocked     bool
	nextBlocked *half
}

// other is the half at the other end of the call; nil when there is none now.
func (s *half) other() *half {
	if s == &s.call.caller {
		return s.call.server
	}
	return &s.call.caller
}

// sendHeaders sends a header block, behind what is queued.
func (s *half) sendHeaders(fields []hpack.HeaderField, end bool, b *batch) {
	if s.closed || s.sentEnd || s.trailers != nil {
		return
	}
	if s.queue.len > 0 {
		s.trailers, s.end = slices.Clone(fields), end
		return
	}
	s.conn.sendHeaders(s.id, fields, end, b)
	s.sentEnd = end
}

// sendData sends or queues p.
func (s *half) sendData(p []byte, end bool, b *batch) {
	if s.closed || s.sentEnd {
		s.creditOther(len(p), b)
		return
	}
	if len(p) == 0 && !end {
		return // an empty frame says nothing
	}
	if s.queue.len == 0 && !s.end {
		n, all := s.conn.sendData(s, p, end, b)
		s.passed(n, b)
		if all {
			s.sentEnd = end
			return
		}
		p = p[n:]
	}
	s.queue.push(p, &s.call.proxy.budget)
	s.end = end
}

// pump sends what is queued, as far as it can.
func (s *half) pump(b *batch) {
	if s.closed || s.queue.len == 0 {
		return
	}
	for s.queue.len > 0 {
		p := s.queue.front()
		n, _ := s.conn.sendData(s, p, s.end && s.trailers == nil && len(p) == s.queue.len, b)
		if n == 0 {
			return
		}
		s.queue.drop(n, &s.call.proxy.budget)
		s.passed(n, b)
	}
	if s.trailers != nil {
		s.conn.sendHeaders(s.id, s.trailers, s.end, b)
		s.trailers = nil
	}
	s.sentEnd = s.end
	s.call.settle(b)
}

// passed gives the sender back n bytes that were sent on.
func (s *half) passed(n int, b *batch) {
	again := min(n, s.uncredited)
	s.uncredited -= again
	s.creditOther(n-again, b)
}

func (s *half) creditOther(n int, b *batch) {
	if n == 0 {
		return
	}
	if s != &s.call.caller {
		s.call.passedOn += n
	}
	if o := s.other(); o != nil {
		o.credit(n, b)
	}
}

// credit gives the peer n bytes of window back, in larger portions. When the proxy's budget runs out it gives less: the
// window shrinks towards a frame, and grows again later.
func (s *half) credit(n int, b *batch) {
	s.owed += n
	if s.closed || s.recvEnd || s.owed < streamWindow/4 {
		return
	}
	most := streamWindow
	if tight := s.call.proxy.budget.tight(); tight > budgetTight {
		most = max(frameBytesMax, streamWindow*int(max(256-tight, 0))/(256-budgetTight))
	}
	give := min(s.owed, most-s.window)
	if give <= 0 {
		return
	}
	s.owed -= give
	s.window += give
	s.conn.windowUpdate(s.id, give, b)
}

// budgetTight is the share of the budget, in 1/256, from which on windows shrink.
const budgetTight = 128

// widen lets the half send n more bytes; n may be negative (section 6.9.2).
func (s *half) widen(n int64, b *batch) error {
	s.sendWindow += n
	if s.sendWindow > windowMax {
		return streamError{s.id, http2.ErrCodeFlowControl, "a window larger than 2^31-1"}
	}
	s.pump(b)
	return nil
}

// take checks DATA against the window and content-length. size includes padding.
func (s *half) take(n, size int, end bool) error {
	if s.recvEnd {
		return streamError{s.id, http2.ErrCodeStreamClosed, "DATA after END_STREAM"}
	}
	if s.window -= size; s.window < 0 {
		return streamError{s.id, http2.ErrCodeFlowControl, "more DATA than the stream's window"}
	}
	if s.length >= 0 {
		if s.length -= int64(n); s.length < 0 || end && s.length != 0 {
			return malformed(s.id, "content-length is not the length") // section 8.1.1
		}
	}
	return nil
}

// reset closes the half with RST_STREAM.
func (s *half) reset(code http2.ErrCode, b *batch) {
	if !s.closed {
		s.conn.reset(s.id, code, b)
		s.close(b)
	}
}

// closeOrReset closes the half of a backend that has answered; one that has more to send or to get is reset (section 8.1).
func (s *half) closeOrReset(b *batch) {
	if s.sentEnd && s.recvEnd {
		s.close(b)
	} else {
		s.reset(http2.ErrCodeNo, b)
	}
}

// close forgets the half. What was queued is lost.
func (s *half) close(b *batch) {
	if s.closed {
		return
	}
	s.closed = true
	s.queue.clear(&s.call.proxy.budget)
	s.trailers = nil
	s.conn.remove(s, b)
}
