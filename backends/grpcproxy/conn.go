package grpcproxy

// One HTTP/2 connection, to a caller or to a backend: RFC 9113 section 3.4 (preface) and section 5.4 (errors).
//
// Rules of this file.
//
// Each connection has one reader: the event loop of its seat, or, for TLS and in memory, a goroutine that runs serve from
// the first byte to the last. The reader acts on each frame. When the connection is over, end cleans up, on a goroutine that
// may wait. Nobody else closes the socket: others call abort, which makes the reader let go. The fields below mu are
// guarded by it; those above belong to the reader, or never change. Lock order: call.mu before conn.mu; no two conn.mu
// and no two call.mu at once; nothing is called with conn.mu held that takes a lock or waits.
//
// A connection error is told by GOAWAY; then the peer's bytes are thrown away for a short while, because closing a
// socket with unread bytes would reset the connection and could take the GOAWAY with it.

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"gateway/backends/relay"
)

const (
	// connWindow is what a peer may have in flight on all streams together. It is given back as soon as bytes arrive,
	// so it needs no more than one round trip's worth.
	connWindow = 4 << 20
	// streamWindow is what a peer may have in flight on one stream, and so what one stream can hold back here.
	streamWindow = 256 << 10
	// headerTableBytes is the size of both HPACK tables (RFC 7541 section 4.2), the default of RFC 9113 section 6.5.2.
	headerTableBytes = 4096
	// windowDefault is each window's size before a peer says otherwise (section 6.9.2).
	windowDefault = 65535

	// handshakeWait is how long the peer's preface and SETTINGS may take.
	handshakeWait = 10 * time.Second
	lingerWait    = time.Second
	// ownResetsMax is how many streams we remember to have reset, so that what was under way is ignored.
	ownResetsMax = 128
)

// role is what differs between connections of callers and connections to backends. All but idle are called by the
// reader, without locks.
type role interface {
	// preface reports whether what comes before the first frame is there whole, and takes it.
	preface() (whole bool, err error)
	// settled is told that the peer's first SETTINGS were applied.
	settled()
	// headers acts on a header block on a stream that is not open. The fields are valid during the call.
	headers(stream uint32, fields []hpack.HeaderField, end, tooLarge bool) error
	// goAway acts on the peer's GOAWAY.
	goAway(last uint32)
	// pong acts on the answer to our PING.
	pong(data []byte)
	// closed is told that the connection is no more; orphans are the streams that were open.
	closed(orphans []*half, err error)
	// idle reports whether the stream was never opened. conn.mu is held.
	idle(stream uint32) bool
}

type conn struct {
	outer    net.Conn // what is closed in the end
	proxy    *Proxy
	role     role
	in       *input
	batch    *batch        // the reader's
	since    time.Duration // on the proxy's clock
	blocks   blockReader
	prefaced bool // what comes before the first frame has come
	settle   bool // the first SETTINGS have come
	window   int  // what the peer may still send
	owed     int  // received and not yet given back
	resets   rate // streams reset by the caller
	ledger   accounts

	// misdirected tells which authorities the caller's TLS session was not opened for; nil: it may ask for all.
	misdirected func(authority string) bool
	empty       rate // DATA frames without data

	readAt       atomic.Int64 // when bytes came last, on the proxy's clock
	partialSince atomic.Int64 // since when a frame or a header block is unfinished; 0: none is
	pinged       bool         // the watch's: it has sent a PING, and nothing has come since

	open    atomic.Int64 // len(streams)
	openMax atomic.Int64 // how many the peer allows
	unfit   atomic.Bool  // draining or dead, for those who choose

	// count is told what comes and goes by the seat, and why reading failed; nil: nobody wants to know.
	count func(in, out int, failed error)

	greeted    atomic.Bool  // settle, for the watch
	stuckSince atomic.Int64 // since when the socket takes nothing; 0: it does

	mu            sync.Mutex
	net           net.Conn // reads and writes, and has deadlines, where there is no seat
	seat          socket   // on an event loop; nil: none
	leaving       bool     // the seat is about to be given up
	out           output
	encoder       *hpack.Encoder
	streams       map[uint32]*half
	sendWindow    int64
	initialWindow int64 // of streams, as the peer set it
	blocked       *half // the first of those that have bytes to send, and wait for sendWindow or room in out
	blockedLast   *half
	ownResets     []uint32
	ownReset      int  // the place in ownResets to overwrite next
	nuisances     rate // frames in a row that carried no call forward
	draining      bool // no new streams; hang up after the last
	hangUp        bool // close when everything is written
	finish        bool // send FIN when everything is written
	dead          bool // nothing more is sent
	err           error
}

