package bridge

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gateway/internal/grpcwire"
	"gateway/internal/inproc"
)

// connectWait bounds how long a connection to the engine may take until both sides have said their SETTINGS.
const connectWait = 10 * time.Second

// messageBytesCeiling is the largest message that gRPC can carry; the engine has the limit of the route.
const messageBytesCeiling = 1<<31 - 1

// Calls makes calls, through the gRPC engine. It connects when the first call needs it, and again when the other side says that
// it goes. Make one with NewCalls; it is safe for concurrent use.
type Calls struct {
	dial func(context.Context) (*inproc.Conn, error)

	mu      sync.Mutex
	conn    *frameConn
	attempt *attempt // to connect; nil: none is under way
	closed  bool
}

type attempt struct {
	over chan struct{}
	err  error // valid once over is closed
}

// NewCalls makes Calls that reach the engine by dial.
func NewCalls(dial func(context.Context) (*inproc.Conn, error)) *Calls { return &Calls{dial: dial} }

// Close ends all calls.
func (c *Calls) Close() {
	c.mu.Lock()
	c.closed = true
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		conn.fail(io.ErrClosedPipe)
	}
}

var errCallsClosed = status.Error(codes.Canceled, "the gateway is stopping")

// await returns a connection that had room for a stream a moment ago.
func (c *Calls) await(ctx context.Context) (*frameConn, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, errCallsClosed
		}
		conn, a := c.conn, c.attempt
		if conn == nil && a == nil {
			a = &attempt{over: make(chan struct{})}
			c.attempt = a
			go c.connect(a)
		}
		c.mu.Unlock()
		var changed <-chan struct{}
		if conn == nil {
			changed = a.over
		} else if changed = c.room(conn); changed == nil {
			return conn, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		if conn == nil && a.err != nil {
			return nil, status.Errorf(codes.Unavailable, "connect to the gateway's engine: %v", a.err)
		}
	}
}

// room returns nil if the connection takes a stream, and else what to wait for. One that takes none any more is forgotten.
func (c *Calls) room(conn *frameConn) <-chan struct{} {
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.takes() {
		return nil
	}
	if conn.lastID >= streamIDLast {
		conn.drain()
	}
	if conn.err != nil || conn.draining {
		again := make(chan struct{})
		close(again)
		c.mu.Lock()
		if c.conn == conn {
			c.conn = nil
		}
		c.mu.Unlock()
		return again
	}
	if conn.changed == nil {
		conn.changed = make(chan struct{})
	}
	return conn.changed
}

// streamIDLast is where a connection is used up (RFC 9113 section 5.1.1).
const streamIDLast = 1<<31 - 1

// takes reports whether a stream may be opened. mu is held.
func (c *frameConn) takes() bool {
	return c.settled && c.err == nil && !c.draining && uint32(len(c.streams)) < c.streamsMax && c.lastID < streamIDLast
}

// connect makes the connection.
func (c *Calls) connect(a *attempt) {
	ctx, cancel := context.WithTimeout(context.Background(), connectWait)
	defer cancel()
	pipe, err := c.dial(ctx)
	var conn *frameConn
	if err == nil {
		conn = newFrameConn(pipe, messageBytesCeiling)
		conn.open(http2.ClientPreface)
		err = conn.awaitSettings(ctx)
	}
	c.mu.Lock()
	c.attempt = nil
	a.err = err
	closed := c.closed
	if err == nil && !closed {
		c.conn = conn
	}
	c.mu.Unlock()
	close(a.over)
	if conn != nil && (err != nil || closed) {
		conn.fail(io.ErrClosedPipe)
	}
}

