package zmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// closeFlushMax is how long Close of a CurveConn waits for what was written to leave.
const closeFlushMax = 2 * time.Second

// CurveConn is a net.Conn for a program that speaks ZMTP with NULL only: what the program writes and reads is NULL,
// what goes over the network is CURVE (or PLAIN). The program's READY becomes this side's metadata, the peer's metadata
// the READY that the program reads.
//
// Rules: the handshake with the peer runs within the Write that completes the program's READY; reads wait for it. Only
// ZMTP 3.0 is announced to both sides, so that subscriptions are messages. PINGs of the peer are answered here, the
// program sees messages alone. A read deadline that passes ends the connection for reading: a message may have been cut.
// Read and Write may each be called from one goroutine at a time, Close from any.
type CurveConn struct {
	nc       net.Conn
	options  Options
	accepted bool

	toPeer outward
	toApp  inward

	shaken   chan struct{} // closed once conn or failed is set
	settle   sync.Once
	conn     *Conn
	failed   error
	lifetime context.Context // ends with Close
	end      context.CancelFunc
}

// outward takes apart what the program writes.
type outward struct {
	buf      []byte // an incomplete greeting or frame
	greeted  bool
	readied  bool
	message  Message // an incomplete message
	deadline time.Time
	mu       sync.Mutex // guards deadline
}

// inward is what the program will read.
type inward struct {
	buf     []byte
	at      int // buf[at:] was not read yet
	readied bool
	message Message
	err     error // why nothing more comes
}

// NewCurveConn puts the security of o around conn, which was accepted or dialled. SocketType, Identity and Metadata of o
// are the program's business and ignored.
func NewCurveConn(conn net.Conn, accepted bool, o Options) *CurveConn {
	o.Announce30 = true
	c := &CurveConn{nc: conn, options: o.withDefaults(), accepted: accepted, shaken: make(chan struct{})}
	c.lifetime, c.end = context.WithCancel(context.Background())
	c.toApp.buf = Greeting{Major: 3, Mechanism: MechanismNull}.Append(nil)
	return c
}

// Read gives the program the peer's side of the conversation, as NULL.
func (c *CurveConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	in := &c.toApp
	for in.at == len(in.buf) {
		if in.err != nil {
			return 0, in.err
		}
		in.buf, in.at = in.buf[:0], 0
		if in.err = c.refill(in); in.err != nil {
			return 0, in.err
		}
	}
	n := copy(p, in.buf[in.at:])
	in.at += n
	return n, nil
}

// refill waits for the handshake, then for the next message, and puts it into buf.
func (c *CurveConn) refill(in *inward) error {
	if !in.readied {
		<-c.shaken
		if c.failed != nil {
			return c.failed
		}
		in.readied = true
		in.buf = AppendCommand(in.buf, nameReady, c.conn.Peer().Metadata.Append(nil))
		return nil
	}
	m := &in.message
	if err := c.conn.Recv(m); err != nil {
		if errors.Is(err, ErrClosed) {
			return net.ErrClosed
		}
		return err
	}
	if m.Kind() != KindMessage {
		body, _ := Subscription{Topic: m.Part(0), Cancel: m.Kind() == KindCancel}.appendBody(nil, 0)
		in.buf = append(AppendFrameHeader(in.buf, 0, len(body)), body...)
		return nil
	}
	for i := range m.Len() {
		var flags Flags
		if i < m.Len()-1 {
			flags = FlagMore
		}
		in.buf = append(AppendFrameHeader(in.buf, flags, len(m.Part(i))), m.Part(i)...)
	}
	return nil
}

// Write takes the program's side of the conversation. It returns when whole messages in p are in the write buffer.
func (c *CurveConn) Write(p []byte) (int, error) {
	out := &c.toPeer
	out.buf = append(out.buf, p...)
	used := 0
	for {
		n, err := c.take(out, out.buf[used:])
		if err != nil {
			return 0, err
		}
		if used += n; n == 0 {
			break
		}
	}
	out.buf = append(out.buf[:0], out.buf[used:]...)
	if cap(out.buf) > scratchKeepBytesMax && len(out.buf) == 0 {
		out.buf = nil
	}
	return len(p), nil
}

// take uses the greeting or the frame at the start of b and says how many bytes that was; 0 = not all of it is there.
func (c *CurveConn) take(out *outward, b []byte) (int, error) {
	if !out.greeted {
		if len(b) < GreetingBytes {
			return 0, nil
		}
		greeting, err := ParseGreeting(b)
		if err == nil && greeting.Mechanism != MechanismNull {
			err = malformed(ReasonMechanism, "the program inside speaks %s, want NULL", greeting.Mechanism)
		}
		out.greeted = err == nil
		return GreetingBytes, inStep(StepGreeting, err)
	}
	h, n, err := ParseFrameHeader(b)
	if err != nil || n == 0 {
		return 0, inStep(StepTraffic, err)
	}
	if h.Size > uint64(c.options.FrameBytesMax) {
		return 0, inStep(StepTraffic, malformed(ReasonTooLarge, "a frame of %d bytes, at most %d", h.Size, c.options.FrameBytesMax))
	}
	end := n + int(h.Size)
	if len(b) < end {
		return 0, nil
	}
	switch body := b[n:end]; {
	case !out.readied:
		out.readied = true
		return end, c.ready(h, body)
	case h.Command():
		return end, c.subscribe(body)
	default:
		out.message.Append(body)
		if h.More() {
			return end, nil
		}
		return end, c.send(&out.message)
	}
}

