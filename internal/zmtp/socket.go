package zmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Socket is a set of connections that together keep one of ZeroMQ's patterns (RFC 28 to 30, as libzmq does them):
//
//	type        Send                                          Recv
//	PUSH        to one ready peer after the other             -
//	DEALER      to one ready peer after the other             from all peers in turn
//	REQ         likewise, then waits for that peer's reply    the reply
//	REP         the reply to what was received last           from all peers in turn, without the envelope
//	ROUTER      to the peer that the first part names         from all peers in turn, the peer's name as first part
//	PULL, SUB   -                                             from all peers in turn
//	PUB         to every peer that subscribed to it           -
//
// Peers come by Connect (the socket dials, again and again), by Serve (a listener), and by Attach (a connection whose
// handshake somebody else did). A message goes to a peer that is there: without one, Send waits, as libzmq does with
// ZMQ_IMMEDIATE. Nothing is sent twice.
//
// Queues: each peer has one towards it and one from it, both bounded in messages and in bytes. In front of the one
// towards the peer lies the connection's write buffer (Options.WriteBufferBytes), which is not counted, as the system's
// is not. A peer that does not read fills its queue; then PUSH and DEALER pass it over, PUB drops what it would get, and
// ROUTER, REP and REQ wait for it. A program that does not call Recv fills the queues from the peers, and they wait.
//
// Rules: all methods may be called from any goroutine. Whoever calls Attach lends a goroutine to the peer: it reads
// until the connection ends. Connect and Serve have their own. A Link's queue has a goroutine only while it is not empty.
type Socket struct {
	options SocketOptions
	fair    fairQueue
	lock    lockstep // REQ and REP

	mu       sync.Mutex
	links    []*Link          // ready peers; a change makes a new slice, so that a snapshot stays what it is
	byName   map[string]*Link // ROUTER
	turn     int              // who is next in links
	nextName uint32
	hopeful  int           // endpoints that are being dialled for the first time, or again after a good connection
	changed  chan struct{} // closed when a peer came, left or has room again, or hope ended; nil while nobody waits
	topics   topicSet      // SUB: what it asks for. PUB: how many peers ask for what
	closed   bool

	lifetime context.Context // ends with Close: dials, accepts and handshakes
	end      context.CancelFunc
	tasks    sync.WaitGroup

	sent, received, dropped atomic.Int64
}

// Errors of a Socket's methods.
var (
	// ErrNoPeer is what errors.Is finds when there is nobody to send to.
	ErrNoPeer = errors.New("zmtp: no peer is there")
	// ErrUnroutable is what errors.Is finds when a ROUTER has no peer of that name.
	ErrUnroutable = errors.New("zmtp: no peer has this name")
	// ErrLost is what errors.Is finds when the peer that it is about has gone.
	ErrLost = errors.New("zmtp: the peer has gone")
	// ErrOutOfStep is what errors.Is finds when a REQ or REP sends or receives out of turn.
	ErrOutOfStep = errors.New("zmtp: out of step")
	// ErrNameTaken is what errors.Is finds when a ROUTER's peer has the name of another.
	ErrNameTaken = errors.New("zmtp: another peer has this name")
)

// Defaults of SocketOptions.
const (
	DefaultQueueMessagesMax = 1000 // libzmq's ZMQ_SNDHWM and ZMQ_RCVHWM
	DefaultQueueBytesMax    = 16 << 20
	DefaultTopicsMax        = 10_000
	DefaultPeersMax         = 10_000
	DefaultReconnectMin     = 100 * time.Millisecond // libzmq's ZMQ_RECONNECT_IVL
	DefaultReconnectMax     = 5 * time.Second
)

