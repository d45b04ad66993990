package bridge

// One end of the HTTP/2 connection between the bridge and the gRPC engine (RFC 9113, and "gRPC over HTTP2"). It stands in for
// grpc-go's transports, which wake goroutines of their own for each frame: here, what the engine sends is acted upon by the
// goroutine that brings it, before its Write returns, and what the bridge sends goes the same way.
//
// Rules of the frame files. mu guards a connection and all its streams. Nothing is called with mu held but what only touches
// them. Who changed something flushes afterwards, with no lock held: one goroutine at a time writes, the others leave theirs to
// it. Streams whose owner is to be told (frameStream.tell) are gathered in told, and told without mu. Both a Write and a tell
// may run the engine, or the other end of a call: whoever brings bytes or flushes holds no lock, and nobody called there waits.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"gateway/internal/inproc"
)

const (
	frameHeadBytes  = 9
	frameBytesMax   = 16384 // what every peer accepts (section 4.2)
	windowBytesMax  = 1<<31 - 1
	windowDefault   = 65535
	headerListMax   = 16 << 20 // the engine bounds what callers and backends send
	connWindowBytes = 4 << 20  // what the engine may have in flight on all streams together
	// streamWindowBytes is what one stream may have in flight, and so about what it holds back for a slow receiver.
	streamWindowBytes = 1 << 20
	// spareBytesMax is the largest output buffer that is used again.
	spareBytesMax = 256 << 10
	// flushTurnsMax is how often in a row a goroutine writes what others have left to it.
	flushTurnsMax = 16
)

var (
	errBroken      = errors.New("bridge: the engine broke HTTP/2")
	errHeaderFlood = errors.New("bridge: a header block without end")
)

// frameConn is one end.
type frameConn struct {
	conn *inproc.Conn
	// begin takes a stream that the other end has opened, with mu held; nil: it opens none.
	begin func(s *frameStream, fields []hpack.HeaderField)
	// round is told, without mu, when all that came at once was acted upon. nil: nobody is.
	round func()
	// ended is told, without mu, when the connection is over. nil: nobody is.
	ended func()
	// messageBytesMax bounds a message that comes.
	messageBytesMax int

	mu       sync.Mutex
	partial  []byte // of a frame
	prefaced bool   // what comes before the first frame has come
	decoder  *hpack.Decoder
	fields   []hpack.HeaderField // of the block being decoded
	block    []byte              // of a header block that is not finished
	head     frameHead           // of that block
	owed     int                 // received, and not yet given back

	encoder       *hpack.Encoder
	encoded       bytes.Buffer
	scratch       []byte
	out, spare    []byte // to be written; memory for it
	writing       bool
	window        int64 // what may be sent on all streams together
	initialWindow int64
	streamsMax    uint32

	streams  map[uint32]*frameStream
	blocked  []*frameStream // wait for window
	lastID   uint32
	told     []*frameStream
	settled  bool          // the other end's SETTINGS have come
	draining bool          // no more streams
	err      error         // the connection is over
	changed  chan struct{} // closed when a stream has ended, or one of the above has changed; nil: nobody waits
}

type frameHead struct {
	length int
	kind   http2.FrameType
	flags  http2.Flags
	stream uint32
}

func newFrameConn(conn *inproc.Conn, messageBytesMax int) *frameConn {
	c := &frameConn{
		conn: conn, messageBytesMax: messageBytesMax, window: windowDefault, initialWindow: windowDefault,
		streamsMax: windowBytesMax, streams: map[uint32]*frameStream{},
	}
	c.encoder = hpack.NewEncoder(&c.encoded)
	c.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { c.fields = append(c.fields, f) })
	c.decoder.SetMaxStringLength(headerListMax)
	return c
}

// open begins the connection: the engine's bytes are acted upon from now on.
func (c *frameConn) open(preface string) {
	c.mu.Lock()
	c.out = append(c.out, preface...)
	c.out = appendFrameHead(c.out, 6, http2.FrameSettings, 0, 0)
	c.out = binary.BigEndian.AppendUint16(c.out, uint16(http2.SettingInitialWindowSize))
	c.out = binary.BigEndian.AppendUint32(c.out, streamWindowBytes)
	c.out = appendWindowUpdate(c.out, 0, connWindowBytes-windowDefault)
	c.prefaced = preface != ""
	c.mu.Unlock()
	c.conn.Receive(c.receive, func() { c.fail(io.EOF) })
	c.flush()
}

// receive acts on what the other end sends.
func (c *frameConn) receive(p []byte) {
	c.mu.Lock()
	if len(c.partial) > 0 {
		c.partial = append(c.partial, p...)
		p = c.partial
	}
	rest, err := c.act(p)
	c.partial = append(c.partial[:0], rest...)
	if cap(c.partial) > spareBytesMax {
		c.partial = slices.Clone(c.partial) // rest may have lain where it was copied to
	}
	c.mu.Unlock()
	if err != nil {
		c.fail(err)
	}
	c.tell()
	if c.round != nil {
		c.round()
	}
	c.flush()
}

