package bridge

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gateway/internal/zmtp"
)

// client is a ZeroMQ client whose messages become calls.
type client struct {
	inlet  *Inlet
	socket *zmtp.Socket
	from   *Source

	ctx    context.Context // of its calls: ends when it leaves or is cut, and carries the metadata
	cancel context.CancelFunc
	slots  chan struct{} // a token for each request in flight
	asked  sync.WaitGroup

	stopping  chan struct{} // closed when no more requests are taken
	stopOnce  sync.Once
	gone      chan struct{} // closed when the client has left, and nothing of it is under way
	received  int64         // the reader's
	stream    *clientStream // the client's stream, if it has one; the reader's, but ROUTER's drain looks at it with streamMu held
	streamMu  sync.Mutex
	topicLock sync.Mutex
	topics    map[string]context.CancelFunc // PUB: what it asked for
}

// Metadata that tells a service about the ZeroMQ client.
const (
	mdBlock    = "x-zmq-block"        // the zmq block
	mdIdentity = "x-zmq-identity-bin" // the client's routing id, if it has one
	mdUser     = "x-zmq-user"         // PLAIN: the user's name
	mdKey      = "x-zmq-key"          // CURVE: the client's public key, as Z85
	mdClient   = "x-forwarded-for"    // the client's address; not on a unix socket
)

// statusStopping answers whoever asks while the gateway stops.
var statusStopping = status.New(codes.Unavailable, "the gateway is stopping; ask again")

// call serves a client until it leaves.
func (i *Inlet) call(conn *zmtp.Conn, plan *Plan, from *Source) Outcome {
	c := &client{inlet: i, from: from, stopping: make(chan struct{}), gone: make(chan struct{}), topics: map[string]context.CancelFunc{}}
	window := 1
	o := zmtp.SocketOptions{
		Options:          zmtp.Options{SocketType: i.options.Socket, MessageBytesMax: plan.MessageBytesMax},
		QueueMessagesMax: plan.QueueMessagesMax,
		QueueBytesMax:    max(queueBytesMin, 2*plan.MessageBytesMax),
		TopicsMax:        topicsMax,
	}
	var end Outcome
	o.Changed = func(l *zmtp.Link, up bool, err error) {
		if !up {
			end = outcomeOf(l, c.received, err)
		}
	}
	switch i.options.Socket {
	case zmtp.REP:
		o.Receive = c.request
	case zmtp.ROUTER:
		window = plan.QueueMessagesMax
		o.Receive = c.routed
	case zmtp.PULL:
		o.Receive = c.pulled
	case zmtp.PUB:
		o.Subscribed = c.subscribed
	}
	c.slots = make(chan struct{}, window)
	var err error
	if c.socket, err = zmtp.NewSocket(o); err != nil {
		_ = conn.Close() // it was never used
		return Outcome{Result: "failed", Err: err}
	}
	c.ctx, c.cancel = context.WithCancel(metadata.NewOutgoingContext(i.lifetime, clientMetadata(i.options.Name, conn)))
	defer close(c.gone)
	defer c.cancel()
	if !i.enter(c) {
		_ = conn.Close() // it was never used
		return Outcome{Result: "stopping", Err: errStopping}
	}
	if err := c.socket.Attach(conn); errors.Is(err, zmtp.ErrClosed) && end.Result == "" {
		end = Outcome{Result: "stopping", Err: errStopping} // before it was a peer
	}
	c.left()
	i.leave(c)
	_ = c.socket.Close(c.ctx) // its only connection is closed
	return end
}

func clientMetadata(block string, conn *zmtp.Conn) metadata.MD {
	md := metadata.Pairs(mdBlock, block)
	if host := hostOf(conn.RemoteAddr()); host.IsValid() {
		md.Set(mdClient, host.String())
	}
	peer := conn.Peer()
	if id := peer.Identity(); len(id) > 0 {
		md.Set(mdIdentity, string(id))
	}
	switch peer.Mechanism {
	case zmtp.MechanismPlain:
		md.Set(mdUser, peer.User)
	case zmtp.MechanismCurve:
		md.Set(mdKey, peer.Key.String())
	}
	return md
}

// enter reports false when the inlet is stopping.
func (i *Inlet) enter(c *client) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.stopping {
		i.clients[c] = struct{}{}
	}
	return !i.stopping
}

func (i *Inlet) leave(c *client) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.clients, c)
}

// left ends what the client left behind.
func (c *client) left() {
	if c.inlet.options.Socket == zmtp.PULL {
		c.closeStream()
	}
	c.cancel()
	c.asked.Wait()
}