// newConn makes a connection that serve will run. Closing always goes through outer.
func newConn(p *Proxy, outer net.Conn, role role) *conn {
	c := &conn{
		net: outer, outer: outer, proxy: p, role: role, batch: new(batch),
		window: windowDefault, since: p.now(),
		streams: map[uint32]*half{}, sendWindow: windowDefault, initialWindow: windowDefault,
	}
	if _, ofCaller := role.(*callerConn); ofCaller && p.ledger != nil {
		c.ledger = accounts{ledger: p.ledger, client: outer.RemoteAddr()}
	}
	if session, ok := outer.(interface{ Misdirected(authority string) bool }); ok {
		c.misdirected = session.Misdirected
	}
	c.unwrap()
	c.openMax.Store(windowMax) // section 6.5.2: no limit, before the peer sets one
	c.out.idle.L = &c.mu
	c.encoder = hpack.NewEncoder(&c.out)
	c.readAt.Store(int64(c.since))
	c.blocks.init(p.headerBytesMax)
	return c
}

// unwrap looks for the socket below outer: Raw tells it, and the bytes of it that were read already; Socket tells it, and who
// counts what comes and goes there; relay.Prefixed is what only precedes it.
func (c *conn) unwrap() {
	prefix, inner := []byte(nil), c.outer
	if o, ok := inner.(interface{ Raw() ([]byte, net.Conn) }); ok {
		prefix, inner = o.Raw()
	}
	below := inner
	if o, ok := inner.(interface {
		Socket() (net.Conn, func(in, out int, failed error))
	}); ok {
		below, c.count = o.Socket()
	}
	for p, ok := below.(relay.Prefixed); ok; p, ok = below.(relay.Prefixed) {
		var more []byte
		more, below = p.Detach()
		prefix = append(prefix, more...)
	}
	c.in = newInput(inner, prefix)
	_, toBackend := c.role.(*backendConn)
	if c.seat = takeInproc(below); c.seat == nil {
		c.seat = takeSeat(below, toBackend)
	}
	if c.seat == nil {
		c.count = nil // inner does
	}
}

// serve begins the connection, and runs it until it ends unless an event loop does.
func (c *conn) serve() {
	c.greet()
	err := c.act() // on what was read already
	c.batch.run()
	if err == nil && c.seat != nil {
		c.proxy.tasks.Add(1)
		if err = c.seat.watch(c); err == nil {
			return // from here on it is the loop's
		}
		c.proxy.tasks.Done()
	}
	for err == nil {
		if err = c.in.fill(); err == nil {
			c.readAt.Store(int64(c.proxy.now()))
			err = c.act()
		}
		c.batch.run()
	}
	c.end(err)
}

// readable reads once, and acts on that. It is the loop's.
func (c *conn) readable() error {
	c.mu.Lock()
	dead := c.dead
	c.mu.Unlock()
	if dead {
		return io.EOF // c.err knows better
	}
	n, err := c.in.recv(c.seat)
	if c.count != nil {
		c.count(n, 0, err)
	}
	if err != nil {
		return err
	}
	c.readAt.Store(int64(c.proxy.now()))
	err = c.act()
	c.in.rest()
	return err
}

// end says good-bye if that is due, and cleans up.
func (c *conn) end(err error) {
	c.unfit.Store(true)
	var broken connError
	goodbye := errors.As(err, &broken)
	c.leaveSeat(goodbye)
	if goodbye {
		c.sayGoodbye(broken)
	}
	c.mu.Lock()
	c.dead = true
	if c.err == nil {
		c.err = err
	}
	err = c.err
	orphans := make([]*half, 0, len(c.streams))
	for _, s := range c.streams {
		orphans = append(orphans, s)
	}
	clear(c.streams)
	c.open.Store(0)
	c.blocked, c.blockedLast = nil, nil
	c.mu.Unlock()
	c.role.closed(orphans, err)
	c.batch.run()
	_ = c.net.Close() // whatever they say, they are closed
	_ = c.outer.Close()
	c.in.release()
}

// drop closes a connection that was never served. Closing outer alone would leave the seat's descriptor open.
func (c *conn) drop() {
	if c.seat != nil {
		c.seat.close()
	}
	_ = c.outer.Close() // never used
	c.in.release()
}

// leaveSeat gives the descriptor up, for an ordinary connection if there is more to say.
func (c *conn) leaveSeat(more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seat == nil {
		return
	}
	c.leaving = true
	if c.out.stuck != nil {
		c.out.stuck, c.out.writing, c.dead = nil, false, true
	}
	for c.out.writing {
		c.out.idle.Wait()
	}
	if more && !c.dead {
		if ordinary, err := c.seat.ordinary(); err == nil {
			c.net, c.in.conn = ordinary, ordinary
		}
	}
	c.seat.close()
	c.seat = nil
}

