package bridge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gateway/internal/metrics"
	"gateway/internal/zmtp"
)

// Rules of the inlet's files.
//
// Each client has a socket of its own with one peer, whose reader is the goroutine of ServeConn: what a handler waits for,
// that client waits for, and nobody else. A request is asked by the reader, which does not wait for the reply: who brings that
// sends it (client.go). So the reader notices when the client leaves; that cancels what it asked for, except for what a PUSH sent, which nobody waits for. The plan is loaded
// anew for each message, so that a reload counts at once.

// Defaults of a Plan.
const (
	callTimeoutDefault     = 30 * time.Second
	messageBytesMaxDefault = 16 << 20
	queueMessagesDefault   = zmtp.DefaultQueueMessagesMax

	// topicsMax is how many topics a SUB client may ask for: each is a call.
	topicsMax = 1000
	// queueBytesMin is the least that a client's queue takes; a queue of two of the largest messages takes more.
	queueBytesMin = 1 << 20
)

// Plan says what becomes of an Inlet's messages. It must not change once it is given.
type Plan struct {
	// Method is where messages go: "/package.Service/Method". "": they are forwarded.
	Method string
	// Stream says that the method is a stream of the client's messages: ROUTER opens one bidirectional call for each
	// client, PULL one client stream. false: each message is a call. PUB's calls are server streams in any case.
	Stream bool
	// Payload is what frames and calls' messages stand for each other by. JSON needs Types.
	Payload Payload
	// Types finds the method's types. nil: JSON is refused with INTERNAL.
	Types Types
	// TopicField is the number of the string or bytes field of a server stream's request that takes the topic. 0: none.
	TopicField int
	// Timeout bounds a call that is not a stream. 0: 30 s.
	Timeout time.Duration
	// Calls is where calls go: the gRPC engine, which chooses among backends.
	Calls *Calls
	// Forward is where messages go that are no calls.
	Forward []Upstream

	// What follows holds for clients that come from then on.

	// QueueMessagesMax bounds what is queued for a client, and a ROUTER client's calls in flight. 0: 1000.
	QueueMessagesMax int
	// MessageBytesMax bounds a message. 0: 16 MiB.
	MessageBytesMax int
	// SocketTypes are those that a client may have. nil: all that fit.
	SocketTypes []zmtp.SocketType
	// Identity is how a client's routing id must begin.
	Identity string
	Access

	codecs *codecs
}

// Access says who may come in. NULL clients may if neither a key nor users are named.
type Access struct {
	// Secret terminates CURVE. nil: it is refused.
	Secret *zmtp.SecretKey
	// Clients are the public keys that may come. nil: everybody who knows the gateway's.
	Clients map[zmtp.PublicKey]bool
	// Users are the passwords of PLAIN users by name. nil: PLAIN is refused.
	Users map[string]string
}

// protocolZMQ is what a Meter calls it.
const protocolZMQ = "zmq"

// Outcome is how a client's connection ended.
type Outcome struct {
	Messages int64  // that came
	BytesIn  int64  // of the connection, from the client
	BytesOut int64  // to the client
	Result   string // in a word or two: a bounded set
	Err      error  // what went wrong, if anything
}

// InletOptions are what an Inlet keeps for life.
type InletOptions struct {
	// Name is the block's, for metrics and logs.
	Name string
	// Socket is what the gateway plays: REP, ROUTER, PULL or PUB.
	Socket zmtp.SocketType
	// Metrics counts. nil: nobody sees it.
	Metrics *metrics.Bridge
	// Service keeps account of who still speaks ZeroMQ. nil: nobody does.
	Service *Service
	// Log receives what an operator must know. nil: nothing is logged.
	Log *slog.Logger
}

// Inlet serves the ZeroMQ clients of one block. Make one with NewInlet; it is safe for concurrent use.
type Inlet struct {
	options InletOptions
	log     *slog.Logger
	counts  inletCounts
	plan    atomic.Pointer[Plan]
	forward *forwarder // of the block's messages that are no calls

	mu       sync.Mutex
	clients  map[*client]struct{}
	stopping bool
	serving  sync.WaitGroup

	lifetime context.Context // ends when Shutdown waits no longer
	cut      context.CancelFunc
}

// NewInlet makes an Inlet; SetPlan must follow before a client comes.
func NewInlet(o InletOptions) (*Inlet, error) {
	switch o.Socket {
	case zmtp.REP, zmtp.ROUTER, zmtp.PULL, zmtp.PUB:
	default:
		return nil, fmt.Errorf("bridge: a zmq block plays REP, ROUTER, PULL or PUB, not %s", o.Socket)
	}
	i := &Inlet{options: o, log: cmp.Or(o.Log, slog.New(slog.DiscardHandler)), clients: map[*client]struct{}{}, counts: countsOf(o)}
	i.lifetime, i.cut = context.WithCancel(context.Background())
	return i, nil
}

// SetPlan makes p count for all messages from now on.
func (i *Inlet) SetPlan(p *Plan) error {
	complete := *p
	complete.codecs = &codecs{payload: p.Payload, types: p.Types, method: p.Method}
	complete.Timeout = cmp.Or(p.Timeout, callTimeoutDefault)
	complete.MessageBytesMax = cmp.Or(p.MessageBytesMax, messageBytesMaxDefault)
	complete.QueueMessagesMax = cmp.Or(p.QueueMessagesMax, queueMessagesDefault)
	if complete.Method == "" {
		if i.forward == nil {
			f, err := newForwarder(i, &complete)
			if err != nil {
				return err
			}
			i.forward = f
		}
		if err := i.forward.setUpstreams(complete.Forward); err != nil {
			return err
		}
	}
	i.plan.Store(&complete)
	return nil
}

