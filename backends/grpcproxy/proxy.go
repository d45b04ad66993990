package grpcproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gateway/internal/metrics"
)

// Proxy is a gRPC reverse proxy. Make one with New; it is safe for concurrent use.
type Proxy struct {
	table           atomic.Pointer[table]
	unrouted        counts // of calls without a route
	log             *slog.Logger
	metrics         *metrics.Metrics
	resolver        *net.Resolver
	own             *ownServices // nil: none
	streamsMax      uint32
	messageBytesMax int64
	headerBytesMax  int
	keepalive       time.Duration
	budget          budget
	abuses          *prometheus.CounterVec // reason
	tracer          Tracer                 // nil: no spans
	epoch           time.Time
	ledger          Ledger // nil: nobody keeps account

	ctx    context.Context // ends with the proxy: what dials must stop
	cancel context.CancelFunc
	tasks  sync.WaitGroup // connections' readers and dials

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	callers   map[*conn]struct{}
	others    map[*conn]struct{} // to backends
	idle      chan struct{}      // closed when stopping and no caller is left
	stopping  bool               // no more listeners, connections, calls
	stopped   bool               // no more tasks
	backends  []*backend         // that the plan names
	leaving   []*backend         // that earlier ones named, until their calls are over
}

// Status is a snapshot for people.
type Status struct {
	Callers       int             `json:"callers"`        // client connections
	BufferedBytes int64           `json:"buffered_bytes"` // held back for slow readers and for retries
	Backends      []BackendStatus `json:"backends"`
	Routes        []RouteStatus   `json:"routes"`
	Mirrors       []MirrorStatus  `json:"mirrors,omitempty"`
}

// BackendStatus is what a backend does now.
type BackendStatus struct {
	Name      string         `json:"name"`
	LastError string         `json:"last_error,omitempty"` // of looking names up
	Active    int64          `json:"active"`               // calls in flight
	Started   int64          `json:"started"`              // calls since the start
	Targets   []TargetStatus `json:"targets"`
}

// RouteStatus is how many calls of a route went to a backend since the route is as it is.
type RouteStatus struct {
	Route   string `json:"route"`
	Backend string `json:"backend"`
	Started int64  `json:"started"`
}

// TargetStatus is what one address of a backend does now.
type TargetStatus struct {
	Address     string `json:"address"`
	Connections int    `json:"connections"`
	Active      int64  `json:"active"`               // calls in flight
	Started     int64  `json:"started"`              // requests sent to it
	Ejected     bool   `json:"ejected,omitempty"`    // after failures in a row
	Unhealthy   bool   `json:"unhealthy,omitempty"`  // by grpc.health.v1
	LastError   string `json:"last_error,omitempty"` // why there is no connection
}

// New checks the options and makes a Proxy. It connects to nothing yet.
func New(o Options) (*Proxy, error) {
	o = o.withDefaults()
	p := &Proxy{
		log: o.Log, metrics: o.Metrics, ledger: o.Ledger, keepalive: o.Keepalive, abuses: o.Metrics.GRPC.Abuses, streamsMax: o.StreamsMax,
		messageBytesMax: o.MessageBytesMax, headerBytesMax: o.HeaderBytesMax, resolver: o.Resolver, tracer: o.Tracer, epoch: time.Now(),
		listeners: map[net.Listener]struct{}{}, callers: map[*conn]struct{}{}, others: map[*conn]struct{}{},
	}
	p.budget.max = o.BufferBytesMax
	p.unrouted = newCounts(o.Metrics.GRPC, "")
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.table.Store(newTable())
	if o.OwnServices {
		var err error
		if p.own, err = newOwnServices(p); err != nil {
			p.cancel()
			return nil, err
		}
	}
	plan, err := p.Plan(o.Routes, o.Backends)
	if err != nil {
		p.cancel()
		p.own.stop()
		return nil, err
	}
	p.tasks.Go(p.watch)
	p.Apply(plan)
	return p, nil
}

