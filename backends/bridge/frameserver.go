package bridge

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gateway/internal/grpcwire"
	"gateway/internal/inproc"
)

// frameServer takes calls from the gRPC engine.
type frameServer struct {
	// handle carries a call, on a goroutine of its own; what it returns is the call's status.
	handle func(*serverCall) error
	// quick carries a call that is there whole, with one message, by the goroutine that has brought it, and reports whether it
	// does. It must not wait. When the call is over it calls calls.Done.
	quick           func(*serverCall) bool
	messageBytesMax int

	lifetime context.Context // of calls
	cut      context.CancelFunc

	mu       sync.Mutex
	conns    map[*frameConn]struct{}
	gone     chan struct{} // closed when stopping and no connection is left
	stopping bool
	calls    sync.WaitGroup
}

func (f *frameServer) init() {
	f.conns, f.gone = map[*frameConn]struct{}{}, make(chan struct{})
	f.lifetime, f.cut = context.WithCancel(context.Background())
}

// dial connects to the server.
func (f *frameServer) dial(context.Context) (*inproc.Conn, error) {
	ours, theirs := inproc.Pipe()
	c := newFrameConn(ours, f.messageBytesMax)
	var fresh []*serverCall // c.mu guards it
	c.begin = func(s *frameStream, fields []hpack.HeaderField) {
		fresh = append(fresh, newServerCall(f, s, fields))
		f.calls.Add(1) // shutdown waits only once no stream begins any more
	}
	c.round = func() {
		c.mu.Lock()
		begun := fresh
		fresh = nil
		c.mu.Unlock()
		for _, call := range begun {
			call.run()
		}
	}
	c.ended = func() { f.forget(c) }
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopping {
		return nil, net.ErrClosed
	}
	f.conns[c] = struct{}{}
	c.open("")
	return theirs, nil
}

func (f *frameServer) forget(c *frameConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
	if f.stopping && len(f.conns) == 0 {
		select {
		case <-f.gone:
		default:
			close(f.gone)
		}
	}
}

// shutdown takes no more calls, waits for those under way, and cuts them when ctx ends; then cutting is told first.
func (f *frameServer) shutdown(ctx context.Context, cutting func()) {
	f.mu.Lock()
	f.stopping = true
	var conns []*frameConn
	for c := range f.conns {
		conns = append(conns, c)
	}
	if len(conns) == 0 {
		close(f.gone)
	}
	f.mu.Unlock()
	for _, c := range conns {
		c.sayGoAway()
	}
	ended := make(chan struct{})
	go func() {
		f.calls.Wait()
		<-f.gone // the other ends hang up after their last call
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		cutting()
	}
	f.cut()
	for _, c := range conns {
		c.fail(io.EOF)
	}
	<-ended
}

// sayGoAway announces the end (section 6.8). What comes behind it is sent elsewhere by the other end.
func (c *frameConn) sayGoAway() {
	c.mu.Lock()
	c.draining = true
	c.out = appendFrameHead(c.out, 8, http2.FrameGoAway, 0, 0)
	c.out = binary.BigEndian.AppendUint32(c.out, c.lastID)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(http2.ErrCodeNo))
	c.mu.Unlock()
	c.flush()
}

// serverCall is a call, seen from the server.
type serverCall struct {
	server      *frameServer
	stream      *frameStream
	method      string
	contentType string
	timeout     time.Duration // 0: none

	ctx      context.Context // nil in quick
	headed   bool            // response headers were sent
	trailers metadata.MD
}

func newServerCall(f *frameServer, s *frameStream, fields []hpack.HeaderField) *serverCall {
	call := &serverCall{server: f, stream: s, contentType: "application/grpc"}
	for _, field := range fields {
		switch field.Name {
		case ":path":
			call.method = field.Value
		case "content-type":
			if strings.HasPrefix(field.Value, call.contentType) {
				call.contentType = field.Value
			}
		case "grpc-encoding":
			s.encoding = field.Value
		case "grpc-timeout":
			if d, ok := grpcwire.ParseTimeout(field.Value); ok {
				call.timeout = max(d, 1)
			}
		}
	}
	s.first = true
	return call
}