// act acts on the frames that are there whole, and returns the rest.
func (c *frameConn) act(p []byte) (rest []byte, err error) {
	if !c.prefaced {
		if len(p) < len(http2.ClientPreface) {
			return p, nil
		}
		if string(p[:len(http2.ClientPreface)]) != http2.ClientPreface {
			return nil, errBroken
		}
		p, c.prefaced = p[len(http2.ClientPreface):], true
	}
	for len(p) >= frameHeadBytes && c.err == nil {
		h := frameHead{
			length: int(p[0])<<16 | int(p[1])<<8 | int(p[2]), kind: http2.FrameType(p[3]), flags: http2.Flags(p[4]),
			stream: binary.BigEndian.Uint32(p[5:]) &^ (1 << 31),
		}
		if h.length > frameBytesMax {
			return nil, errBroken
		}
		if len(p) < frameHeadBytes+h.length {
			break
		}
		if err := c.frame(h, p[frameHeadBytes:frameHeadBytes+h.length]); err != nil {
			return nil, err
		}
		p = p[frameHeadBytes+h.length:]
	}
	return p, nil
}

// frame acts on one frame (section 6). mu is held.
func (c *frameConn) frame(h frameHead, p []byte) error {
	if len(c.block) > 0 && h.kind != http2.FrameContinuation {
		return errBroken
	}
	switch h.kind {
	case http2.FrameData:
		return c.data(h, p)
	case http2.FrameHeaders:
		p, err := unpad(h, p)
		if err != nil {
			return err
		}
		if h.flags.Has(http2.FlagHeadersPriority) {
			if len(p) < 5 {
				return errBroken
			}
			p = p[5:]
		}
		c.head = h
		return c.fragment(p, h.flags.Has(http2.FlagHeadersEndHeaders))
	case http2.FrameContinuation:
		if len(c.block) == 0 || h.stream != c.head.stream {
			return errBroken
		}
		return c.fragment(p, h.flags.Has(http2.FlagContinuationEndHeaders))
	case http2.FrameSettings:
		return c.settings(h, p)
	case http2.FrameWindowUpdate:
		return c.widen(h, p)
	case http2.FrameRSTStream:
		if s := c.streams[h.stream]; s != nil && len(p) == 4 {
			s.wasReset(http2.ErrCode(binary.BigEndian.Uint32(p)))
		}
	case http2.FramePing:
		if len(p) == 8 && !h.flags.Has(http2.FlagPingAck) {
			c.out = append(appendFrameHead(c.out, 8, http2.FramePing, http2.FlagPingAck, 0), p...)
		}
	case http2.FrameGoAway:
		if len(p) < 8 {
			return errBroken
		}
		c.goneAway(binary.BigEndian.Uint32(p) &^ (1 << 31))
	}
	return nil
}

func unpad(h frameHead, p []byte) ([]byte, error) {
	if !h.flags.Has(http2.FlagDataPadded) {
		return p, nil
	}
	if len(p) == 0 || int(p[0]) >= len(p) {
		return nil, errBroken
	}
	return p[1 : len(p)-int(p[0])], nil
}

// data holds section 6.1. The connection's window is given back at once: who is slow holds up one stream.
func (c *frameConn) data(h frameHead, p []byte) error {
	size := len(p)
	p, err := unpad(h, p)
	if err != nil {
		return err
	}
	if c.owed += size; c.owed >= connWindowBytes/4 {
		c.out = appendWindowUpdate(c.out, 0, c.owed)
		c.owed = 0
	}
	if s := c.streams[h.stream]; s != nil {
		s.came(p, size, h.flags.Has(http2.FlagDataEndStream))
	}
	return nil
}

// fragment acts on a header block when it is whole (section 4.3).
func (c *frameConn) fragment(p []byte, last bool) error {
	if !last || len(c.block) > 0 {
		if c.block = append(c.block, p...); len(c.block) > headerListMax {
			return errHeaderFlood
		}
		if !last {
			return nil
		}
		p = c.block
	}
	c.fields = c.fields[:0]
	_, err := c.decoder.Write(p)
	if err == nil {
		err = c.decoder.Close()
	}
	c.block = nil
	if err != nil {
		return err
	}
	end := c.head.flags.Has(http2.FlagHeadersEndStream)
	s := c.streams[c.head.stream]
	if s != nil {
		s.cameHeaders(c.fields, end)
		return nil
	}
	if c.begin == nil || c.draining || c.head.stream <= c.lastID {
		return nil // it has ended meanwhile, or the other end was told that nobody looks at it
	}
	c.lastID = c.head.stream
	s = c.stream(c.head.stream)
	s.recvEnd = end
	c.begin(s, c.fields)
	return nil
}