// SocketOptions say what a socket is. Only SocketType is required.
type SocketOptions struct {
	Options // of each connection

	QueueMessagesMax int // 0 = 1000: high-water mark of each of a peer's two queues
	QueueBytesMax    int // 0 = 16 MiB, of each of a peer's two queues; one larger message fits into an empty queue
	TopicsMax        int // 0 = 10 000 topics that one subscriber may ask for
	PeersMax         int // 0 = 10 000 connections of one Serve, in their handshake or after it; more wait to be accepted

	ReconnectMin time.Duration // 0 = 100 ms: pause after the first failure to connect; it doubles
	ReconnectMax time.Duration // 0 = 5 s: the longest pause

	// Receive takes each message in place of Recv, in its peer's own goroutine: what it waits for, its peer waits for. The
	// message is the socket's again when it returns. The types that keep an envelope (REQ, REP, ROUTER) hand it over as
	// it came. nil = messages are queued for Recv.
	Receive func(from *Link, m *Message)
	// Changed is told of each peer that came (up) or left, and why; calls for one peer come in order. nil = nobody is.
	Changed func(l *Link, up bool, err error)
	// Subscribed is told when the first subscriber of a PUB asks for a topic, and when the last takes it back. It must not
	// wait. nil = nobody is.
	Subscribed func(topic []byte, wanted bool)
	// ConnectFailed is told of each failed attempt to connect to an endpoint. nil = nobody is.
	ConnectFailed func(endpoint string, err error)
}

func (o SocketOptions) withDefaults() SocketOptions {
	o.Options = o.Options.withDefaults()
	for _, f := range []struct {
		field *int
		value int
	}{
		{&o.QueueMessagesMax, DefaultQueueMessagesMax}, {&o.QueueBytesMax, DefaultQueueBytesMax},
		{&o.TopicsMax, DefaultTopicsMax}, {&o.PeersMax, DefaultPeersMax},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if o.ReconnectMin == 0 {
		o.ReconnectMin = DefaultReconnectMin
	}
	if o.ReconnectMax == 0 {
		o.ReconnectMax = max(DefaultReconnectMax, o.ReconnectMin)
	}
	return o
}

// SocketStatus is what a socket did and does.
type SocketStatus struct {
	Peers    int   // ready now
	Sent     int64 // messages given to peers; a PUB counts each copy
	Received int64 // messages from peers
	Dropped  int64 // messages that a slow, lost or unknown peer did not get, and malformed ones
}

// NewSocket makes a socket without peers.
func NewSocket(o SocketOptions) (*Socket, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	switch o.SocketType {
	case REQ, REP, DEALER, ROUTER, PUB, SUB, PUSH, PULL:
	default:
		return nil, fmt.Errorf("zmtp: socket: %s is no pattern of Socket", o.SocketType)
	}
	s := &Socket{options: o, byName: map[string]*Link{}}
	s.fair.init()
	s.lifetime, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Status tells what the socket did and does.
func (s *Socket) Status() SocketStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SocketStatus{Peers: len(s.links), Sent: s.sent.Load(), Received: s.received.Load(), Dropped: s.dropped.Load()}
}

// Attach makes a peer of a connection and reads from it until it ends: io.EOF, or as Conn.Recv says. It closes c, and
// returns when Recv has taken the last message. With ErrNameTaken and ErrClosed c never was a peer. The connection's
// Options must be of the socket's type.
func (s *Socket) Attach(c *Conn) error {
	return s.attach(newLink(s, c, nil), s.options.Receive)
}

// AttachFunc is Attach for a peer whose messages receive gets in place of SocketOptions.Receive.
func (s *Socket) AttachFunc(c *Conn, receive func(from *Link, m *Message)) error {
	return s.attach(newLink(s, c, nil), receive)
}

func (s *Socket) attach(l *Link, receive func(from *Link, m *Message)) error {
	if err := s.join(l); err != nil {
		_ = l.conn.Close() // it never was a peer
		return err
	}
	if changed := s.options.Changed; changed != nil {
		changed(l, true, nil)
	}
	if receive == nil {
		receive = s.fair.put
	}
	err := l.read(receive)
	s.leave(l)
	l.end(err)
	if changed := s.options.Changed; changed != nil {
		changed(l, false, err)
	}
	return err
}

// join makes l known.
func (s *Socket) join(l *Link) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.options.SocketType == ROUTER {
		if err := s.name(l); err != nil {
			return err
		}
	}
	s.links = append(slices.Clone(s.links), l)
	if l.endpoint != nil {
		s.despair(l.endpoint)
	}
	s.tellTopics(l)
	s.wake()
	return nil
}

