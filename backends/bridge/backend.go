package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gateway/internal/metrics"
	"gateway/internal/zmtp"
)

// Rules of the backend's files.
//
// A call of one message on a DEALER is carried by whoever brings the message, and then the reply (asked.go). Any other call
// has its handler's goroutine, and one that reads what the caller sends. A peer's reader hands a reply to the call
// that waits for it and never waits itself: a call that does not take its replies fails. A call knows the connection that its
// request went over (zmtp.Link), and fails when that has gone without a reply.

// BackendOptions are what a Backend needs. Name, Endpoints and Socket are required.
type BackendOptions struct {
	// Name is the backend's, for metrics, messages and logs.
	Name string
	// Endpoints are where the service binds: "tcp://host:port", "ipc:///path". Names are resolved for each connection.
	Endpoints []string
	// Socket is what the gateway plays: REQ, DEALER, PUSH or SUB.
	Socket zmtp.SocketType
	// Security is the gateway's part towards it. nil: NULL.
	Security zmtp.Security
	// QueueMessagesMax is the high-water mark: messages queued for one connection, and calls in flight in all. 0: 1000.
	QueueMessagesMax int
	// MessageBytesMax bounds a message, either way. 0: 16 MiB.
	MessageBytesMax int
	// Payload is what calls' messages and frames stand for each other by. JSON needs Types.
	Payload Payload
	// Types finds the methods' types. nil: JSON is refused with INTERNAL.
	Types Types
	// TopicField is the number of the string or bytes field of a SUB's request in which the topic is. 0: everything.
	TopicField int
	// ReconnectMin and ReconnectMax are the pauses between attempts to connect. 0: 100 ms and 5 s.
	ReconnectMin, ReconnectMax time.Duration
	// Metrics counts. nil: nobody sees it.
	Metrics *metrics.Bridge
	// Log receives what an operator must know: a service lost, a service back. nil: nothing is logged.
	Log *slog.Logger
}

// Backend is a gRPC server in front of a ZeroMQ service. Make one with NewBackend; it is safe for concurrent use.
type Backend struct {
	options BackendOptions
	log     *slog.Logger
	socket  *zmtp.Socket
	carry   func(call) error // by the socket's type
	server  frameServer

	dealer dealer
	lanes  lanes
	feeds  feeds

	inFlight atomic.Int64
	counts   backendCounts

	mu      sync.Mutex
	codecs  map[string]*codecs // by method
	refused bool               // the last attempt to connect failed as the service refused the gateway's key
	lost    bool               // logged
}

// methodsMax bounds the methods whose types are remembered.
const methodsMax = 1000

type backendCounts struct {
	calls, dropped *prometheus.CounterVec
	inFlight       prometheus.Gauge
}

// NewBackend makes a Backend, which begins to connect.
func NewBackend(o BackendOptions) (*Backend, error) {
	o.QueueMessagesMax = cmp.Or(o.QueueMessagesMax, queueMessagesDefault)
	o.MessageBytesMax = cmp.Or(o.MessageBytesMax, messageBytesMaxDefault)
	m := o.Metrics
	if m == nil {
		m = metrics.New().Bridge
	}
	name := prometheus.Labels{"backend": o.Name}
	b := &Backend{
		options: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)).With("backend", o.Name), codecs: map[string]*codecs{},
		counts: backendCounts{m.BackendCalls.MustCurryWith(name), m.BackendDropped.MustCurryWith(name),
			m.BackendInFlight.With(name)},
	}
	so := b.socketOptions()
	switch o.Socket {
	case zmtp.DEALER:
		b.carry, so.Receive = b.deal, b.dealer.receive
		b.dealer.init(b)
	case zmtp.REQ:
		b.carry, so.Receive = b.request, b.lanes.receive
		b.lanes.init(b)
	case zmtp.PUSH:
		b.carry = b.push
	case zmtp.SUB:
		b.carry, so.Receive = b.subscribe, b.feeds.receive
		b.feeds.init(b)
	default:
		return nil, fmt.Errorf("bridge: a zmq backend is reached by REQ, DEALER, PUSH or SUB, not %s", o.Socket)
	}
	var err error
	if b.socket, err = zmtp.NewSocket(so); err != nil {
		return nil, err
	}
	for _, endpoint := range o.Endpoints {
		if err := b.socket.Connect(endpoint); err != nil {
			_ = b.socket.Close(context.Background()) // nothing was sent
			return nil, err
		}
	}
	b.serve()
	return b, nil
}