// stream makes a stream. mu is held.
func (c *frameConn) stream(id uint32) *frameStream {
	s := &frameStream{conn: c, id: id, sendWindow: c.initialWindow}
	c.streams[id] = s
	return s
}

// settings holds section 6.5.
func (c *frameConn) settings(h frameHead, p []byte) error {
	if h.flags.Has(http2.FlagSettingsAck) {
		return nil
	}
	for ; len(p) >= 6; p = p[6:] {
		value := binary.BigEndian.Uint32(p[2:])
		switch http2.SettingID(binary.BigEndian.Uint16(p)) {
		case http2.SettingHeaderTableSize:
			c.encoder.SetMaxDynamicTableSize(min(value, 4096))
		case http2.SettingMaxConcurrentStreams:
			c.streamsMax = value
		case http2.SettingInitialWindowSize:
			delta := int64(value) - c.initialWindow
			c.initialWindow = int64(value)
			for _, s := range c.streams {
				s.sendWindow += delta
				s.pump()
			}
		}
	}
	c.settled = true
	c.change()
	c.out = appendFrameHead(c.out, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	return nil
}

// widen holds section 6.9.
func (c *frameConn) widen(h frameHead, p []byte) error {
	if len(p) != 4 {
		return errBroken
	}
	n := int64(binary.BigEndian.Uint32(p) &^ (1 << 31))
	if h.stream != 0 {
		if s := c.streams[h.stream]; s != nil {
			s.sendWindow += n
			s.pump()
		}
		return nil
	}
	c.window += n
	blocked := c.blocked
	c.blocked = nil
	for _, s := range blocked {
		s.blocked = false
		s.pump()
	}
	return nil
}

// goneAway holds section 6.8: no more streams; those above last were not looked at.
func (c *frameConn) goneAway(last uint32) {
	for id, s := range c.streams {
		if id > last {
			s.wasReset(http2.ErrCodeRefusedStream)
		}
	}
	c.drain()
}

// drain opens no more streams, and has a client hang up after the last. mu is held.
func (c *frameConn) drain() {
	c.draining = true
	c.change()
	if c.begin == nil && len(c.streams) == 0 {
		go c.fail(io.EOF)
	}
}

// change lets those look again who wait for the connection. mu is held.
func (c *frameConn) change() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// fail ends the connection, and all that it carries.
func (c *frameConn) fail(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
	}
	for _, s := range c.streams {
		s.stops(status.Errorf(codes.Unavailable, "the connection within the gateway has ended: %v", c.err))
		s.wasReset(http2.ErrCodeRefusedStream)
	}
	c.change()
	c.mu.Unlock()
	_ = c.conn.Close() // it may be closed
	c.tell()
	if first && c.ended != nil {
		c.ended()
	}
}

// tell tells those streams' owners that something has changed. No lock is held.
func (c *frameConn) tell() {
	c.mu.Lock()
	told := c.told
	c.told = nil
	for _, s := range told {
		s.toTell = false
	}
	c.mu.Unlock()
	for _, s := range told {
		s.tell()
	}
}

// flush writes what is to be sent, unless another goroutine is at it: that one does. No lock is held.
func (c *frameConn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing {
		return
	}
	c.writing = true
	for turn := 0; len(c.out) > 0 && c.err == nil; turn++ {
		if turn == flushTurnsMax {
			c.writing = false
			go c.flush()
			return
		}
		p := c.out
		c.out, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		_, err := c.conn.Write(p)
		c.mu.Lock()
		if cap(p) <= spareBytesMax {
			c.spare = p
		}
		if err != nil {
			break // who ended the connection tells everybody
		}
	}
	c.writing = false
}

// headers appends a header block. mu is held.
func (c *frameConn) headers(stream uint32, fields []hpack.HeaderField, end bool) {
	c.encoded.Reset()
	for _, f := range fields {
		_ = c.encoder.WriteField(f) // a bytes.Buffer never fails
	}
	flags := http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	kind := http2.FrameHeaders
	for block := c.encoded.Bytes(); ; kind, flags = http2.FrameContinuation, 0 {
		n := min(len(block), frameBytesMax)
		if n == len(block) {
			flags |= http2.FlagHeadersEndHeaders
		}
		c.out = append(appendFrameHead(c.out, n, kind, flags, stream), block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return
		}
	}
}

func appendFrameHead(b []byte, length int, kind http2.FrameType, flags http2.Flags, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), byte(kind), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}

func appendWindowUpdate(b []byte, stream uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHead(b, 4, http2.FrameWindowUpdate, 0, stream), uint32(n))
}