// ready does the handshake with the peer, announcing what the program's READY says.
func (c *CurveConn) ready(h FrameHeader, body []byte) error {
	conn, err := c.shake(h, body)
	c.settle.Do(func() {
		c.conn, c.failed = conn, err
		close(c.shaken)
	})
	if c.conn == nil && conn != nil { // Close came first
		_ = conn.Close()
		return net.ErrClosed
	}
	return err
}

func (c *CurveConn) shake(h FrameHeader, body []byte) (*Conn, error) {
	if !h.Command() {
		return nil, inStep(StepHandshake, malformed(ReasonCommand, "a message where READY is due"))
	}
	data, err := expectCommand(body, nameReady)
	if err != nil {
		return nil, inStep(StepHandshake, err)
	}
	m, err := ParseMetadata(append([]byte(nil), data...))
	if err != nil {
		return nil, inStep(StepHandshake, err)
	}
	o := c.options
	o.SocketType, o.Identity, o.Metadata = m.SocketType(), nil, nil
	for _, p := range m {
		switch {
		case p.Name == PropertyIdentity && o.SocketType.carriesIdentity():
			o.Identity = p.Value
		case p.Name != PropertyIdentity && p.Name != PropertySocketType:
			o.Metadata = append(o.Metadata, p)
		}
	}
	if c.accepted {
		return Accept(c.lifetime, c.nc, o)
	}
	return Connect(c.lifetime, c.nc, o)
}

// subscribe carries the only commands that a program has reason to send.
func (c *CurveConn) subscribe(body []byte) error {
	name, data, err := ParseCommand(body)
	if err != nil {
		return inStep(StepTraffic, err)
	}
	s, ok := ParseSubscriptionCommand(name, data)
	if !ok {
		return inStep(StepTraffic, malformed(ReasonCommand, "command %.*q of the program inside", nameShownMax, name))
	}
	ctx, cancel := c.sendContext()
	defer cancel()
	return deadlineError(c.conn.subscribe(ctx, s))
}

func (c *CurveConn) send(m *Message) error {
	ctx, cancel := c.sendContext()
	defer cancel()
	err := c.conn.Send(ctx, m)
	m.Reset()
	return deadlineError(err)
}

// sendContext is the write deadline as a context.
func (c *CurveConn) sendContext() (context.Context, context.CancelFunc) {
	c.toPeer.mu.Lock()
	defer c.toPeer.mu.Unlock()
	if c.toPeer.deadline.IsZero() {
		return c.lifetime, func() {}
	}
	return context.WithDeadline(c.lifetime, c.toPeer.deadline)
}

// deadlineError says what a net.Conn says when a write deadline passes or the connection was closed.
func deadlineError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return os.ErrDeadlineExceeded
	case errors.Is(err, context.Canceled), errors.Is(err, ErrClosed):
		return net.ErrClosed
	}
	return err
}

// Close lets what was written leave, for two seconds at most, and ends the connection.
func (c *CurveConn) Close() error {
	c.settle.Do(func() {
		c.failed = fmt.Errorf("zmtp: closed before the handshake: %w", net.ErrClosed)
		close(c.shaken)
	})
	if c.conn == nil {
		c.end()
		return c.nc.Close()
	}
	ctx, cancel := context.WithTimeout(c.lifetime, closeFlushMax)
	defer cancel()
	_ = c.conn.Flush(ctx) // the peer may be gone, or slow: Close is not the place to say so
	c.end()
	return c.conn.Close()
}

// LocalAddr is the address of this side.
func (c *CurveConn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr is the address of the peer.
func (c *CurveConn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *CurveConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline bounds later reads. The handshake has its own time limit.
func (c *CurveConn) SetReadDeadline(t time.Time) error {
	if !c.isShaken() {
		return nil
	}
	return c.nc.SetReadDeadline(t)
}

// SetWriteDeadline bounds how long later writes wait for room in the write buffer.
func (c *CurveConn) SetWriteDeadline(t time.Time) error {
	c.toPeer.mu.Lock()
	defer c.toPeer.mu.Unlock()
	c.toPeer.deadline = t
	return nil
}

func (c *CurveConn) isShaken() bool {
	select {
	case <-c.shaken:
		return c.failed == nil
	default:
		return false
	}
}

var _ net.Conn = (*CurveConn)(nil)
