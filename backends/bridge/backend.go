package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"gateway/internal/metrics"
	"gateway/internal/zmtp"
)

// Rules of the backend's files.
//
// Each call has its handler's goroutine, and one that reads what the caller sends. A peer's reader hands a reply to the call
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
	server  *grpc.Server
	dial    func(context.Context) (net.Conn, error)
	served  chan struct{}

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
	peers          prometheus.Gauge
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
		options: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)).With("backend", o.Name), served: make(chan struct{}), codecs: map[string]*codecs{},
		counts: backendCounts{m.BackendCalls.MustCurryWith(name), m.BackendDropped.MustCurryWith(name),
			m.BackendInFlight.With(name), m.BackendPeers.With(name)},
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

// pingIntervalMin is how often the engine may ping.
const pingIntervalMin = time.Second

// serve starts the gRPC server.
func (b *Backend) serve() {
	b.server = grpc.NewServer(
		grpc.UnknownServiceHandler(b.handle),
		grpc.ForceServerCodecV2(bytesCodec{}),
		grpc.MaxRecvMsgSize(b.options.MessageBytesMax),
		grpc.MaxSendMsgSize(math.MaxInt),
		grpc.MaxConcurrentStreams(math.MaxUint32),
		grpc.InitialWindowSize(streamWindowBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingIntervalMin, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	l, dial := NewListener()
	b.dial = dial
	go func() {
		defer close(b.served)
		_ = b.server.Serve(l) // an in-memory listener fails only when it is closed
	}()
}

// Dial connects to the gRPC server.
func (b *Backend) Dial(ctx context.Context) (net.Conn, error) { return b.dial(ctx) }

// Shutdown lets calls end, sends what is queued, and closes; what is still under way when ctx ends is cut. It returns how
// many calls were.
func (b *Backend) Shutdown(ctx context.Context) (cut int) {
	graceful := make(chan struct{})
	go func() {
		b.server.GracefulStop()
		close(graceful)
	}()
	select {
	case <-graceful:
	case <-ctx.Done():
		cut = int(b.inFlight.Load())
		b.server.Stop()
		<-graceful
	}
	<-b.served
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
	b.counts.peers.Set(float64(b.socket.Status().Peers))
	if b.options.Socket == zmtp.REQ {
		b.lanes.changed(l, up)
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
	grpc.ServerStream
	pair *codecPair
	raw  bool // of gateway.v1.Bridge: no status is looked for in replies
}

// handle is the handler of every method.
func (b *Backend) handle(_ any, stream grpc.ServerStream) (err error) {
	if n := b.inFlight.Add(1); n > int64(b.options.QueueMessagesMax) {
		err = status.Errorf(codes.ResourceExhausted, "backend %q has its high-water mark of %d calls in flight", b.options.Name, b.options.QueueMessagesMax)
	}
	b.counts.inFlight.Inc()
	defer func() {
		b.inFlight.Add(-1)
		b.counts.inFlight.Dec()
		b.counts.calls.WithLabelValues(status.Code(err).String()).Inc()
	}()
	if err != nil {
		return err
	}
	method, _ := grpc.MethodFromServerStream(stream)
	if carry := b.generic(method); carry != nil {
		return carry(call{stream, rawPair, true})
	}
	pair, err := b.codecsOf(method).get(stream.Context())
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return b.carry(call{stream, pair, false})
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
	var p payloadBytes
	if err := c.RecvMsg(&p); err != nil {
		return err
	}
	defer p.free()
	if err := c.pair.request.toFrames(m, p.bytes()); err != nil {
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
	if !c.raw {
		if s, is := statusOf(m, at); is {
			return true, s.Err()
		}
	}
	if at >= m.Len() {
		return true, status.Error(codes.Internal, "the reply is an envelope without a body")
	}
	data, err := c.pair.reply.toCall(m, at)
	if err != nil {
		return true, status.Errorf(codes.Internal, "the reply: %v", err)
	}
	if err := c.SendMsg(data); err != nil {
		return true, err
	}
	return false, nil
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