func (c *frameConn) awaitSettings(ctx context.Context) error {
	c.mu.Lock()
	for !c.settled && c.err == nil {
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	return c.err
}

// begin opens a stream on conn, which reports false when that has no room any more. prepare is called with conn.mu held.
func (c *Calls) begin(ctx context.Context, conn *frameConn, method string, prepare func(s *frameStream)) bool {
	fields := requestFields(ctx, method)
	conn.mu.Lock()
	if !conn.takes() {
		conn.mu.Unlock()
		return false
	}
	conn.lastID += 1 + conn.lastID&1 // 1, 3, 5
	s := conn.stream(conn.lastID)
	s.deadline, _ = ctx.Deadline()
	conn.headers(s.id, fields, false)
	prepare(s)
	conn.mu.Unlock()
	conn.tell()
	conn.flush()
	return true
}

// Begin makes a unary call. done is called once, by whoever brings the answer or by who calls Begin; it must not wait. data is
// free for use again when Begin returns. When ctx ends the call is cancelled.
func (c *Calls) Begin(ctx context.Context, method string, data []byte, done func(reply []byte, err error)) {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn != nil && ctx.Err() == nil && c.beginUnary(ctx, conn, method, data, done) {
		return
	}
	data = slices.Clone(data)
	go func() {
		for {
			conn, err := c.await(ctx)
			if err == nil && ctx.Err() != nil {
				err = status.FromContextError(ctx.Err()).Err()
			}
			if err != nil {
				done(nil, err)
				return
			}
			if c.beginUnary(ctx, conn, method, data, done) {
				return
			}
		}
	}()
}

func (c *Calls) beginUnary(ctx context.Context, conn *frameConn, method string, data []byte, done func([]byte, error)) bool {
	return c.begin(ctx, conn, method, func(s *frameStream) {
		u := &unaryCall{frameStream: s, done: done}
		s.owner = u.look
		u.forget = s.stopWhen(ctx, true)
		s.put(data, true)
	})
}

// unaryCall is a call of one message and one reply, for which nobody waits.
type unaryCall struct {
	*frameStream
	done   func(reply []byte, err error)
	forget func() bool
	over   bool // done was called, or is about to be; conn.mu guards it
}

// look ends the call when its answer is there whole.
func (u *unaryCall) look() {
	c := u.conn
	c.mu.Lock()
	if u.over || u.failed == nil && !u.recvEnd {
		c.mu.Unlock()
		return
	}
	u.over = true
	err := u.outcome()
	reply, is := u.take()
	_, more := u.take()
	if !u.closed {
		u.reset(http2.ErrCodeNo) // a request that is answered early need not be sent to its end
	}
	c.mu.Unlock()
	u.forget()
	switch {
	case err != nil:
		u.done(nil, err)
		return
	case !is || more:
		u.done(nil, status.Error(codes.Internal, "the answer to a unary call is not one message"))
		return
	}
	u.done(u.plain(reply))
}

// Invoke is Begin for who waits.
func (c *Calls) Invoke(ctx context.Context, method string, data []byte) (reply []byte, err error) {
	over := make(chan struct{})
	c.Begin(ctx, method, data, func(r []byte, e error) {
		reply, err = r, e
		close(over)
	})
	<-over
	return reply, err
}

// CallStream is a call of many messages. Send and Recv may be called at the same time.
type CallStream struct {
	stream *frameStream
	ctx    context.Context
}

// NewStream begins a call of many messages, which ends with ctx if not before.
func (c *Calls) NewStream(ctx context.Context, method string) (*CallStream, error) {
	for {
		conn, err := c.await(ctx)
		if err == nil && ctx.Err() != nil {
			err = status.FromContextError(ctx.Err()).Err()
		}
		if err != nil {
			return nil, err
		}
		call := &CallStream{ctx: ctx}
		if c.begin(ctx, conn, method, func(s *frameStream) {
			call.stream = s
			s.wait()
			s.stopWhen(ctx, true)
		}) {
			return call, nil
		}
	}
}

// Context is the call's.
func (s *CallStream) Context() context.Context { return s.ctx }

// Send sends a message, and waits while the one before it has not found its way. io.EOF: the call is over, and Recv knows why.
func (s *CallStream) Send(data []byte) error { return s.stream.send(data) }

// CloseSend says that no more messages will be sent.
func (s *CallStream) CloseSend() {
	c := s.stream.conn
	c.mu.Lock()
	s.stream.queueEnd = true
	s.stream.finishQueue()
	c.mu.Unlock()
	c.tell()
	c.flush()
}

// Recv waits for a message. io.EOF: the call has ended well; any other error is its status.
func (s *CallStream) Recv() ([]byte, error) {
	data, err := s.stream.recv()
	if errors.Is(err, io.EOF) {
		s.stream.conn.mu.Lock()
		defer s.stream.conn.mu.Unlock()
		if status := s.stream.outcome(); status != nil {
			return nil, status
		}
	}
	return data, err
}

// requestFields are a call's header fields ("gRPC over HTTP2", "Requests").
func requestFields(ctx context.Context, method string) []hpack.HeaderField {
	fields := make([]hpack.HeaderField, 0, 16)
	fields = append(fields,
		hpack.HeaderField{Name: ":method", Value: "POST"}, hpack.HeaderField{Name: ":scheme", Value: "http"},
		hpack.HeaderField{Name: ":path", Value: method}, hpack.HeaderField{Name: ":authority", Value: "gateway"},
		hpack.HeaderField{Name: "content-type", Value: "application/grpc"}, hpack.HeaderField{Name: "user-agent", Value: "gateway"},
		hpack.HeaderField{Name: "te", Value: "trailers"}, hpack.HeaderField{Name: "grpc-accept-encoding", Value: "gzip"})
	if deadline, ok := ctx.Deadline(); ok {
		fields = append(fields, hpack.HeaderField{Name: "grpc-timeout", Value: grpcwire.FormatTimeout(time.Until(deadline))})
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	return appendMetadata(fields, md)
}