var (
	errMechanism = errors.New("the block has neither a key nor users for this mechanism")
	errKey       = errors.New("the key is not in curve_clients")
	errUser      = errors.New("unknown user or wrong password")
	errUnmatched = errors.New("the block's match does not take it")
	errStopping  = errors.New("the gateway is stopping")
)

// security is this side's part in the mechanism that the client has named.
func (a Access) security(m zmtp.Mechanism) (zmtp.Security, error) {
	switch {
	case m == zmtp.MechanismNull && a.Secret == nil && a.Users == nil:
		return zmtp.Null{}, nil
	case m == zmtp.MechanismCurve && a.Secret != nil:
		return zmtp.CurveServer{Secret: *a.Secret, Authenticate: a.knows}, nil
	case m == zmtp.MechanismPlain && a.Users != nil:
		return zmtp.PlainServer{Authenticate: a.login}, nil
	}
	return nil, fmt.Errorf("%s: %w", m, errMechanism)
}

func (a Access) knows(key zmtp.PublicKey) error {
	if a.Clients != nil && !a.Clients[key] {
		return errKey
	}
	return nil
}

// ServeConn takes over a client that was answered as far as l says, and calls done when it has ended and its connection is
// closed. It returns at once.
func (i *Inlet) ServeConn(ctx context.Context, l *zmtp.Ladder, remote net.Addr, done func(Outcome)) {
	i.mu.Lock()
	stopping := i.stopping
	if !stopping {
		i.serving.Add(1)
	}
	i.mu.Unlock()
	if stopping {
		_, _, conn := l.HandOver()
		_ = conn.Close() // whatever it says, it is closed
		done(Outcome{Result: "stopping", Err: errStopping})
		return
	}
	go func() {
		defer i.serving.Done()
		done(i.serve(ctx, l, remote))
	}()
}

func (i *Inlet) serve(ctx context.Context, l *zmtp.Ladder, remote net.Addr) Outcome {
	plan := i.plan.Load()
	conn, err := i.accept(ctx, l, plan)
	if err != nil {
		i.counts.refused.Inc()
		return Outcome{Result: "handshake failed", Err: err}
	}
	from := i.options.Service.Come(protocolZMQ, remote)
	defer from.Left()
	i.counts.clients.Inc()
	defer i.counts.clients.Dec()
	if plan.Method == "" {
		return i.forward.serve(conn, from)
	}
	return i.call(conn, plan, from)
}

// accept does the handshake.
func (i *Inlet) accept(ctx context.Context, l *zmtp.Ladder, plan *Plan) (*zmtp.Conn, error) {
	greeting, err := l.Greeting(ctx)
	if err == nil {
		var security zmtp.Security
		if security, err = plan.security(greeting.Mechanism); err == nil {
			return plan.welcome(l.Accept(ctx, zmtp.Options{SocketType: i.options.Socket, Security: security, MessageBytesMax: plan.MessageBytesMax}))
		}
	}
	_, _, conn := l.HandOver()
	_ = conn.Close() // the error says more
	return nil, err
}

// welcome turns away whose socket or routing id the block does not take. Under CURVE and PLAIN they show only now.
func (p *Plan) welcome(conn *zmtp.Conn, err error) (*zmtp.Conn, error) {
	if err != nil {
		return nil, err
	}
	peer := conn.Peer()
	if !bytes.HasPrefix(peer.Identity(), []byte(p.Identity)) || len(p.SocketTypes) > 0 && !slices.Contains(p.SocketTypes, peer.SocketType()) {
		_ = conn.Close() // the error says more
		return nil, fmt.Errorf("a %s with identity %.16q: %w", peer.SocketType(), peer.Identity(), errUnmatched)
	}
	return conn, nil
}

// Shutdown answers what was asked, tells who asks more that the gateway is stopping, and closes; what is still under way
// when ctx ends is cut. It returns how many clients were.
func (i *Inlet) Shutdown(ctx context.Context) (cut int) {
	i.mu.Lock()
	i.stopping = true
	clients := make([]*client, 0, len(i.clients))
	for c := range i.clients {
		clients = append(clients, c)
	}
	i.mu.Unlock()
	var drained sync.WaitGroup
	var cuts atomic.Int64
	for _, c := range clients {
		drained.Go(func() {
			if c.drain(ctx) != nil {
				cuts.Add(1)
			}
		})
	}
	if i.forward != nil {
		drained.Go(func() { cuts.Add(int64(i.forward.shutdown(ctx))) })
	}
	drained.Wait()
	i.cut()
	i.serving.Wait()
	return int(cuts.Load())
}

// Clients is how many clients are there.
func (i *Inlet) Clients() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.clients)
}

// UpstreamStatus is what an Inlet that forwards does with one service.
type UpstreamStatus struct {
	Name  string
	Peers int   // connections
	Sent  int64 // messages, since it is forwarded to
}

// Upstreams returns what an Inlet that forwards does now.
func (i *Inlet) Upstreams() []UpstreamStatus {
	if i.forward == nil {
		return nil
	}
	return i.forward.status()
}