func (b *Backend) socketOptions() zmtp.SocketOptions {
	return zmtp.SocketOptions{
		Options:          zmtp.Options{SocketType: b.options.Socket, Security: b.options.Security, MessageBytesMax: b.options.MessageBytesMax},
		QueueMessagesMax: b.options.QueueMessagesMax,
		QueueBytesMax:    max(queueBytesMin, 2*b.options.MessageBytesMax),
		ReconnectMin:     b.options.ReconnectMin,
		ReconnectMax:     b.options.ReconnectMax,
		Changed:          b.changed,
		ConnectFailed:    b.connectFailed,
	}
}

// serve makes the server that the engine calls.
func (b *Backend) serve() {
	b.server = frameServer{handle: b.handle, quick: b.quick, messageBytesMax: b.options.MessageBytesMax}
	b.server.init()
}

// Dial connects to the backend as a gRPC server.
func (b *Backend) Dial(ctx context.Context) (net.Conn, error) { return b.server.dial(ctx) }

// Shutdown lets calls end, sends what is queued, and closes; what is still under way when ctx ends is cut. It returns how
// many calls were.
func (b *Backend) Shutdown(ctx context.Context) (cut int) {
	b.server.shutdown(ctx, func() { cut = int(b.inFlight.Load()) })
	if err := b.socket.Close(ctx); err != nil {
		b.log.Debug("not all was sent", "error", err)
	}
	return cut
}

// BackendStatus is what a Backend does now.
type BackendStatus struct {
	Name      string   `json:"name"`
	Socket    string   `json:"socket"`
	Endpoints []string `json:"endpoints"`
	Peers     int      `json:"peers"`     // connections
	InFlight  int64    `json:"in_flight"` // calls
}

// Status returns what the backend does now.
func (b *Backend) Status() BackendStatus {
	return BackendStatus{b.options.Name, string(b.options.Socket), b.options.Endpoints, b.socket.Status().Peers, b.inFlight.Load()}
}

// changed follows connections that come and go.
func (b *Backend) changed(l *zmtp.Link, up bool, err error) {
	switch b.options.Socket {
	case zmtp.REQ:
		b.lanes.changed(l, up)
	case zmtp.DEALER:
		if !up {
			b.dealer.lost(l)
		}
	}
	if !up {
		b.log.Debug("connection ended", "peer", l.RemoteAddr(), "error", err)
		return
	}
	b.mu.Lock()
	back := b.lost
	b.lost, b.refused = false, false
	b.mu.Unlock()
	if back {
		b.log.Info("zmq service is back", "peer", l.RemoteAddr())
	}
}

// connectFailed logs the first failure in a row.
func (b *Backend) connectFailed(endpoint string, err error) {
	var refusal *zmtp.PeerError
	b.mu.Lock()
	first := !b.lost
	b.lost, b.refused = true, errors.As(err, &refusal)
	b.mu.Unlock()
	if first {
		b.log.Warn("zmq service lost", "endpoint", endpoint, "error", err)
	}
}

// call is one call under way.
type call struct {
	*serverCall
	pair *codecPair
	raw  bool // of gateway.v1.Bridge: no status is looked for in replies
}

// handle carries any call, by a goroutine of its own.
func (b *Backend) handle(c *serverCall) (err error) {
	full := !b.enter()
	defer b.leave()
	defer c.drained() // a caller that does not read counts as long as its replies are held
	defer func() { b.counted(err) }()
	if full {
		return status.Errorf(codes.ResourceExhausted, "backend %q has its high-water mark of %d calls in flight", b.options.Name, b.options.QueueMessagesMax)
	}
	if carry := b.generic(c.method); carry != nil {
		return carry(call{c, rawPair, true})
	}
	pair, err := b.codecsOf(c.method).get(c.Context())
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return b.carry(call{c, pair, false})
}

