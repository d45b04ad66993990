package main

// The only file that names every concrete backend: it turns a configuration into resources, backends and the table.

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"gateway/backends/dial"
	"gateway/backends/grpcproxy"
	"gateway/backends/pair"
	"gateway/backends/relay"
	"gateway/backends/sockjs"
	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/metrics"
	"gateway/internal/resource"
	"gateway/internal/zmtp"
)

// generation is one configuration at work. What it names is made by a reload or taken over from the one before.
type generation struct {
	number   int
	since    time.Time
	config   *config.Config
	ports    []*port // the exposed ones, and the workers' doors
	relays   map[string]*dial.Backend
	meetings map[string]*pair.Rendezvous // of relays whose workers connect in
	inlets   map[string]*inlet           // of zmq blocks
	services services                    // ZeroMQ backends
	proxy    *grpcproxy.Proxy            // nil without grpc blocks
	browsers []*sockjs.Server            // of the sockjs blocks, in file order
	admin    *adminPort                  // nil without an admin block
	table    *gateway.Table
}

// build makes the generation that cfg describes, as part of change: nothing is served and nothing retired yet.
func (i *instance) build(change *resource.Change, cfg *config.Config) (*generation, error) {
	g := &generation{config: cfg, relays: map[string]*dial.Backend{}, meetings: map[string]*pair.Rendezvous{}, inlets: map[string]*inlet{}}
	doors, err := i.buildRelays(change, g)
	if err != nil {
		return nil, err
	}
	if g.services, err = i.services(change, cfg); err != nil {
		return nil, err
	}
	if len(cfg.Routes) > 0 {
		if g.proxy, err = i.grpcProxy(change, cfg, g.services); err != nil {
			return nil, fmt.Errorf("grpc: %w", err)
		}
	}
	if err = i.telemetry(change, cfg.Telemetry); err != nil {
		return nil, err
	}
	if err = i.meterFile(change, cfg.Meter); err != nil {
		return nil, err
	}
	for _, z := range cfg.ZMQs {
		if g.inlets[z.Name], err = i.inlet(change, cfg, z, g.services); err != nil {
			return nil, placed(z.Range, fmt.Errorf("zmq %q: %w", z.Name, err))
		}
	}
	for _, b := range cfg.SockJS {
		s, err := i.browsers(change, b)
		if err != nil {
			return nil, placed(b.Range, fmt.Errorf("sockjs %q: %w", b.Prefix, err))
		}
		g.browsers = append(g.browsers, s)
	}
	for _, l := range cfg.Listeners {
		p, err := i.port(change, l)
		if err != nil {
			return nil, placed(l.Range, err)
		}
		g.ports = append(g.ports, p)
	}
	g.ports = append(g.ports, doors...)
	if cfg.Admin != nil {
		a, err := i.adminPort(change, *cfg.Admin)
		if err != nil {
			return nil, placed(cfg.Admin.Range, err)
		}
		g.admin = a
	}
	g.table = tableOf(cfg, g.handlers())
	for at, s := range g.browsers {
		g.table.HTTP = append(g.table.HTTP, gateway.HTTPRoute{Prefix: cfg.SockJS[at].Prefix, Handler: s})
	}
	g.table.HTTP = append(g.table.HTTP, i.extra...)
	return g, nil
}

// buildRelays makes the backends of the relay blocks, and the doors of those whose workers connect in.
func (i *instance) buildRelays(change *resource.Change, g *generation) (doors []*port, err error) {
	for _, r := range g.config.Relays {
		if r.Workers == nil {
			if g.relays[r.Name], err = i.relay(change, r); err != nil {
				return nil, placed(r.Range, fmt.Errorf("relay %q: %w", r.Name, err))
			}
			continue
		}
		meeting, door, err := i.meeting(change, r)
		if err != nil {
			return nil, placed(r.Workers.Range, err)
		}
		g.meetings[r.Name], doors = meeting, append(doors, door)
	}
	return doors, nil
}

// setLimits applies the limits that hold for the whole gateway.
func (i *instance) setLimits(l config.Limits) {
	i.server.SetHeldMax(l.Held)
	i.server.SetSourceLimits(l.PerSource, l.NewPerSource)
	relay.SetBuffersMax(l.Buffers)
}