// now is the proxy's clock: monotonic, from its start.
func (p *Proxy) now() time.Duration { return time.Since(p.epoch) }

// Serve accepts connections until the listener fails or Shutdown. It may be called for several listeners. It returns
// nil after Shutdown; it closes the listener.
func (p *Proxy) Serve(l net.Listener) error {
	defer func() { _ = l.Close() }() // Shutdown may have closed it
	if !p.listen(l) {
		return nil
	}
	for {
		socket, err := l.Accept()
		if err != nil {
			if p.unlisten(l) {
				return nil
			}
			return fmt.Errorf("accept a grpc client: %w", err)
		}
		p.serveSocket(socket, nil)
	}
}

// listen reports false when the proxy is stopping.
func (p *Proxy) listen(l net.Listener) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopping {
		p.listeners[l] = struct{}{}
	}
	return !p.stopping
}

// unlisten reports whether the proxy is stopping.
func (p *Proxy) unlisten(l net.Listener) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.listeners, l)
	return p.stopping
}

// serveSocket serves a client all of whose calls go one way; nil: they are routed.
func (p *Proxy) serveSocket(socket net.Conn, fixed *route) {
	cc := &callerConn{fixed: fixed}
	cc.conn = newConn(p, socket, cc)
	p.mu.Lock()
	if p.stopping {
		p.mu.Unlock()
		cc.drop()
		return
	}
	p.callers[cc.conn] = struct{}{}
	p.tasks.Go(cc.serve)
	p.mu.Unlock()
}

// start runs a task that ends with the proxy. It reports false when the proxy has been stopped.
func (p *Proxy) start(task func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	p.tasks.Go(task)
	return true
}

// serveBackend runs a connection to a backend. It reports false when the proxy has been stopped.
func (p *Proxy) serveBackend(bc *backendConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	p.others[bc.conn] = struct{}{}
	p.tasks.Go(bc.serve)
	return true
}

// forget is called for each connection when it is no more.
func (p *Proxy) forget(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.others, c)
	delete(p.callers, c)
	if p.idle != nil && len(p.callers) == 0 {
		close(p.idle)
		p.idle = nil
	}
}

// Shutdown closes the listeners, sends GOAWAY to all clients, waits for their calls, and stops; calls still open when
// ctx ends are cut. It returns ctx's error where connections were cut.
func (p *Proxy) Shutdown(ctx context.Context) error {
	for _, r := range p.table.Load().all {
		r.endMirrors()
	}
	idle := p.stop()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = fmt.Errorf("grpc clients were cut: %w", ctx.Err())
	}
	p.mu.Lock()
	p.stopped = true
	backends := slices.Concat(p.backends, p.leaving)
	p.cancel()
	for _, conns := range []map[*conn]struct{}{p.callers, p.others} {
		for c := range conns {
			c.abort(errStopped)
		}
	}
	p.mu.Unlock()
	for _, be := range backends {
		be.end()
	}
	p.own.stop()
	p.tasks.Wait()
	return err
}

var errStopped = errors.New("the gateway is stopping")

// stop begins the end, and returns a channel that is closed when no client is connected.
func (p *Proxy) stop() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
	for l := range p.listeners {
		_ = l.Close() // Accept will say
	}
	idle := make(chan struct{})
	if len(p.callers) == 0 {
		close(idle)
		return idle
	}
	p.idle = idle
	for c := range p.callers {
		p.tasks.Go(func() { c.role.(*callerConn).sayGoAway() })
	}
	return idle
}

// Status returns what the proxy does now.
func (p *Proxy) Status() Status {
	p.mu.Lock()
	s := Status{Callers: len(p.callers), BufferedBytes: p.budget.used.Load()}
	backends := p.backends
	p.mu.Unlock()
	for _, b := range backends {
		s.Backends = append(s.Backends, b.status())
	}
	for _, r := range p.table.Load().all {
		s.Routes = append(s.Routes, r.status()...)
		for _, m := range r.mirrors {
			s.Mirrors = append(s.Mirrors, m.status())
		}
	}
	return s
}