func (c *conn) greet() {
	c.mu.Lock()
	buf := c.out.buffer()
	buf.bytes = c.greeting(buf.bytes)
	c.mu.Unlock()
	c.window = connWindow
	c.batch.touch(c)
	c.batch.run()
}

// greeting is our preface's frames: the SETTINGS, and the connection's window, which SETTINGS cannot set.
func (c *conn) greeting(b []byte) []byte {
	if _, toBackend := c.role.(*backendConn); toBackend {
		b = append(b, http2.ClientPreface...)
		b = appendSettings(b,
			http2.Setting{ID: http2.SettingEnablePush, Val: 0},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
			http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.proxy.headerBytesMax)})
	} else {
		b = appendSettings(b,
			http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: c.proxy.streamsMax},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
			http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.proxy.headerBytesMax)})
	}
	return appendWindowUpdate(b, 0, connWindow-windowDefault)
}

// act acts on the frames that are there whole.
func (c *conn) act() error {
	if !c.prefaced {
		whole, err := c.role.preface()
		if c.prefaced = whole; !whole {
			return err
		}
	}
	frames := 0
	for ; ; frames++ {
		h, p, ok, err := c.in.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if h.kind == http2.FrameData {
			h, p = c.in.gather(h, p)
		}
		if err := c.receive(h, p); err != nil {
			if err = c.streamFailed(err); err != nil {
				return err
			}
		}
	}
	c.notePartial(frames > 0)
	return nil
}

// notePartial tells the watch whether something is unfinished, and since when.
func (c *conn) notePartial(progress bool) {
	switch partial := c.in.partial() || c.blocks.open(); {
	case !partial:
		if c.partialSince.Load() != 0 {
			c.partialSince.Store(0)
		}
	case c.partialSince.Load() == 0, progress && !c.blocks.open():
		c.partialSince.Store(c.readAt.Load())
	}
}

// sayGoodbye tells a connection error and gives the peer a moment to read it.
func (c *conn) sayGoodbye(e connError) {
	c.blame(e)
	c.mu.Lock()
	last := c.lastStream()
	buf := c.out.buffer()
	buf.bytes = appendGoAway(buf.bytes, last, e.code, e.reason)
	c.finish = true
	c.mu.Unlock()
	c.batch.touch(c)
	c.batch.run()
	if err := c.net.SetReadDeadline(time.Now().Add(lingerWait)); err == nil {
		_, _ = io.Copy(io.Discard, c.net) // until the peer closes, or lingerWait
	}
}

// lastStream is the highest stream that the peer opened, for GOAWAY. conn.mu is held.
func (c *conn) lastStream() uint32 {
	if caller, ok := c.role.(*callerConn); ok {
		return caller.last
	}
	return 0
}

// stream returns the open stream, or nil.
func (c *conn) stream(id uint32) *half {
	c.mu.Lock()
	s := c.streams[id]
	if s != nil {
		c.nuisances.used = 0
	}
	c.mu.Unlock()
	return s
}

// stray judges a frame on a stream that is not open (section 5.1).
func (c *conn) stray(id uint32) error {
	c.mu.Lock()
	idle, own := c.role.idle(id), slices.Contains(c.ownResets, id)
	c.mu.Unlock()
	switch {
	case idle:
		return connError{http2.ErrCodeProtocol, "a frame on an idle stream"}
	case own:
		return c.nuisance() // it was under way when we reset the stream
	}
	return streamError{id, http2.ErrCodeStreamClosed, "a frame on a closed stream"}
}

// streamFailed resets a stream on which the peer has made an error. It returns any other error, and that of a peer that
// makes too many.
func (c *conn) streamFailed(err error) error {
	var e streamError
	if !errors.As(err, &e) {
		return err
	}
	if s := c.stream(e.stream); s == nil {
		c.reset(e.stream, e.code, c.batch)
	} else {
		s.call.mu.Lock()
		s.call.peerFailed(s, e, c.batch)
		s.call.mu.Unlock()
	}
	return c.resetByCaller()
}

// drainStreams lets the open streams finish, then hangs up.
func (c *conn) drainStreams(b *batch) {
	c.unfit.Store(true)
	c.mu.Lock()
	c.draining = true
	c.hangUpIfDone()
	c.mu.Unlock()
	b.touch(c)
}

// hangUpIfDone is called with conn.mu held; whoever calls it sees to a flush.
func (c *conn) hangUpIfDone() {
	if c.draining && len(c.streams) == 0 {
		c.hangUp = true
	}
}
