package agent

// Rules of this file.
//
// Locking: mu guards the gateways, their slots and the counts; nothing that may block is done under it. Whatever changes one of
// these calls settle, which opens and closes slots until each gateway has as many as it should.
//
// Ownership: a slot's goroutine owns its connection; settle may close it while the slot is idle, which ends the goroutine. After
// GO and OK the relay owns it.

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"gateway/backends/relay"
)

// Options of an Agent. Gateway, Worker and Name are required.
type Options struct {
	Gateway string // host:port of the workers' door; a name may stand for several gateways
	Worker  string // tcp://host:port, ipc:///path or unix:///path
	Name    string // see CheckName
	Slots   int    // clients that the worker may have at the same time; default 8
	Token   string // what the door asks for; default: nothing

	// TLS, when there is one, is spoken to the door. Without a ServerName it is the host of Gateway.
	TLS *tls.Config

	ConnectTimeout time.Duration // to the door, with TLS and HELLO, and to the worker; default 4s
	RetryMin       time.Duration // first pause after a failure; default 100ms
	RetryMax       time.Duration // longest pause; default 5s
	ResolveEvery   time.Duration // how often Gateway's name is looked up; default 10s

	Limits relay.Limits // of the clients' bytes
	Log    *slog.Logger // default: nothing is logged

	// Lookup gives the addresses of a host name. Default: the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

const (
	slotsDefault        = 8
	connectDefault      = 4 * time.Second // less than a door waits after GO
	retryMinDefault     = 100 * time.Millisecond
	retryMaxDefault     = 5 * time.Second
	resolveEveryDefault = 10 * time.Second

	// greetingWait is how long a worker may take to show that it speaks ZMTP 3.
	greetingWait = time.Second

	// settledAfter is how long a slot must live for its gateway to count as one that works.
	settledAfter = 500 * time.Millisecond

	keepAliveIdle  = 15 * time.Second
	keepAliveEvery = 5 * time.Second
	keepAliveCount = 3
)

func (o Options) withDefaults() Options {
	o.Slots = cmp.Or(o.Slots, slotsDefault)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, connectDefault)
	o.RetryMin = cmp.Or(o.RetryMin, retryMinDefault)
	o.RetryMax = max(cmp.Or(o.RetryMax, retryMaxDefault), o.RetryMin)
	o.ResolveEvery = cmp.Or(o.ResolveEvery, resolveEveryDefault)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Lookup == nil {
		o.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return o
}

// Agent keeps slots for one worker. Make one with New.
type Agent struct {
	options Options
	dialer  net.Dialer
	host    string // of Options.Gateway
	port    string
	network string // of the worker
	address string
	group   relay.Group
	tasks   sync.WaitGroup // slots that are not relayed, and the loops of Run

	mu       sync.Mutex
	running  context.Context // nil before Run; done when it ends
	gateways map[string]*gateway
	serving  int // clients: from GO to the end of the relay
	worker   Hello
	up       bool          // the worker answers
	missing  chan struct{} // filled when the worker was found missing
}

// gateway is one address of the door.
type gateway struct {
	addr     string
	slots    map[*slot]struct{} // connecting or idle
	failures int                // in a row
	pausing  bool               // until the pause after a failure is over
	gone     bool               // not among the name's addresses any more
}

// slot is a connection to a door that has no client yet.
type slot struct {
	gateway *gateway
	conn    net.Conn // nil while it connects
}

// New makes an Agent; Run starts it. The error says what is wrong with the options.
func New(o Options) (*Agent, error) {
	a := &Agent{options: o.withDefaults(), gateways: map[string]*gateway{}, missing: make(chan struct{}, 1)}
	a.dialer.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveEvery, Count: keepAliveCount}
	if err := CheckName(o.Name); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	if a.options.Slots < 1 || a.options.Slots > slotsMax {
		return nil, fmt.Errorf("agent: %d slots: at least 1 and at most %d", o.Slots, slotsMax)
	}
	var err error
	if a.host, a.port, err = net.SplitHostPort(o.Gateway); err != nil || a.host == "" || a.port == "" {
		return nil, fmt.Errorf("agent: the gateway's address %q: write host:port, of the workers' door", o.Gateway)
	}
	if a.network, a.address, err = parseWorker(o.Worker); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return a, nil
}

// Run serves until ctx is done, then closes what has no client and returns. Clients stay: see Drain.
func (a *Agent) Run(ctx context.Context) {
	a.mu.Lock()
	a.running = ctx
	a.mu.Unlock()
	a.tasks.Go(func() { a.followWorker(ctx) })
	a.tasks.Go(func() { a.followName(ctx) })
	<-ctx.Done()
	a.settle()
	a.tasks.Wait()
}

// Drain waits for the clients until ctx is done, cuts those that are left and tells how many they were. It is called when Run has
// returned.
func (a *Agent) Drain(ctx context.Context) (cut int) { return a.group.Shutdown(ctx) }

// Serving tells how many clients the worker has.
func (a *Agent) Serving() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.serving
}

// settle opens and closes slots until each gateway has as many as it should.
func (a *Agent) settle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for addr, g := range a.gateways {
		want := a.wanted(g)
		for s := range g.slots {
			if len(g.slots) <= want {
				break
			}
			delete(g.slots, s)
			if s.conn != nil {
				s.conn.Close()
			}
		}
		for len(g.slots) < want {
			s := &slot{gateway: g}
			g.slots[s] = struct{}{}
			a.tasks.Go(func() { a.keep(s) })
		}
		if g.gone && len(g.slots) == 0 {
			delete(a.gateways, addr)
		}
	}
}

