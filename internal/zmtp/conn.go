package zmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Conn is a ZMTP connection after its handshake.
//
// Rules: Recv belongs to one goroutine at a time. Send, TrySend, Subscribe, Cancel, Flush and Close may be called from
// any. The Conn owns the net.Conn and closes it in Close, and only there: after an error of Recv or Send the caller
// closes. An error of Send says that nothing more goes out; what the peer has sent before can still be received.
type Conn struct {
	nc      net.Conn
	options Options
	peer    Peer
	minor   byte // the lower of both sides' minor versions

	in      reader
	open    *opener // nil without CURVE
	cipher  []byte  // body of the CURVE frame being read
	command []byte  // body of the command being read
	beat    heartbeat
	beating bool // somebody wants silence to be noticed
	rate    rate

	out      *writer
	seal     *sealer // nil without CURVE; guarded by out.mu
	scratch  []byte  // guarded by out.mu
	closing  sync.Once
	closeErr error
}

// commandBytesMax bounds a command after the handshake; the longest there is carries a topic.
const commandBytesMax = 64 << 10

// Accept does the handshake on a connection that was accepted. On failure conn is closed.
func Accept(ctx context.Context, conn net.Conn, o Options) (*Conn, error) {
	return NewLadder(conn).shake(ctx, o, true)
}

// Connect does the handshake on a connection that this side has dialled. On failure conn is closed.
func Connect(ctx context.Context, conn net.Conn, o Options) (*Conn, error) {
	return NewLadder(conn).shake(ctx, o, false)
}

// Dial connects to an address of a network as net.Dial knows them and does the handshake. HandshakeTimeout bounds the
// handshake alone, ctx all of it.
func Dial(ctx context.Context, network, address string, o Options) (*Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("zmtp: %w", err)
	}
	return Connect(ctx, nc, o)
}

func newConn(nc net.Conn, o Options, peer Peer, seal *sealer, open *opener) *Conn {
	c := &Conn{
		nc: nc, options: o, peer: peer, minor: min(peer.Minor, o.minor(), 1),
		open: open, seal: seal, out: newWriter(nc, o.WriteBufferBytes),
	}
	c.in = reader{from: (*source)(c), buf: make([]byte, o.ReadBufferBytes)}
	c.beat = heartbeat{Heartbeat: o.Heartbeat, heard: time.Now()}
	if o.Heartbeat.Interval > 0 {
		c.beating = true
		_ = nc.SetReadDeadline(c.beat.heard.Add(o.Heartbeat.Interval))
	}
	return c
}

// Peer is what the handshake found out about the other side.
func (c *Conn) Peer() Peer { return c.peer }

// LocalAddr is the address of this side.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr is the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Recv waits for the next message and puts it into m, whose memory it uses again. A PUB or XPUB also gets its
// subscribers' wishes, told apart by m.Kind. Heartbeats are answered within.
//
// io.EOF means that the peer has closed between two messages, io.ErrUnexpectedEOF that it did so within one. A
// *ProtocolError means that the peer broke the protocol or a limit of Options, ErrSilent that heartbeats found it dead.
// After any error the connection is of no more use for receiving.
func (c *Conn) Recv(m *Message) error {
	m.Reset()
	for {
		last, err := c.frame(m)
		if err != nil {
			return c.recvError(m, err)
		}
		if !last {
			continue
		}
		if c.options.SocketType.publishes() && m.kind == KindMessage {
			m.becomeSubscription()
		}
		if !c.out.heard.Load() {
			c.out.heard.Store(true)
		}
		return nil
	}
}

func (c *Conn) recvError(m *Message, err error) error {
	var protocol *ProtocolError
	switch {
	case errors.As(err, &protocol):
		return inStep(StepTraffic, err)
	case err == io.EOF && m.parts > 0:
		return io.ErrUnexpectedEOF
	case errors.Is(err, net.ErrClosed):
		return ErrClosed
	}
	return err
}

// frame reads one frame and says whether m is now complete.
func (c *Conn) frame(m *Message) (last bool, err error) {
	h, err := c.in.header()
	if err != nil {
		return false, err
	}
	if c.open != nil {
		return c.sealedFrame(m, h)
	}
	if h.Command() {
		if err := checkCommandSize(h.Size); err != nil {
			return false, err
		}
		if c.command, err = c.in.body(c.command[:0], int(h.Size)); err != nil {
			return false, err
		}
		return c.handleCommand(m, c.command)
	}
	if err := c.checkLimits(m, h.Size); err != nil {
		return false, err
	}
	start := len(m.slab)
	if m.slab, err = c.in.body(m.slab, int(h.Size)); err != nil {
		return false, err
	}
	m.addSpan(start)
	return !h.More(), nil
}

// sealedFrame reads one CURVE MESSAGE; what it is and whether more follows is known once it is open.
func (c *Conn) sealedFrame(m *Message, h FrameHeader) (last bool, err error) {
	if h.More() {
		return false, malformed(ReasonFrame, "MORE outside a CURVE message")
	}
	if h.Size < messageBytesMin {
		return false, malformed(ReasonCommand, "a MESSAGE of %d bytes, want at least %d", h.Size, messageBytesMin)
	}
	if err := c.checkLimits(m, h.Size-messageBytesMin); err != nil {
		return false, err
	}
	if c.cipher, err = c.in.body(c.cipher[:0], int(h.Size)); err != nil {
		return false, err
	}
	start := len(m.slab)
	m.slab, err = c.open.open(m.slab, c.cipher)
	if cap(c.cipher) > scratchKeepBytesMax {
		c.cipher = nil
	}
	if err != nil {
		return false, err
	}
	if m.slab[start] == payloadCommand {
		if err := checkCommandSize(uint64(len(m.slab) - start - 1)); err != nil {
			return false, err
		}
		c.command = append(c.command[:0], m.slab[start+1:]...)
		m.slab = m.slab[:start]
		return c.handleCommand(m, c.command)
	}
	more := m.slab[start] == payloadMore
	m.addSpan(start + 1)
	return !more, nil
}

