package main

// The only file that names every concrete backend: it turns a configuration into resources, backends and the table.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/hcl/v2"

	"gateway/backends/dial"
	"gateway/backends/grpcproxy"
	"gateway/backends/relay"
	"gateway/internal/admin"
	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/metrics"
	"gateway/internal/zmtp"
	"gateway/sniff"
)

// instance is a running gateway.
type instance struct {
	config  *config.Config
	log     *slog.Logger
	metrics *metrics.Metrics
	started time.Time
	failed  chan error // a listener that broke for good

	server   *gateway.Server
	proxy    *grpcproxy.Proxy // nil without grpc blocks
	relays   map[string]*dial.Backend
	ports    []*port
	admin    *admin.Server // nil without an admin block
	draining context.Context
	drain    context.CancelFunc
	running  sync.WaitGroup
}

// port is one exposed listener.
type port struct {
	name     string
	listener net.Listener
	sniffer  *sniff.Server
}

// start binds everything that cfg names and serves. On an error nothing is left running or bound.
func start(cfg *config.Config, log *slog.Logger) (*instance, error) {
	i := &instance{
		config: cfg, log: log, metrics: metrics.New(), started: time.Now(),
		failed: make(chan error, len(cfg.Listeners)+1), // one for each that can break
		relays: map[string]*dial.Backend{},
	}
	i.draining, i.drain = context.WithCancel(context.Background())
	if err := i.build(); err != nil {
		return nil, err
	}
	if err := i.bind(); err != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nothing was served yet: nothing to wait for
		i.shutdown(ctx)
		return nil, err
	}
	i.serve()
	return i, nil
}

// build makes the backends and the server. Nothing listens yet.
func (i *instance) build() error {
	for _, r := range i.config.Relays {
		b, err := dial.New(dialOptions(r, i.log, i.metrics))
		if err != nil {
			return placed(r.Range, fmt.Errorf("relay %q: %w", r.Name, err))
		}
		i.relays[r.Name] = b
	}
	o := gateway.Options{Log: i.log, Metrics: i.metrics, HeldMax: i.config.Limits.Held}
	if len(i.config.Routes) > 0 {
		proxy, err := grpcproxy.New(grpcOptions(i.config, i.log))
		if err != nil {
			return fmt.Errorf("grpc: %w", err)
		}
		i.proxy, o.GRPC = proxy, proxy
	}
	i.server = gateway.New(o)
	i.server.SetTable(tableOf(i.config, i.relays))
	return nil
}

// bind opens every port, the exposed ones and the admin's.
func (i *instance) bind() error {
	for _, l := range i.config.Listeners {
		listener, err := net.Listen("tcp", l.Addr)
		if err != nil {
			return placed(l.Range, bindError(l.Addr, err))
		}
		p := &port{name: l.Name, listener: listener}
		p.sniffer = sniff.NewServer(sniff.Options{
			Name:           l.Name,
			Timeout:        l.SniffTimeout,
			ConnectionsMax: l.MaxConnections,
			SniffingMax:    l.MaxSniffing,
			Handle:         func(c *sniff.Conn, release func()) { i.server.Handle(l.Name, c, release) },
			Log:            i.log,
			Metrics:        i.metrics,
		})
		i.ports = append(i.ports, p)
	}
	return i.bindAdmin()
}

func (i *instance) bindAdmin() error {
	a := i.config.Admin
	if a == nil {
		return nil
	}
	if a.Network == "unix" {
		removeStaleSocket(a.Addr)
	}
	l, err := net.Listen(a.Network, a.Addr)
	if err != nil {
		return placed(a.Range, bindError(a.Addr, err))
	}
	i.admin = admin.New(admin.Options{
		Token:  string(a.Token),
		Gather: i.metrics.Registry,
		Status: func() any { return i.status() },
		Ready: func() error {
			if i.draining.Err() != nil {
				return errors.New("draining: connections end, none are taken")
			}
			return nil
		},
	})
	i.log.Info("listening", "name", "admin", "addr", l.Addr().String())
	i.running.Go(func() {
		if err := i.admin.Serve(l); err != nil {
			i.failed <- fmt.Errorf("admin: %w", err)
		}
	})
	return nil
}

// serve starts to accept.
func (i *instance) serve() {
	for _, p := range i.ports {
		i.log.Info("listening", "name", p.name, "addr", p.listener.Addr().String())
		i.running.Go(func() {
			if err := p.sniffer.Serve(p.listener); err != nil {
				i.failed <- err
			}
		})
	}
}

// shutdown stops accepting, waits for all connections until ctx is done, and then cuts what is left: what was read from
// a relayed peer is still delivered. It returns how many connections were cut.
func (i *instance) shutdown(ctx context.Context) (cut int) {
	i.drain()
	for _, p := range i.ports {
		p.sniffer.Close()
		p.listener.Close() // for one that was bound and never served
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	add := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		cut += n
	}
	all.Go(func() { add(i.server.Shutdown(ctx)) })
	for _, b := range i.relays {
		all.Go(func() { add(b.Shutdown(ctx)) })
	}
	all.Wait()

	last, cancel := context.WithTimeout(context.Background(), cutGrace)
	defer cancel()
	for _, p := range i.ports {
		if err := p.sniffer.Shutdown(last); err != nil {
			i.log.Error("connections did not end after they were cut", "error", err)
		}
	}
	if i.admin != nil {
		i.admin.Shutdown(last)
	}
	i.running.Wait()
	return cut
}

