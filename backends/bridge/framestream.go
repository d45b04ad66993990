package bridge

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // callers may compress
	"google.golang.org/grpc/status"

	"gateway/internal/grpcwire"
)

// messageHeadBytes is what precedes each message: whether it is compressed, and its length.
const messageHeadBytes = 5

// frameStream is a call on a frameConn, seen from one of its ends. frameConn.mu guards it.
//
// Flow control: what comes is given back at once while no whole message waits to be taken, and else when all were taken; so a
// message of any size can come, and behind it no more than the stream's window is held back. What is sent and finds no
// window is queued, one message at most where the sender waits (send).
type frameStream struct {
	conn *frameConn
	id   uint32
	// owner is told that something has changed, without mu, by a goroutine that must not wait. nil: whoever waits in recv or
	// send is woken.
	owner func()
	// cancel is called, with mu held, when the other end wants no more. nil: nothing is.
	cancel context.CancelFunc

	deadline time.Time      // of a client's call; zero: none
	messages []frameMessage // whole, and not yet taken
	part     []byte         // of the next one, with its head
	held     int            // bytes not to be given back yet
	credit   int            // bytes to be given back
	encoding string         // of what comes
	first    bool           // the other end's first header block has come (of a server)
	httpCode string         // in it
	trailers callTrailers   // in its last one
	recvEnd  bool           // nothing more comes
	failed   error          // why nothing more can be received or sent

	sendWindow int64
	queue      []byte
	queueEnd   bool                // END_STREAM follows the queue
	last       []hpack.HeaderField // trailers that follow the queue
	sentEnd    bool
	blocked    bool
	closed     bool
	toTell     bool
	readable   chan struct{} // a token: look again
	writable   chan struct{}
}

// frameMessage is a message as it came.
type frameMessage struct {
	data       []byte
	compressed bool
}

// change notes that something has changed. conn.mu is held.
func (s *frameStream) change() {
	if !s.toTell {
		s.toTell = true
		s.conn.told = append(s.conn.told, s)
	}
}

// tell tells the owner. No lock is held.
func (s *frameStream) tell() {
	s.conn.mu.Lock()
	owner, readable, writable := s.owner, s.readable, s.writable
	s.conn.mu.Unlock()
	if owner != nil {
		owner()
		return
	}
	token(readable)
	token(writable)
}