// relay is the backend of a relay block. One whose settings change is replaced; its connections stay with the old one.
func (i *instance) relay(change *resource.Change, r config.Relay) (*dial.Backend, error) {
	o := dialOptions(r, i.log, i.metrics)
	return resource.Use(change, "relay "+r.Name, o, func() (*dial.Backend, resource.Retire, error) {
		b, err := dial.New(o)
		if err != nil {
			return nil, nil, err
		}
		end := i.keep(b.Shutdown)
		return b, end, nil
	})
}

// grpcProxy serves all grpc blocks.
func (i *instance) grpcProxy(change *resource.Change, cfg *config.Config, all services) (*grpcproxy.Proxy, error) {
	o, err := grpcOptions(cfg, i.log, i.metrics)
	if err != nil {
		return nil, err
	}
	o.OwnServices, o.Ledger = true, &i.callers
	return i.engine(change, "grpc", o, all, func(p *grpcproxy.Proxy) { i.grpc.Set(p, i.fail) })
}

// handlers are the relay and zmq blocks' handlers, by block.
func (g *generation) handlers() map[string]gateway.Handler {
	all := map[string]gateway.Handler{}
	for name, b := range g.relays {
		all[name] = relayHandler{b}
	}
	for name, r := range g.meetings {
		all[name] = pairHandler{r}
	}
	for name, in := range g.inlets {
		all[name] = inletHandler{in}
	}
	return all
}

// tableOf makes the table; handlers may be nil for one that only explains.
func tableOf(cfg *config.Config, handlers map[string]gateway.Handler) *gateway.Table {
	t := &gateway.Table{GRPC: len(cfg.Routes) > 0}
	for _, b := range cfg.Order() {
		t.Relays = append(t.Relays, gateway.Block{Name: b.Name, Match: matchOf(b.Match), Handler: handlers[b.Name]})
	}
	return t
}

func matchOf(m config.Match) gateway.Match {
	out := gateway.Match{Protocol: string(m.Protocol), Listeners: m.Listen, Sources: m.Source, ServerNames: m.SNI, Identity: m.Identity, Key: keyOf(m)}
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
	h.backend.ServeConn(ctx, c, func(o dial.Outcome) { done(relayOutcome(o)) })
}

// Carries says that the backend keeps account of its flows.
func (relayHandler) Carries() {}

func (h relayHandler) TryServeConn(c net.Conn, done func(gateway.Outcome)) bool {
	return h.backend.TryServeConn(c, func(o dial.Outcome) { done(relayOutcome(o)) })
}

func relayOutcome(o dial.Outcome) gateway.Outcome {
	return gateway.Outcome{
		Target:   o.Target,
		BytesIn:  o.Stats.AToB,
		BytesOut: o.Stats.BToA,
		Ago:      o.Stats.Ago,
		Result:   relayResult(o),
		Err:      o.Err,
	}
}

// relayResult is a relay's end in a word or two: "no target", "client eof", "target reset", "idle_timeout".
func relayResult(o dial.Outcome) string {
	switch {
	case o.Target == "":
		return "no target"
	case o.Stats.First == relay.A && o.Stats.Reason == relay.EOF:
		return "client eof" // as nearly always, without memory for it
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
		ProxyHeader:    r.ProxyHeader,
		Limits:         relay.Limits{Idle: r.IdleTimeout},
		Log:            log,
		Dials:          m.Dials,
	}
}

// targets are those that relays dial now.
func (i *instance) targets() (all []metrics.Target) {
	g := i.current.Load()
	if g == nil {
		return nil
	}
	for block, b := range g.relays {
		for target, leftOut := range b.LeftOut() {
			all = append(all, metrics.Target{Block: block, Name: target, LeftOut: leftOut})
		}
	}
	return all
}

func targetTextList(targets []config.Target) []string {
	texts := make([]string, len(targets))
	for i, t := range targets {
		texts[i] = t.Text
	}
	return texts
}

func targetTexts(targets []config.Target) string { return strings.Join(targetTextList(targets), ", ") }

// watchOnLoops has the event loops of the relays accept: they are awake anyway.
var watchOnLoops = relay.Watch

// reportEnds has the relays' connections released that have ended.
var reportEnds = relay.Report

// placed puts the configuration's place before an error.
func placed(at hcl.Range, err error) error { return fmt.Errorf("%s: %w", config.Place(at), err) }