// wanted is how many slots a gateway should have. After a failure one tries, before the others follow. mu is held.
func (a *Agent) wanted(g *gateway) int {
	switch {
	case a.running.Err() != nil || g.gone || g.pausing || !a.up:
		return 0
	case g.failures > 0:
		return min(1, a.options.Slots-a.serving)
	}
	return max(0, a.options.Slots-a.serving)
}

// keep is the life of a slot: until it has a client, or is closed.
func (a *Agent) keep(s *slot) {
	conn, err := a.enter(s)
	if err == nil {
		proven := time.AfterFunc(settledAfter, func() { a.proven(s.gateway) })
		var client string
		client, err = awaitGo(conn)
		if err == nil {
			proven.Stop()
			a.serve(s, conn, client)
			return
		}
		proven.Stop()
		conn.Close()
	}
	a.left(s, err)
}

// enter connects to the door and introduces the worker.
func (a *Agent) enter(s *slot) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(a.running, a.options.ConnectTimeout)
	defer cancel()
	conn, err := a.dialer.DialContext(ctx, "tcp", s.gateway.addr)
	if err != nil {
		return nil, err
	}
	if a.options.TLS != nil {
		config := a.options.TLS.Clone()
		config.ServerName = cmp.Or(config.ServerName, a.host)
		conn = tls.Client(conn, config)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	hello, wanted := a.adopt(s, conn)
	if wanted {
		err = introduce(conn, a.options.Token, hello)
	}
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil || !wanted {
		stop()
		conn.Close()
		return nil, cmp.Or(err, net.ErrClosed)
	}
	return conn, nil
}

// adopt lets settle close the connection of a slot from now on. False: the slot is not wanted any more.
func (a *Agent) adopt(s *slot, conn net.Conn) (Hello, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.conn = conn
	_, wanted := s.gateway.slots[s]
	hello := a.worker
	hello.Name, hello.Slots, hello.Load = a.options.Name, a.options.Slots, a.serving
	return hello, wanted
}

// serve gives a client its worker.
func (a *Agent) serve(s *slot, conn net.Conn, client string) {
	a.mu.Lock()
	_, wanted := s.gateway.slots[s]
	delete(s.gateway.slots, s)
	s.gateway.failures = 0
	free := wanted && a.serving < a.options.Slots
	if free {
		a.serving++
	}
	a.mu.Unlock()
	if !free {
		Deny(conn, errors.New("all slots are taken"))
		conn.Close()
		a.settle()
		return
	}
	a.settle() // the other gateways have one slot less now
	worker, err := a.call()
	if err == nil {
		err = accept(conn)
	}
	if err != nil {
		a.options.Log.Warn("a client got no worker", "client", client, "gateway", s.gateway.addr, "error", err)
		Deny(conn, err)
		conn.Close()
		if worker != nil {
			worker.Close()
		}
		a.served()
		return
	}
	a.options.Log.Debug("serving", "client", client, "gateway", s.gateway.addr)
	a.group.Relay(conn, worker, a.options.Limits, func(stats relay.Stats, err error) {
		a.options.Log.Debug("served", "client", client, "gateway", s.gateway.addr, "in", stats.AToB, "out", stats.BToA, "error", err)
		a.served()
	})
}

// call dials the worker.
func (a *Agent) call() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), a.options.ConnectTimeout)
	defer cancel()
	conn, err := a.dialer.DialContext(ctx, a.network, a.address)
	if err == nil {
		return conn, nil
	}
	a.mu.Lock()
	a.up = false
	a.mu.Unlock()
	select {
	case a.missing <- struct{}{}:
	default:
	}
	return nil, fmt.Errorf("the worker does not answer: %w", err)
}

// served tells that a client is gone.
func (a *Agent) served() {
	a.mu.Lock()
	a.serving--
	a.mu.Unlock()
	a.settle()
}

// proven tells that a slot was let in and stayed.
func (a *Agent) proven(g *gateway) {
	a.mu.Lock()
	news := g.failures > 0
	g.failures = 0
	a.mu.Unlock()
	if news {
		a.options.Log.Info("the gateway is back", "gateway", g.addr)
		a.settle()
	}
}

// left tells that a slot ended without a client. One that settle closed is no news.
func (a *Agent) left(s *slot, err error) {
	a.mu.Lock()
	g := s.gateway
	_, wanted := g.slots[s]
	delete(g.slots, s)
	if wanted && !g.pausing {
		g.failures++
		pause := a.pause(g.failures)
		var denied *Denied
		if errors.As(err, &denied) {
			pause = a.options.RetryMax // it will not change its mind at once
		}
		g.pausing = true
		if g.failures == 1 || denied != nil {
			a.options.Log.Warn("the gateway does not keep a slot; trying again", "gateway", g.addr, "pause", pause, "error", err)
		}
		time.AfterFunc(pause, func() {
			a.mu.Lock()
			g.pausing = false
			a.mu.Unlock()
			a.settle()
		})
	}
	a.mu.Unlock()
	a.settle()
}

// pause is how long to wait after so many failures: doubling, and never the same twice.
func (a *Agent) pause(failures int) time.Duration {
	d := a.options.RetryMax
	if failures < 16 {
		d = min(a.options.RetryMin<<(failures-1), a.options.RetryMax)
	}
	return d/2 + rand.N(d/2+1)
}