// token leaves a token, if there is none, and somebody may look for one.
func token(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wait makes recv and send wait for what they need, in place of the owner. conn.mu is held.
func (s *frameStream) wait() {
	s.owner = nil
	s.readable, s.writable = make(chan struct{}, 1), make(chan struct{}, 1)
}

// came takes DATA; size includes padding.
func (s *frameStream) came(p []byte, size int, end bool) {
	if s.recvEnd || s.failed != nil {
		return
	}
	if len(s.messages) > 0 {
		s.held += size
	} else {
		s.credit += size
	}
	own := len(s.part) > 0 // p is the stream's to keep
	if own {
		s.part = append(s.part, p...)
		p = s.part
	}
	whole := false
	for len(p) >= messageHeadBytes {
		n := int(binary.BigEndian.Uint32(p[1:]))
		if n > s.conn.messageBytesMax {
			s.fail(status.Errorf(codes.ResourceExhausted, "received message larger than max (%d vs. %d)", n, s.conn.messageBytesMax))
			return
		}
		if len(p) < messageHeadBytes+n {
			break
		}
		data := p[messageHeadBytes : messageHeadBytes+n : messageHeadBytes+n]
		if !own {
			data = slices.Clone(data)
		}
		s.messages = append(s.messages, frameMessage{data, p[0]&1 != 0})
		p = p[messageHeadBytes+n:]
		whole = true
	}
	switch {
	case len(p) == 0:
		s.part = nil
	case whole || !own:
		s.part = slices.Clone(p)
	}
	if end {
		s.ends()
	}
	if whole || end {
		s.change()
	}
	s.giveBack()
}

// giveBack gives the other end window, in larger portions.
func (s *frameStream) giveBack() {
	if s.credit >= streamWindowBytes/4 && !s.recvEnd && !s.closed {
		s.conn.out = appendWindowUpdate(s.conn.out, s.id, s.credit)
		s.credit = 0
	}
}

// cameHeaders takes a header block of an open stream: the answer's, or trailers.
func (s *frameStream) cameHeaders(fields []hpack.HeaderField, end bool) {
	if s.recvEnd || s.failed != nil {
		return
	}
	if !s.first {
		s.first = true
		for _, f := range fields {
			switch f.Name {
			case ":status":
				s.httpCode = f.Value
				if len(f.Value) > 0 && f.Value[0] == '1' {
					s.first = false // interim
				}
			case "grpc-encoding":
				s.encoding = f.Value
			}
		}
	}
	if end {
		s.trailers.read(fields)
		s.ends()
		s.change()
	}
}

// ends notes that nothing more comes.
func (s *frameStream) ends() {
	s.recvEnd = true
	s.closeIfDone()
}

func (s *frameStream) closeIfDone() {
	if s.recvEnd && s.sentEnd {
		s.close()
	}
}

func (s *frameStream) close() {
	if s.closed {
		return
	}
	s.closed = true
	s.queue, s.last = nil, nil
	delete(s.conn.streams, s.id)
	if s.conn.draining {
		s.conn.drain()
	}
	s.conn.change()
	s.change()
}

// stops notes that the other end sends and wants no more. A client that has its answer whole is not troubled by that.
func (s *frameStream) stops(err error) {
	if answered := s.conn.begin == nil && s.recvEnd; s.failed == nil && !answered {
		s.failed = err
	}
}

// wasReset acts on the other end's RST_STREAM, or on the connection's end.
func (s *frameStream) wasReset(code http2.ErrCode) {
	is := grpcwire.CodeOfReset(code)
	if is == codes.Canceled && !s.deadline.IsZero() && !time.Now().Before(s.deadline) {
		is = codes.DeadlineExceeded // which the server has noticed before us
	}
	s.stops(status.Errorf(is, "the stream was reset: %v", code))
	if s.cancel != nil {
		s.cancel()
	}
	s.sentEnd = true
	s.close()
}

// fail ends the stream with an error of this side's own, which its owner learns. conn.mu is held.
func (s *frameStream) fail(err error) {
	if s.failed == nil {
		s.failed = err
	}
	s.part, s.messages = nil, nil
	s.change()
}

// reset ends the stream with RST_STREAM. conn.mu is held.
func (s *frameStream) reset(code http2.ErrCode) {
	if s.closed {
		return
	}
	s.conn.out = binary.BigEndian.AppendUint32(appendFrameHead(s.conn.out, 4, http2.FrameRSTStream, 0, s.id), uint32(code))
	s.sentEnd = true
	s.close()
}

// take returns the next message, if one is there. conn.mu is held.
func (s *frameStream) take() (m frameMessage, ok bool) {
	if len(s.messages) == 0 {
		return m, false
	}
	m = s.messages[0]
	s.messages[0] = frameMessage{}
	if s.messages = s.messages[1:]; len(s.messages) == 0 {
		s.messages = nil
		s.credit += s.held
		s.held = 0
		s.giveBack()
	}
	return m, true
}

var errCallOver = status.Error(codes.Canceled, "the call is over")

// recv waits for the next message. io.EOF: there is none, and trailers tell how the call ended.
func (s *frameStream) recv() ([]byte, error) {
	c := s.conn
	for {
		c.mu.Lock()
		m, ok := s.take()
		failed, end, partial, closed := s.failed, s.recvEnd, len(s.part) > 0, s.closed
		c.mu.Unlock()
		switch {
		case ok:
			c.flush() // window
			return s.plain(m)
		case failed != nil:
			return nil, failed
		case end && partial:
			return nil, status.Error(codes.Internal, "the call ended within a message")
		case end:
			return nil, io.EOF
		case closed: // a server has answered before the caller has sent all
			return nil, errCallOver
		}
		<-s.readable
	}
}

// plain decompresses a message.
func (s *frameStream) plain(m frameMessage) ([]byte, error) {
	if !m.compressed {
		return m.data, nil
	}
	compressor := encoding.GetCompressor(s.encoding)
	if compressor == nil {
		return nil, status.Errorf(codes.Unimplemented, "the message is compressed by %q, which is not known here", s.encoding)
	}
	r, err := compressor.Decompress(bytes.NewReader(m.data))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "decompress: %v", err)
	}
	limit := s.conn.messageBytesMax
	data, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "decompress: %v", err)
	}
	if len(data) > limit {
		return nil, status.Errorf(codes.ResourceExhausted, "received message after decompression larger than max %d", limit)
	}
	return data, nil
}

