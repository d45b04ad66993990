package dial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gateway/backends/relay"
	"gateway/internal/bare"
)

// Options is what a Backend is made of. Only Targets is required.
type Options struct {
	Block   string   // the block's name in errors, logs and metrics
	Targets []string // tcp://host:port, unix:///path or ipc:///path; at least one
	Balance string   // LeastConnections (default) or RoundRobin

	ConnectTimeout time.Duration // for one address, and for one lookup; default 5s
	DialTimeout    time.Duration // for all attempts together; default 15s
	ResolveEvery   time.Duration // how long the addresses of a name are good; default 5s

	EjectAfter int           // failures in a row after which an address is left out; default 3
	EjectMin   time.Duration // for how long at first; default 1s
	EjectMax   time.Duration // for how long at most; default 1m

	// ProxyHeader makes each connection to a target begin with a PROXY header of version 2, which tells the client's
	// address. Default: the target sees the gateway's address alone.
	ProxyHeader bool

	Limits relay.Limits // idle time-out and drain of the relayed connections

	// Lookup gives the addresses of a host name. Default: the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

	Log   *slog.Logger           // told when an address is ejected, and when it is back; default: nobody
	Dials *prometheus.CounterVec // labels block, target, result; default: not counted
}

func (o Options) withDefaults() Options {
	setDefault(&o.Balance, LeastConnections)
	setDefault(&o.ConnectTimeout, 5*time.Second)
	setDefault(&o.DialTimeout, 15*time.Second)
	setDefault(&o.ResolveEvery, 5*time.Second)
	setDefault(&o.EjectAfter, 3)
	setDefault(&o.EjectMin, time.Second)
	setDefault(&o.EjectMax, time.Minute)
	o.EjectMax = max(o.EjectMax, o.EjectMin)
	if o.Lookup == nil {
		o.Lookup = lookupNetIP
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Backend dials the targets of one block. It is safe for concurrent use.
type Backend struct {
	options Options
	dialer  net.Dialer
	group   relay.Group
	born    time.Time

	mu        sync.Mutex
	endpoints []*endpoint // in the order of Options.Targets
	listed    []*Target   // the listed addresses of all endpoints; replaced, never changed
	turn      int
}

// New makes a Backend. It dials nothing, and looks no name up, before the first connection. The error names the target
// that is not well written.
func New(options Options) (*Backend, error) {
	b := &Backend{options: options.withDefaults(), born: time.Now()}
	b.dialer.Control = bare.Control
	if b.options.Balance != LeastConnections && b.options.Balance != RoundRobin {
		return nil, fmt.Errorf("dial: balance %q: write %q or %q", b.options.Balance, LeastConnections, RoundRobin)
	}
	if len(options.Targets) == 0 {
		return nil, errors.New("dial: no target")
	}
	for _, text := range options.Targets {
		parsed, err := parseTarget(text)
		if err != nil {
			return nil, fmt.Errorf("dial: %w", err)
		}
		e := &endpoint{backend: b, address: parsed}
		if e.host == "" {
			e.add(e.literal, nil)
		}
		b.endpoints = append(b.endpoints, e)
	}
	b.relist()
	return b, nil
}

// Outcome is what became of a connection.
type Outcome struct {
	Target string      // as configured; empty when none took the connection
	Stats  relay.Stats // a: the client, b: the target
	Err    error       // of the dial (Error) or of the relay; nil after a clean end
}

// ServeConn dials a target for the client and relays. It blocks while it dials, which ctx can end, and returns when the
// relay runs; Shutdown ends that. It owns the client's connection and closes it before it calls done, exactly once.
func (b *Backend) ServeConn(ctx context.Context, client net.Conn, done func(Outcome)) {
	conn, target, err := b.Dial(ctx)
	if err != nil {
		client.Close()
		done(Outcome{Err: err})
		return
	}
	var ahead int
	flow := relay.FlowOf(client, target.Name)
	if err = b.introduce(client, conn); err == nil {
		client, ahead, err = b.catchUp(ctx, client, conn)
	}
	if err != nil {
		conn.Close()
		target.Release()
		client.Close()
		done(Outcome{Target: target.Name, Err: err})
		return
	}
	b.relay(flow, client, conn, target, ahead, done)
}

// TryServeConn does what ServeConn does if a target on this machine answers at once, and neither has to be told anything first.
// Otherwise it returns false, and has done nothing to the client.
func (b *Backend) TryServeConn(client net.Conn, done func(Outcome)) bool {
	if b.options.ProxyHeader {
		return false
	}
	if g, ok := client.(Greeted); ok && g.Answered() > 0 {
		return false
	}
	conn, target := b.tryDial()
	if conn == nil {
		return false
	}
	b.relay(relay.FlowOf(client, target.Name), client, conn, target, 0, done)
	return true
}

// relay moves bytes between a client and its target until both have ended. ahead is what the target has got already.
func (b *Backend) relay(flow relay.Flow, client, conn net.Conn, target *Target, ahead int, done func(Outcome)) {
	b.group.RelayFlow(flow, client, conn, b.options.Limits, func(stats relay.Stats, err error) {
		target.Release()
		stats.AToB += int64(ahead)
		done(Outcome{Target: target.Name, Stats: stats, Err: err})
	})
}

// Dial connects to a target. The caller closes the connection and then calls the target's Release, once. The error is an
// *Error.
func (b *Backend) Dial(ctx context.Context) (net.Conn, *Target, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.DialTimeout)
	defer cancel()
	failure := &Error{Block: b.options.Block}
	var tried []*Target
	for {
		t, what, last := b.claim(ctx, tried)
		if t == nil {
			b.explain(failure, tried)
			return nil, nil, failure
		}
		conn, err := b.connect(ctx, t, last)
		b.settle(ctx, t, what, err)
		if err == nil {
			return conn, t, nil
		}
		tried = append(tried, t)
		failure.Attempts = append(failure.Attempts, Attempt{Target: t.Name, Address: t.Address, Err: err})
	}
}

// The pauses between two attempts at a unix socket whose backlog is full double from the first to the second.
const (
	backlogPauseMin = time.Millisecond
	backlogPauseMax = 50 * time.Millisecond
)

// connect dials a target. A unix socket whose backlog is full says so at once, where TCP goes on trying (connect(2), EAGAIN): if
// there is no other target, that is done here.
func (b *Backend) connect(ctx context.Context, t *Target, last bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.ConnectTimeout)
	defer cancel()
	full := false
	for pause := backlogPauseMin; ; pause = min(2*pause, backlogPauseMax) {
		conn, err := b.dialer.DialContext(ctx, t.endpoint.network, t.Address)
		switch {
		case last && t.endpoint.network == "unix" && errors.Is(err, syscall.EAGAIN):
			full = true
		case full && err != nil && !timeLeft(ctx):
			return nil, fmt.Errorf("%w: %w", ErrBacklogFull, cause(err))
		default:
			return conn, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// trial is what a dial's end says about its target.
type trial int8

const (
	desperate trial = iota // nothing if it fails: the target is ejected anyway
	ordinary               // one more failure, unless others that were on their way have ejected the target meanwhile
	probing                // whether the target, whose ejection is over, is back
)

// claim takes the next target to try, nil when there is none or no time for it. last tells that no other address is known.
func (b *Backend) claim(ctx context.Context, tried []*Target) (t *Target, what trial, last bool) {
	for timeLeft(ctx) {
		b.mu.Lock()
		now := b.now()
		for _, e := range b.endpoints {
			e.refresh(now)
		}
		if t = choose(b.listed, tried, b.options.Balance, b.turn, now); t != nil {
			b.turn++
			t.open++
			switch {
			case t.ejected(now):
				what = desperate
			case t.failures < b.options.EjectAfter:
				what = ordinary
			default:
				what = probing
				t.ejectedUntil = now + b.options.ConnectTimeout // the others wait for what comes of it
			}
			last = len(tried)+1 >= len(b.listed)
			b.mu.Unlock()
			return t, what, last
		}
		running := b.running()
		b.mu.Unlock()
		if running == nil {
			return nil, desperate, false
		}
		select { // all known addresses were tried; there may be others
		case <-running:
		case <-ctx.Done():
		}
	}
	return nil, desperate, false
}

// timeLeft tells whether ctx is neither over nor about to be: its deadline strikes a moment before its Err tells.
func timeLeft(ctx context.Context) bool {
	deadline, bounded := ctx.Deadline()
	return ctx.Err() == nil && !(bounded && time.Until(deadline) <= 0)
}

// running gives the end of a lookup that is on its way, nil when there is none.
func (b *Backend) running() <-chan struct{} {
	for _, e := range b.endpoints {
		if e.lookup != nil {
			return e.lookup
		}
	}
	return nil
}

// settle records what became of an attempt.
func (b *Backend) settle(ctx context.Context, t *Target, what trial, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.options.Dials != nil {
		b.options.Dials.WithLabelValues(b.options.Block, t.Name, result(err)).Inc()
	}
	switch {
	case err == nil:
		if t.failures >= b.options.EjectAfter {
			b.options.Log.Info("target is back", "block", b.options.Block, "target", t.Name, "address", t.Address)
		}
		t.failures, t.ejectedUntil = 0, 0
	case errors.Is(ctx.Err(), context.Canceled): // the caller gave up, the target has done nothing
		t.release()
		if what == probing {
			t.ejectedUntil = now
		}
	default:
		t.release()
		t.lastErr, t.lastErrAt, t.endpoint.failed = err, now, true
		if what == probing || what == ordinary && t.failures < b.options.EjectAfter {
			b.fail(t, now)
		}
	}
}

// fail counts a failure that is news, and ejects.
func (b *Backend) fail(t *Target, now time.Duration) {
	t.failures++
	out := ejection(t.failures, &b.options)
	t.ejectedUntil = now + out
	if out > 0 {
		b.options.Log.Warn("target is left out", "block", b.options.Block, "target", t.Name, "address", t.Address,
			"for", out, "failures", t.failures, "error", cause(t.lastErr))
	}
}

// explain adds what was not even tried.
func (b *Backend) explain(failure *Error, tried []*Target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.endpoints {
		listed := false
		for _, t := range e.targets {
			listed = listed || t.listed
		}
		if !listed && e.host != "" {
			err := e.err
			if err == nil {
				err = ErrNotTried
			}
			failure.Attempts = append(failure.Attempts, Attempt{Target: e.text, Err: err})
		}
	}
	for _, t := range b.listed {
		if !slices.Contains(tried, t) {
			failure.Attempts = append(failure.Attempts, Attempt{Target: t.Name, Address: t.Address, Err: ErrNotTried})
		}
	}
}

// now is the time since the Backend was made, never zero.
func (b *Backend) now() time.Duration { return time.Since(b.born) + 1 }