// leave forgets l.
func (s *Socket) leave(l *Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.without(l)
	if s.byName[l.name] == l {
		delete(s.byName, l.name)
	}
	if s.options.SocketType == PUB {
		s.forgetWishes(l)
	}
	if l.promising() {
		s.hope(l.endpoint)
	}
	s.wake()
}

// without takes l from the ready peers. s.mu is held.
func (s *Socket) without(l *Link) {
	s.links = slices.DeleteFunc(slices.Clone(s.links), func(have *Link) bool { return have == l })
}

// disregard sends nothing to l any more.
func (s *Socket) disregard(l *Link) {
	s.mu.Lock()
	s.without(l)
	s.mu.Unlock()
}

// wake lets all look again who wait for a change. s.mu is held.
func (s *Socket) wake() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// change returns the channel that the next change closes. s.mu is held.
func (s *Socket) change() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// Serve accepts peers from a listener until Close or until the listener fails. It closes the listener. Peers stay when
// it returns. Several listeners may be served.
func (s *Socket) Serve(l net.Listener) error {
	stop := context.AfterFunc(s.lifetime, func() { _ = l.Close() })
	defer func() {
		stop()
		_ = l.Close() // Close of the socket may have closed it
	}()
	places := make(chan struct{}, s.options.PeersMax)
	for {
		select {
		case places <- struct{}{}:
		case <-s.lifetime.Done():
			return nil
		}
		nc, err := l.Accept()
		if err != nil {
			passed := s.lifetime.Err() == nil && passes(err) && s.pause(acceptPause)
			switch {
			case s.lifetime.Err() != nil:
				return nil
			case !passed:
				return fmt.Errorf("zmtp: accept: %w", err)
			}
			<-places
			continue
		}
		if !s.start(func() { s.accept(nc, places) }) {
			_ = nc.Close() // the socket was closed meanwhile
			return nil
		}
	}
}

// acceptPause is how long Serve waits after an error that passes, such as too many open files.
const acceptPause = 50 * time.Millisecond

// passing are errors of accept(2) that leave the listener usable, beside those that call themselves temporary: memory that
// runs out, and errors of the connection itself, which Linux reports through accept.
var passing = []syscall.Errno{
	syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.ENETUNREACH,
	syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP,
}

// passes says whether accepting can go on after this error.
func passes(err error) bool {
	var temporary interface{ Temporary() bool }
	return errors.As(err, &temporary) && temporary.Temporary() ||
		slices.ContainsFunc(passing, func(errno syscall.Errno) bool { return errors.Is(err, errno) })
}

// pause waits, and says whether the socket is still open.
func (s *Socket) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.lifetime.Done():
		return false
	}
}

func (s *Socket) accept(nc net.Conn, places <-chan struct{}) {
	defer func() { <-places }()
	if c, err := Accept(s.lifetime, nc, s.options.Options); err == nil {
		_ = s.Attach(c) // Changed was told
	}
}

// start runs a task that Close waits for. It reports false when the socket is closed.
func (s *Socket) start(task func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.tasks.Go(task)
	return true
}

// Close ends the socket: Send and Recv return ErrClosed, no peer comes any more. What was sent is still written, until
// ctx ends. When Close returns, all connections are closed, and no goroutine of the socket is left but those that called
// Attach, which are about to return. A second Close waits for nothing.
func (s *Socket) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	links := s.links
	s.wake()
	s.mu.Unlock()
	s.end()
	s.fair.close()

	var flushed sync.WaitGroup
	errs := make([]error, len(links))
	for i, l := range links {
		flushed.Go(func() {
			errs[i] = l.flush(ctx)
			_ = l.conn.Close() // its reader tells the end
		})
	}
	flushed.Wait()
	s.tasks.Wait()
	return errors.Join(errs...)
}