// run carries the call. It does not wait.
func (c *serverCall) run() {
	s := c.stream
	s.conn.mu.Lock()
	whole := s.recvEnd && len(s.messages) == 1 && len(s.part) == 0 && s.failed == nil && !s.messages[0].compressed
	s.conn.mu.Unlock()
	if whole && c.server.quick(c) {
		return
	}
	s.conn.mu.Lock()
	ctx, cancel := c.context()
	s.wait()
	s.cancel = cancel
	if s.closed {
		cancel()
	}
	s.conn.mu.Unlock()
	c.ctx = ctx
	go func() {
		defer c.server.calls.Done()
		defer cancel()
		defer s.stopWhen(ctx, false)()
		c.end(replied{}, c.server.handle(c))
	}()
}

func (c *serverCall) context() (context.Context, context.CancelFunc) {
	if c.timeout > 0 {
		return context.WithTimeout(c.server.lifetime, c.timeout)
	}
	return context.WithCancel(c.server.lifetime)
}

// Context ends with the call.
func (c *serverCall) Context() context.Context { return c.ctx }

// Recv waits for the caller's next message; io.EOF when it has sent all.
func (c *serverCall) Recv() ([]byte, error) { return c.stream.recv() }

// Send sends a message, and waits while the one before it has not found its way.
func (c *serverCall) Send(data []byte) error {
	conn := c.stream.conn
	conn.mu.Lock()
	c.head()
	conn.mu.Unlock()
	err := c.stream.send(data)
	if errors.Is(err, io.EOF) {
		conn.mu.Lock()
		defer conn.mu.Unlock()
		if err = c.stream.failed; err == nil {
			err = errCallOver
		}
	}
	return err
}

// SendHeader tells the caller that there will be an answer.
func (c *serverCall) SendHeader() {
	conn := c.stream.conn
	conn.mu.Lock()
	c.head()
	conn.mu.Unlock()
	conn.flush()
}

// head sends the response's headers, once. conn.mu is held.
func (c *serverCall) head() {
	if !c.headed && !c.stream.closed {
		c.headed = true
		c.stream.conn.headers(c.stream.id, c.response(nil), false)
	}
}

func (c *serverCall) response(fields []hpack.HeaderField) []hpack.HeaderField {
	return append(fields, hpack.HeaderField{Name: ":status", Value: "200"}, hpack.HeaderField{Name: "content-type", Value: c.contentType})
}

// SetTrailer is sent with the status.
func (c *serverCall) SetTrailer(md metadata.MD) { c.trailers = md }

// replied is what a service's frames say to a caller.
type replied struct {
	data []byte // the message
	is   bool   // there is one; if not, the error beside it says how the call has ended
}

// end sends the call's last message, if there is one, and its status.
func (c *serverCall) end(r replied, err error) {
	st := status.Convert(err)
	if _, is := status.FromError(err); err != nil && !is {
		st = status.FromContextError(err)
	}
	s := c.stream
	s.conn.mu.Lock()
	if !s.closed {
		if r.is {
			c.head()
			s.put(r.data, false)
		}
		fields := make([]hpack.HeaderField, 0, 6)
		if !c.headed {
			fields = c.response(fields) // Trailers-Only
		}
		s.last = appendStatusFields(fields, st, c.trailers)
		if c.ctx != nil && len(s.queue) > 0 {
			s.reset(http2.ErrCodeCancel) // drained has waited for as long as the call may take
		}
		s.finishQueue()
	}
	s.conn.mu.Unlock()
	s.conn.tell()
	s.conn.flush()
}

// drained waits until the other end has taken what was sent, wants it no more, or the call's time is over.
func (c *serverCall) drained() {
	s := c.stream
	for {
		s.conn.mu.Lock()
		done := s.closed || len(s.queue) == 0
		s.conn.mu.Unlock()
		if done {
			return
		}
		select {
		case <-s.writable:
		case <-c.ctx.Done():
			return
		}
	}
}

// message is that of a call which is there whole. It stays there.
func (c *serverCall) message() []byte {
	c.stream.conn.mu.Lock()
	defer c.stream.conn.mu.Unlock()
	return c.stream.messages[0].data
}

// watch has owner told of all that happens to the call from now on, by who must not wait.
func (c *serverCall) watch(owner func()) {
	c.stream.conn.mu.Lock()
	c.stream.owner = owner
	c.stream.conn.mu.Unlock()
}

// over reports whether the other end knows how the call has ended, or does not want to.
func (c *serverCall) over() bool {
	c.stream.conn.mu.Lock()
	defer c.stream.conn.mu.Unlock()
	return c.stream.closed
}