// drain takes no more requests, waits for those in flight, and closes. What a PUSH has sent is delivered.
func (c *client) drain(ctx context.Context) error {
	c.stopOnce.Do(func() { close(c.stopping) })
	err := c.awaitIdle(ctx)
	if closed := c.socket.Close(ctx); err == nil {
		err = closed
	}
	if c.inlet.options.Socket == zmtp.PULL && err == nil {
		err = awaitEnd(ctx, c.gone)
	}
	return err
}

// awaitEnd waits until end is closed, or until ctx ends.
func awaitEnd(ctx context.Context, end <-chan struct{}) error {
	select {
	case <-end:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitIdle waits until no request is in flight.
func (c *client) awaitIdle(ctx context.Context) error {
	switch c.inlet.options.Socket {
	case zmtp.REP:
	case zmtp.ROUTER:
		if err := c.drainStream(ctx); err != nil {
			return err
		}
	default:
		return nil
	}
	for range cap(c.slots) {
		select {
		case c.slots <- struct{}{}:
		case <-c.ctx.Done():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// heard counts a message.
func (c *client) heard() {
	c.received++
	c.inlet.counts.in.Inc()
	c.from.Spoke()
}

// request makes a call of a message. It waits only while too many are in flight.
func (c *client) request(from *zmtp.Link, m *zmtp.Message) {
	c.heard()
	n := envelopeLen(m)
	if n == 0 && c.inlet.options.Socket == zmtp.REP {
		c.inlet.counts.drop("no envelope") // nobody could tell what the reply belongs to
		return
	}
	r := &requested{client: c, from: from, reply: envelopeOf(m, n)}
	if !c.takeSlot() {
		c.answerStatus(from, r.reply, statusStopping)
		return
	}
	c.asked.Add(1)
	plan := c.inlet.plan.Load()
	if plan.codecs.ready.Load() != nil {
		r.ask(plan, m, n)
		return
	}
	body := m.Clone() // the types have to be looked for
	go r.ask(plan, &body, n)
}

// ask calls with the frames of m from the one at on.
func (r *requested) ask(plan *Plan, m *zmtp.Message, at int) {
	ctx, cancel := context.WithTimeout(r.client.ctx, plan.Timeout)
	r.cancel = cancel
	pair, err := plan.codecs.get(ctx)
	if err != nil {
		r.answered(nil, status.Error(codes.Internal, err.Error()))
		return
	}
	r.pair = pair
	data, err := pair.request.toCall(m, at)
	if err != nil {
		r.answered(nil, status.Error(codes.InvalidArgument, err.Error()))
		return
	}
	plan.Calls.Begin(ctx, plan.Method, data, r.answered)
}

// requested is a request that waits for its reply, which whoever brings that sends.
type requested struct {
	client *client
	from   *zmtp.Link
	reply  *zmtp.Message // so far the envelope
	pair   *codecPair
	cancel context.CancelFunc
}

// answered sends the reply. It does not wait: where the client reads nothing a goroutine does.
func (r *requested) answered(data []byte, err error) {
	r.cancel()
	if err == nil {
		err = r.pair.replyTo(r.reply, data)
	}
	c := r.client
	c.inlet.called(err)
	if err != nil {
		appendStatus(r.reply, status.Convert(err))
	}
	switch err := r.from.TrySend(r.reply); {
	case errors.Is(err, zmtp.ErrFull):
		go func() {
			c.answer(r.from, r.reply)
			r.done()
		}()
		return
	case err != nil:
		c.inlet.counts.drop("client gone")
	default:
		c.inlet.counts.out.Inc()
	}
	r.done()
}

// done lets the client ask again.
func (r *requested) done() {
	<-r.client.slots
	r.client.asked.Done()
}

// takeSlot waits for a request's place, and reports false when there will be none.
func (c *client) takeSlot() bool {
	select {
	case c.slots <- struct{}{}:
	case <-c.stopping:
		return false
	case <-c.ctx.Done():
		return false
	}
	select {
	case <-c.stopping: // both were possible
		<-c.slots
		return false
	default:
		return true
	}
}

// answer sends a reply. It waits while the client reads nothing, which holds up this client's requests alone.
func (c *client) answer(to *zmtp.Link, reply *zmtp.Message) {
	if err := to.Send(c.ctx, reply); err != nil {
		c.inlet.counts.drop("client gone")
		return
	}
	c.inlet.counts.out.Inc()
}

func (c *client) answerStatus(to *zmtp.Link, reply *zmtp.Message, s *status.Status) {
	appendStatus(reply, s)
	c.answer(to, reply)
}

// envelopeOf is a message with copies of the first n parts of m.
func envelopeOf(m *zmtp.Message, n int) *zmtp.Message {
	e := &zmtp.Message{}
	for i := range n {
		e.Append(m.Part(i))
	}
	return e
}
