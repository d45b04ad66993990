package sniff

// Rules of this file.
//
// Slots: a connection takes one of ConnectionsMax and one of SniffingMax before it is accepted. The second goes back as
// soon as its protocol is known, the first when its owner calls release. arrival.go goes on from there.
//
// Ownership: an accepted connection is in s.arrivals while it is sniffed. Whoever removes it from there owns it: either
// its sniffing goroutine, which then hands it over, or Close. Nothing is handed over once Close has begun.
//
// Quick: a connection that comes with its first bytes is classified and handed over by Serve itself, or by who watches the
// listener for it, and is never among the arrivals. Close waits for Serve, and that for the watch to end, so nothing is handed over
// after Close this way either.
//
// Watch: what would have to be waited for (a slot, or that accept recovers) ends the watch, and is Serve's.
//
// Blocking: Serve waits for slots, for Accept and for its back-off; a sniffing goroutine waits for its client, until the
// deadline. Close ends all of these.

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"gateway/internal/metrics"
)

// Defaults of Options.
const (
	timeoutDefault        = 5 * time.Second
	ConnectionsMaxDefault = 20000
	sniffingMaxDefault    = 2000
)

// Options configure a Server. The zero value classifies, counts and closes.
type Options struct {
	Name           string        // of the listener, in metrics and log lines; default ""
	Timeout        time.Duration // from accept until the protocol is known; default 5 s
	ConnectionsMax int           // connections open at once; default 20000
	SniffingMax    int           // of these, connections whose protocol is not known yet; default 2000
	Protocols      []Protocol    // default All

	// Handle owns each connection that was recognised; see Ownership in the package comment. It runs on the goroutine
	// that sniffed, which ends when it returns: a relay that goes on without a goroutine of its own costs none here.
	// It may also serve the connection before it returns; Close does not wait for it. Default: close.
	Handle func(c *Conn, release func())

	// Quick may take a connection that was recognised without waiting, on the accepting goroutine: it must return at once.
	// If it returns true it owns the raw connection, but has no use for c any more; otherwise Handle gets c. It is not asked where
	// TLS has to be looked into. Default: take none.
	Quick func(c *Conn, release func()) bool

	// Otherwise may take a connection that was not recognised (Unmatched), not in time (TimedOut), whose peer sent
	// too little and then ended its side (Closed), or that was Refused, for the reason in why. If it returns true it
	// owns c, as Handle would; otherwise c is closed. It must return at once: Close waits for it. Default: take none.
	Otherwise func(c *Conn, result Result, why error, release func()) bool

	// ProxyFrom tells which peers are proxies that begin each connection with a PROXY header, version 1 or 2, to say
	// whose it is. From them it is a must; from others it is refused. Default: nobody.
	ProxyFrom func(peer net.Addr) bool

	// Admit is asked about each client, once its address is known and before a byte of it is looked at. It names the
	// reason to refuse it, or "" and what to call when its connection has ended. Default: all are welcome.
	Admit func(client net.Addr) (leave func(), reason string)

	// TLS gets each connection that begins with a ClientHello, while it still counts as being sniffed, to look further into
	// it: to terminate TLS and find out what is Inside, or to read that hello. What it returns is handed over in c's place.
	// It need not mind the deadline for reading, which runs already. An error refuses the connection. Default: TLS is
	// a protocol like others.
	TLS func(c *Conn, deadline time.Time) (*Conn, Result, error)

	// Watch calls ready, on goroutines that are awake anyway, for each connection that waits at l, until ready returns false or
	// stop is called. ready never blocks, but may be called at the same time. stop waits for the calls that run. An error means that
	// l cannot be watched. Default: Serve waits in Accept. A listener to be watched has TryAccept() (net.Conn, error), whose error
	// is syscall.EAGAIN where nobody waits.
	Watch func(l net.Listener, ready func() (again bool)) (stop func(), err error)

	// Report has Handle's connections that have ended released, where that is put off. It is called where one is about to wait or
	// to be refused for want of what others take up. Default: nothing is put off.
	Report func()

	// TLSOnly refuses what does not begin with a ClientHello.
	TLSOnly bool

	Log     *slog.Logger     // default slog.Default()
	Metrics *metrics.Metrics // default: counted nowhere
}

// Server accepts connections, classifies them and hands them over. Make one with NewServer.
type Server struct {
	options Options
	report  *reporter
	meters  meters

	connections *semaphore.Weighted
	sniffing    *semaphore.Weighted
	refusing    *semaphore.Weighted // of those being sniffed, the ones that are refused already

	stopping context.Context // done when Close begins
	stop     context.CancelFunc
	serving  sync.WaitGroup // Serve calls
	running  sync.WaitGroup // Serve calls, and connections being sniffed
	arriving sync.WaitGroup // connections that were accepted and whose Handle has not returned

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	arrivals  map[*arrival]struct{}
}

// meters are the metrics of one listener, looked up once.
type meters struct {
	accepted     prometheus.Counter
	acceptErrors *prometheus.CounterVec
	refused      *prometheus.CounterVec
	sniffing     prometheus.Gauge
	matched      map[string]prometheus.Observer // by protocol
	failed       [Stopped + 1]prometheus.Observer
}