// tableOf makes the table; backends may be nil for one that only explains.
func tableOf(cfg *config.Config, backends map[string]*dial.Backend) *gateway.Table {
	t := &gateway.Table{GRPC: len(cfg.Routes) > 0}
	for _, r := range cfg.Relays {
		b := gateway.Block{Name: r.Name, Match: matchOf(r.Match)}
		if backend := backends[r.Name]; backend != nil {
			b.Handler = relayHandler{backend}
		}
		t.Relays = append(t.Relays, b)
	}
	return t
}

func matchOf(m config.Match) gateway.Match {
	out := gateway.Match{Protocol: string(m.Protocol), Listeners: m.Listen, Sources: m.Source, Identity: m.Identity}
	for _, name := range m.Mechanism {
		out.Mechanisms = append(out.Mechanisms, zmtp.Mechanism(name))
	}
	for _, name := range m.SocketType {
		out.SocketTypes = append(out.SocketTypes, zmtp.SocketType(name))
	}
	if m.Percent < 100 {
		out.Percent = &m.Percent
	}
	return out
}

// relayHandler makes a dial backend a handler of the table.
type relayHandler struct{ backend *dial.Backend }

func (h relayHandler) ServeConn(ctx context.Context, c net.Conn, done func(gateway.Outcome)) {
	h.backend.ServeConn(ctx, c, func(o dial.Outcome) {
		done(gateway.Outcome{
			Target:   o.Target,
			BytesIn:  o.Stats.AToB,
			BytesOut: o.Stats.BToA,
			Result:   relayResult(o),
			Err:      o.Err,
		})
	})
}

// relayResult is a relay's end in a word or two: "no target", "client eof", "target reset", "idle_timeout".
func relayResult(o dial.Outcome) string {
	switch {
	case o.Target == "":
		return "no target"
	case o.Stats.First == relay.A:
		return "client " + o.Stats.Reason.String()
	case o.Stats.First == relay.B:
		return "target " + o.Stats.Reason.String()
	}
	return o.Stats.Reason.String()
}

func dialOptions(r config.Relay, log *slog.Logger, m *metrics.Metrics) dial.Options {
	return dial.Options{
		Block:          r.Name,
		Targets:        targetTextList(r.Dial),
		Balance:        string(r.Balance),
		ConnectTimeout: r.ConnectTimeout,
		Limits:         relay.Limits{Idle: r.IdleTimeout},
		Log:            log,
		Dials:          m.Dials,
		Ejected:        m.TargetEjected,
	}
}

func grpcOptions(cfg *config.Config, log *slog.Logger) grpcproxy.Options {
	o := grpcproxy.Options{Log: log}
	for _, b := range cfg.Backends {
		o.Backends = append(o.Backends, grpcproxy.Backend{
			Name: b.Name, Targets: targetTextList(b.Targets), Balance: string(b.Balance), Authority: b.Authority,
		})
	}
	for _, r := range cfg.Routes {
		route := grpcproxy.Route{Pattern: r.Pattern, Timeout: r.Timeout, MessageBytesMax: r.MaxMessage}
		for _, to := range r.To {
			route.To = append(route.To, grpcproxy.Weighted{Backend: to.Backend, Weight: to.Weight})
		}
		o.Routes = append(o.Routes, route)
	}
	return o
}

func targetTextList(targets []config.Target) []string {
	texts := make([]string, len(targets))
	for i, t := range targets {
		texts[i] = t.Text
	}
	return texts
}

func targetTexts(targets []config.Target) string { return strings.Join(targetTextList(targets), ", ") }

// placed puts the configuration's place before an error.
func placed(at hcl.Range, err error) error { return fmt.Errorf("%s: %w", config.Place(at), err) }

// bindError says what to do about an address that cannot be listened on.
func bindError(addr string, err error) error {
	_, port, _ := net.SplitHostPort(addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && port != "":
		return fmt.Errorf("cannot listen on %s: another program has port %s (see who: ss -ltnp 'sport = :%s'); end it, or choose another port here", addr, port, port)
	case errors.Is(err, syscall.EACCES) || errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot listen on %s: no permission; ports below 1024 need root or CAP_NET_BIND_SERVICE", addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on %s: this machine has no such address (see them: ip addr)", addr)
	}
	return fmt.Errorf("cannot listen on %s: %w", addr, err)
}

// removeStaleSocket removes a unix socket that an ended process left: nobody answers there.
func removeStaleSocket(path string) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return
	}
	c, err := net.Dial("unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path) // if that fails, listening says why
	} else if err == nil {
		c.Close()
	}
}