// enter counts a call, and reports false if it is one too many.
func (b *Backend) enter() bool {
	b.counts.inFlight.Inc()
	return b.inFlight.Add(1) <= int64(b.options.QueueMessagesMax)
}

func (b *Backend) leave() {
	b.inFlight.Add(-1)
	b.counts.inFlight.Dec()
}

// counted counts how a call has ended.
func (b *Backend) counted(err error) {
	b.counts.calls.WithLabelValues(status.Code(err).String()).Inc()
}

func (b *Backend) codecsOf(method string) *codecs {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.codecs[method]
	if c == nil {
		if len(b.codecs) >= methodsMax {
			clear(b.codecs) // names that nobody knows
		}
		c = &codecs{payload: b.options.Payload, types: b.options.Types, method: method}
		b.codecs[method] = c
	}
	return c
}

// receive appends to m the frames of the caller's next message; io.EOF when it has sent all.
func (c call) receive(m *zmtp.Message) error {
	data, err := c.Recv()
	if err != nil {
		return err
	}
	if err := c.pair.request.toFrames(m, data); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return nil
}

// receiveFirst is receive for the one message that every call has.
func (c call) receiveFirst(m *zmtp.Message) error {
	err := c.receive(m)
	if errors.Is(err, io.EOF) {
		return status.Error(codes.InvalidArgument, "the call has no message")
	}
	return err
}

// reply sends the caller what the frames of m say from the one at on. A status ends the call: with err nil it ended well.
func (c call) reply(m *zmtp.Message, at int) (ended bool, err error) {
	r, err := c.answer(m, at)
	if !r.is {
		return true, err
	}
	if err := c.Send(r.data); err != nil {
		return true, err
	}
	return false, nil
}

// answer is what the frames of m say from the one at on: a message, or else how the call has ended.
func (c call) answer(m *zmtp.Message, at int) (replied, error) {
	if !c.raw {
		if s, is := statusOf(m, at); is {
			return replied{}, s.Err()
		}
	}
	if at >= m.Len() {
		return replied{}, status.Error(codes.Internal, "the reply is an envelope without a body")
	}
	data, err := c.pair.reply.toCall(m, at)
	if err != nil {
		return replied{}, status.Errorf(codes.Internal, "the reply: %v", err)
	}
	return replied{data, true}, nil
}

// pushback tells the caller's retries to leave it: the request may have been acted upon.
var pushback = metadata.Pairs("grpc-retry-pushback-ms", "-1")

// lostError is the status of a call whose connection has gone.
func (c call) lostError(b *Backend, l *zmtp.Link) error {
	c.SetTrailer(pushback)
	if errors.Is(l.Err(), zmtp.ErrTooLarge) {
		return status.Errorf(codes.ResourceExhausted, "backend %q sent more than %d bytes", b.options.Name, b.options.MessageBytesMax)
	}
	return status.Errorf(codes.Unavailable, "backend %q was lost after the request was sent: %v", b.options.Name, l.Err())
}

// sendError is the status of a request that was not sent.
func (b *Backend) sendError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, zmtp.ErrFull):
		return status.Errorf(codes.ResourceExhausted, "backend %q does not keep up: its high-water mark of %d messages is reached", b.options.Name, b.options.QueueMessagesMax)
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	}
	b.mu.Lock()
	refused := b.refused
	b.mu.Unlock()
	if refused {
		return status.Errorf(codes.Unauthenticated, "backend %q refuses the gateway's key", b.options.Name)
	}
	return status.Errorf(codes.Unavailable, "the gateway cannot reach backend %q", b.options.Name)
}

func (b *Backend) drop(reason string) { b.counts.dropped.WithLabelValues(reason).Inc() }