// NewServer makes a server; it listens to nothing yet.
func NewServer(o Options) *Server {
	if o.Timeout <= 0 {
		o.Timeout = timeoutDefault
	}
	if o.ConnectionsMax <= 0 {
		o.ConnectionsMax = ConnectionsMaxDefault
	}
	if o.SniffingMax <= 0 {
		o.SniffingMax = sniffingMaxDefault
	}
	if o.Protocols == nil {
		o.Protocols = All
	}
	if o.Handle == nil {
		o.Handle = func(c *Conn, release func()) {
			_ = c.Close()
			release()
		}
	}
	if o.Otherwise == nil {
		o.Otherwise = func(*Conn, Result, error, func()) bool { return false }
	}
	if o.ProxyFrom == nil {
		o.ProxyFrom = func(net.Addr) bool { return false }
	}
	if o.Report == nil {
		o.Report = func() {}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New()
	}
	s := &Server{
		options:     o,
		report:      newReporter(o.Log.With("listener", o.Name)),
		meters:      newMeters(o),
		connections: semaphore.NewWeighted(int64(o.ConnectionsMax)),
		sniffing:    semaphore.NewWeighted(int64(o.SniffingMax)),
		refusing:    semaphore.NewWeighted(int64(max(1, o.SniffingMax/refusingShare))),
		listeners:   make(map[net.Listener]struct{}),
		arrivals:    make(map[*arrival]struct{}),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	return s
}

func newMeters(o Options) meters {
	m := meters{
		accepted:     o.Metrics.Accepted.WithLabelValues(o.Name),
		acceptErrors: o.Metrics.AcceptErrors.MustCurryWith(prometheus.Labels{"listener": o.Name}),
		refused:      o.Metrics.Refused.MustCurryWith(prometheus.Labels{"listener": o.Name}),
		sniffing:     o.Metrics.Sniffing.WithLabelValues(o.Name),
		matched:      make(map[string]prometheus.Observer, len(o.Protocols)),
	}
	for _, p := range o.Protocols {
		m.matched[p.Name] = o.Metrics.SniffSeconds.WithLabelValues(p.Name)
	}
	for r := Unmatched; r <= Stopped; r++ {
		m.failed[r] = o.Metrics.SniffSeconds.WithLabelValues(r.String())
	}
	return m
}

// Serve accepts from l until Close, then returns nil, or until l fails for good, then returns why. Errors that pass
// (no descriptors, no memory) are waited out, ever longer up to a second. Serve closes l. It may be called for several
// listeners, which share the limits.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.enter(l) {
		return nil
	}
	defer s.leave(l)

	var delay time.Duration
	for {
		if s.watch(l) {
			delay = 0
		}
		if !s.takeSlots() {
			return nil
		}
		raw, err := l.Accept()
		if err == nil {
			delay = 0
			s.admit(raw)
			continue
		}
		s.sniffing.Release(1)
		s.connections.Release(1)
		if s.stopping.Err() != nil {
			return nil
		}
		reason, passes := acceptReason(err)
		s.meters.acceptErrors.WithLabelValues(reason).Inc()
		if !passes {
			return fmt.Errorf("sniff: accept on %s: %w", l.Addr(), err)
		}
		delay = nextDelay(delay)
		s.report.acceptFailed(err, delay)
		if !s.pause(delay) {
			return nil
		}
	}
}

// enter registers l, so that Close closes it; false once Close has begun.
func (s *Server) enter(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Err() != nil {
		return false
	}
	s.listeners[l] = struct{}{}
	s.serving.Add(1)
	s.running.Add(1)
	return true
}

func (s *Server) leave(l net.Listener) {
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
	s.serving.Done()
	s.running.Done()
}

// takeSlots waits until one more connection may be accepted; false once Close has begun.
func (s *Server) takeSlots() bool {
	if !s.connections.TryAcquire(1) {
		s.options.Report()
		if s.connections.Acquire(s.stopping, 1) != nil {
			return false
		}
	}
	if s.sniffing.Acquire(s.stopping, 1) != nil {
		s.connections.Release(1)
		return false
	}
	return true
}

// pause waits for delay; false once Close has begun.
func (s *Server) pause(delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.stopping.Done():
		return false
	}
}

// Retire stops accepting and returns when Serve has ended. Unlike Close it lets those that are being sniffed go on. Connections
// in a listener's backlog are the kernel's to keep, if the socket is shared, or to reset.
func (s *Server) Retire() {
	s.mu.Lock()
	s.stop()
	for l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

// Settle waits, after Retire, until every connection that was accepted is where it belongs: Handle has returned, or it was
// closed. It gives up when ctx ends.
func (s *Server) Settle(ctx context.Context) error {
	settled := make(chan struct{})
	go func() {
		s.arriving.Wait() // nothing is added any more: Serve has ended
		close(settled)
	}()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sniff: wait for the connections of listener %q to arrive: %w", s.options.Name, ctx.Err())
	}
}

// Close stops accepting, closes the connections that are still being sniffed, and returns when Serve and all sniffing
// have ended. Connections that were handed over stay as they are, see Shutdown. It can be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.stop()
	for l := range s.listeners {
		_ = l.Close()
	}
	for a := range s.arrivals {
		_ = a.raw.Close() // wakes its goroutine, which does the rest
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Shutdown does what Close does and then what Wait does.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Close()
	return s.Wait(ctx)
}

// Wait waits, after Retire or Close, until every connection that was accepted is released, or until ctx ends. Its error
// then wraps that of ctx.
func (s *Server) Wait(ctx context.Context) error {
	all := int64(s.options.ConnectionsMax)
	if err := s.connections.Acquire(ctx, all); err != nil {
		return fmt.Errorf("sniff: wait for the connections of listener %q to end: %w", s.options.Name, err)
	}
	s.connections.Release(all)
	return nil
}