// checkLimits refuses a frame of a message before its body is read.
func (c *Conn) checkLimits(m *Message, size uint64) error {
	if size > uint64(c.options.FrameBytesMax) {
		return malformed(ReasonTooLarge, "a frame of %d bytes, at most %d", size, c.options.FrameBytesMax)
	}
	received := len(m.slab)
	if c.open != nil {
		received -= m.parts // a byte of flags before each
	}
	if size > uint64(c.options.MessageBytesMax-received) {
		return malformed(ReasonTooLarge, "a message of more than %d bytes", c.options.MessageBytesMax)
	}
	if m.parts >= c.options.PartsMax {
		return malformed(ReasonTooLarge, "a message of more than %d parts", c.options.PartsMax)
	}
	return nil
}

func checkCommandSize(size uint64) error {
	if size > commandBytesMax {
		return malformed(ReasonTooLarge, "a command of %d bytes, at most %d", size, commandBytesMax)
	}
	return nil
}

// Send queues a message for the peer, all parts or none. It waits while the write buffer is full, until ctx ends; it
// does not wait for the message to be written, see Flush. m is free for use again when Send returns.
func (c *Conn) Send(ctx context.Context, m *Message) error {
	return c.send(ctx, m, true)
}

// TrySend is Send for who cannot wait: it returns ErrFull instead.
func (c *Conn) TrySend(m *Message) error { return c.send(context.Background(), m, false) }

func (c *Conn) send(ctx context.Context, m *Message, wait bool) error {
	write, err := c.put(ctx, m, wait)
	if write {
		c.out.write()
	}
	return err
}

// put is send, but for writing, which the caller has to do if it is told to.
func (c *Conn) put(ctx context.Context, m *Message, wait bool) (write bool, err error) {
	if m.parts == 0 {
		return false, errors.New("zmtp: send: a message has at least one part")
	}
	w, err := c.out.begin(ctx, c.wireBytes(m), wait)
	if err != nil {
		return false, sendError(err)
	}
	for i := range m.parts {
		var flags Flags
		if i < m.parts-1 {
			flags = FlagMore
		}
		w.b = c.appendFrame(w.b, flags, m.Part(i))
	}
	return c.out.commit(), nil
}

// Subscribe asks a PUB or XPUB for messages that start with topic. Subscriptions are counted: each Subscribe takes a
// Cancel of its own.
func (c *Conn) Subscribe(ctx context.Context, topic []byte) error {
	return c.subscribe(ctx, Subscription{Topic: topic})
}

// Cancel takes one Subscribe of this topic back.
func (c *Conn) Cancel(ctx context.Context, topic []byte) error {
	return c.subscribe(ctx, Subscription{Topic: topic, Cancel: true})
}

func (c *Conn) subscribe(ctx context.Context, s Subscription) error {
	if !c.options.SocketType.subscribes() {
		return fmt.Errorf("zmtp: subscribe: a %s cannot", c.options.SocketType)
	}
	w, err := c.out.begin(ctx, sealedSize(1+len(nameSubscribe)+len(s.Topic)), true)
	if err != nil {
		return sendError(err)
	}
	body, command := s.appendBody(c.scratch[:0], c.minor)
	c.scratch = body
	var flags Flags
	if command {
		flags = FlagCommand
	}
	w.b = c.appendFrame(w.b, flags, body)
	if c.out.commit() {
		c.out.write()
	}
	return nil
}

// appendFrame appends one frame, sealed where the mechanism does so. out.mu is held.
func (c *Conn) appendFrame(b []byte, flags Flags, body []byte) []byte {
	if c.seal == nil {
		return append(AppendFrameHeader(b, flags, len(body)), body...)
	}
	var payload byte
	switch flags {
	case FlagMore:
		payload = payloadMore
	case FlagCommand:
		payload = payloadCommand
	}
	return c.seal.appendFrame(b, payload, body)
}

// wireBytes bounds what a message takes in the write buffer.
func (c *Conn) wireBytes(m *Message) int {
	perFrame := frameHeaderBytesMax
	if c.seal != nil {
		perFrame = sealedSize(0)
	}
	return len(m.slab) + m.parts*perFrame
}

func sendError(err error) error {
	if errors.Is(err, ErrFull) || errors.Is(err, ErrClosed) {
		return err
	}
	return fmt.Errorf("zmtp: send: %w", err)
}

// Flush waits until everything sent so far has been given to the system's socket buffer.
func (c *Conn) Flush(ctx context.Context) error {
	if err := c.out.flush(ctx); err != nil {
		return sendError(err)
	}
	return nil
}

// Close ends the connection at once: what was not written yet is lost (call Flush before), Recv and Send return
// ErrClosed, and when Close returns no goroutine of the connection is left.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		running := c.out.close(ErrClosed)
		c.closeErr = c.nc.Close()
		if running {
			<-c.out.finished
		}
	})
	return c.closeErr
}