// send sends a message, once what was sent before has found its window. io.EOF: the call is over.
func (s *frameStream) send(data []byte) error {
	c := s.conn
	for {
		c.mu.Lock()
		if s.failed != nil || s.closed || s.sentEnd || s.queueEnd {
			c.mu.Unlock()
			return io.EOF
		}
		if len(s.queue) == 0 {
			s.put(data, false)
			c.mu.Unlock()
			c.flush()
			return nil
		}
		c.mu.Unlock()
		<-s.writable
	}
}

// put sends a message or queues it, and END_STREAM behind it. conn.mu is held.
func (s *frameStream) put(data []byte, end bool) {
	c := s.conn
	c.scratch = binary.BigEndian.AppendUint32(append(c.scratch[:0], 0), uint32(len(data)))
	c.scratch = append(c.scratch, data...)
	s.queueEnd = end
	if len(s.queue) == 0 {
		n := s.emit(c.scratch)
		s.queue = append(s.queue, c.scratch[n:]...)
	} else {
		s.queue = append(s.queue, c.scratch...)
	}
	if cap(c.scratch) > spareBytesMax {
		c.scratch = nil
	}
	s.finishQueue()
}

// emit sends as much of p as the windows allow, and END_STREAM if that is all and it is due.
func (s *frameStream) emit(p []byte) (n int) {
	c := s.conn
	for n < len(p) && !s.closed {
		k := int(min(int64(len(p)-n), frameBytesMax, s.sendWindow, c.window))
		if k <= 0 {
			if s.sendWindow > 0 && !s.blocked {
				s.blocked = true
				c.blocked = append(c.blocked, s)
			}
			return n
		}
		flags := http2.Flags(0)
		if n+k == len(p) && s.queueEnd {
			flags = http2.FlagDataEndStream
			s.sentEnd = true
		}
		c.out = append(appendFrameHead(c.out, k, http2.FrameData, flags, s.id), p[n:n+k]...)
		s.sendWindow -= int64(k)
		c.window -= int64(k)
		n += k
	}
	return n
}

// pump sends what is queued, as far as it can.
func (s *frameStream) pump() {
	if s.closed || len(s.queue) == 0 {
		return
	}
	s.queue = s.queue[s.emit(s.queue):]
	if len(s.queue) == 0 {
		s.queue = nil
		s.change()
	}
	s.finishQueue()
}

// finishQueue sends what follows the queue, when that is empty.
func (s *frameStream) finishQueue() {
	if len(s.queue) > 0 || s.closed {
		return
	}
	switch {
	case s.last != nil:
		s.conn.headers(s.id, s.last, true)
		s.last, s.sentEnd = nil, true
		if !s.recvEnd {
			s.reset(http2.ErrCodeNo) // section 8.1: the rest of the request is not wanted
		}
	case s.queueEnd && !s.sentEnd:
		s.conn.out = appendFrameHead(s.conn.out, 0, http2.FrameData, http2.FlagDataEndStream, s.id)
		s.sentEnd = true
	}
	s.closeIfDone()
}

// stopWhen makes the stream fail when ctx ends, and be reset if it is a client's.
func (s *frameStream) stopWhen(ctx context.Context, reset bool) (forget func() bool) {
	return context.AfterFunc(ctx, func() {
		s.conn.mu.Lock()
		if !s.closed {
			s.fail(status.FromContextError(ctx.Err()).Err())
			if reset {
				s.reset(http2.ErrCodeCancel)
			}
		}
		s.conn.mu.Unlock()
		s.conn.tell()
		s.conn.flush()
	})
}
