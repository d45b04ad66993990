package main

// ZeroMQ clients whose messages become calls, and ZeroMQ services that calls reach: what a configuration makes of the bridge.
//
// A zmq block's messages go to a gRPC engine of its own over a connection within the process, and the engine's calls to a ZeroMQ
// backend over another: weights, limits and retries are the engine's, whoever comes.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/hcl/v2"

	"gateway/backends/bridge"
	"gateway/backends/grpcproxy"
	"gateway/internal/config"
	"gateway/internal/gateway"
	"gateway/internal/inproc"
	"gateway/internal/metrics"
	"gateway/internal/resource"
	"gateway/internal/zmtp"
)

// smallFileBytesMax bounds the files of users and of descriptors.
const smallFileBytesMax = 16 << 20

// checks look into what a configuration names before it is served.
var checks = config.Checks{
	SecretKey:     func(text string) error { _, err := parseSecret(config.Secret(text)); return err },
	SecretKeyFile: func(path string) error { _, err := zmtp.LoadSecretKey(path); return err },
	PublicKey:     func(text string) error { _, err := zmtp.ParsePublicKey(text); return err },
	PublicKeys:    func(path string) error { _, err := zmtp.LoadPublicKeys(path); return err },
	Users:         func(path string) error { _, err := readUsers(path); return err },
	Descriptors: func(path string) error {
		set, err := readSmall(path)
		if err == nil {
			_, err = bridge.Descriptors(set)
		}
		return err
	},
}

// services are the ZeroMQ backends, by name.
type services map[string]*bridge.Backend

// services are the backends with zmq targets.
func (i *instance) services(change *resource.Change, cfg *config.Config) (services, error) {
	all := services{}
	for _, b := range cfg.Backends {
		if b.ZMQ == nil {
			continue
		}
		o, err := serviceOptions(b, i.log, i.metrics)
		if err == nil {
			all[b.Name], err = i.service(change, o, b.ZMQ.Descriptors)
		}
		if err != nil {
			return nil, placed(b.Range, fmt.Errorf("backend %q: %w", b.Name, err))
		}
	}
	return all, nil
}

// service is one ZeroMQ backend. When its settings change, calls of the old one end there.
func (i *instance) service(change *resource.Change, o bridge.BackendOptions, descriptors string) (*bridge.Backend, error) {
	set, err := readSmall(descriptors)
	if err != nil {
		return nil, fmt.Errorf("descriptors: %w", err)
	}
	settings := struct {
		options     bridge.BackendOptions
		descriptors []byte
	}{o, set}
	return resource.Use(change, "service "+o.Name, settings, func() (*bridge.Backend, resource.Retire, error) {
		if set != nil {
			types, err := bridge.Descriptors(set)
			if err != nil {
				return nil, nil, err
			}
			o.Types = types
		}
		b, err := bridge.NewBackend(o)
		if err != nil {
			return nil, nil, err
		}
		end := i.keep(b.Shutdown)
		return b, end, nil
	})
}

// servicePeers are the connections to the ZeroMQ backends of now.
func (i *instance) servicePeers() (all []metrics.Service) {
	if g := i.current.Load(); g != nil {
		for name, b := range g.services {
			all = append(all, metrics.Service{Backend: name, Peers: b.Status().Peers})
		}
	}
	return all
}

func serviceOptions(b config.Backend, log *slog.Logger, m *metrics.Metrics) (bridge.BackendOptions, error) {
	payload, err := bridge.ParsePayload(b.ZMQ.Payload)
	if err != nil {
		return bridge.BackendOptions{}, err
	}
	security, err := serviceSecurity(b.ZMQ)
	return bridge.BackendOptions{
		Name:             b.Name,
		Endpoints:        endpoints(b.Targets),
		Socket:           zmtp.SocketType(b.ZMQ.Socket),
		Security:         security,
		QueueMessagesMax: b.ZMQ.HWM,
		MessageBytesMax:  int(b.ZMQ.MaxMessage),
		Payload:          payload,
		TopicField:       b.ZMQ.TopicField,
		Metrics:          m.Bridge,
		Log:              log,
	}, err
}

// endpoints are targets as a Socket connects to them.
func endpoints(targets []config.Target) []string {
	all := make([]string, len(targets))
	for i, t := range targets {
		all[i] = t.Network + "://" + t.Address
	}
	return all
}

// serviceSecurity is the gateway's part towards a service; nil is NULL.
func serviceSecurity(s *config.ZMQService) (zmtp.Security, error) {
	if s.CurveServerKey == "" {
		return nil, nil
	}
	server, err := zmtp.ParsePublicKey(s.CurveServerKey)
	if err != nil {
		return nil, fmt.Errorf("curve_server_key: %w", err)
	}
	if s.CurveSecretKey == "" {
		return zmtp.CurveClient{Server: server}, nil
	}
	secret, err := parseSecret(s.CurveSecretKey)
	if err != nil {
		return nil, fmt.Errorf("curve_secret_key: %w", err)
	}
	return zmtp.CurveClient{Server: server, Pair: zmtp.KeyPair{Public: secret.Public(), Secret: secret}}, nil
}

// parseSecret reads a secret key: its 40 characters, or a certificate.
func parseSecret(s config.Secret) (zmtp.SecretKey, error) {
	f, err := zmtp.ParseKeyFile([]byte(s))
	if err != nil {
		return zmtp.SecretKey{}, err
	}
	return f.SecretKey()
}

// inlet is a zmq block at work. It outlives reloads that leave what it plays: its clients stay, and their next messages
// follow the new configuration.
type inlet struct {
	*bridge.Inlet
	calls  *bridge.Calls                   // what messages become; nil if they are forwarded
	engine gateway.Switch                  // answers them
	inUse  atomic.Pointer[grpcproxy.Proxy] // is the engine
	shares atomic.Pointer[shares]
}

// shares are what a block's backends are to get, and how much they had when that was asked.
type shares struct {
	asked  []config.To
	before map[string]int64
}

// ask notes which shares are asked from now on, if they are others.
func (in *inlet) ask(to []config.To) {
	asked := slices.Clone(to)
	for i := range asked {
		asked[i].Range = hcl.Range{}
	}
	if now := in.shares.Load(); now == nil || !slices.Equal(now.asked, asked) {
		in.shares.Store(&shares{asked, in.sent()})
	}
}

// sent is how much went to each backend.
func (in *inlet) sent() map[string]int64 {
	sent := map[string]int64{}
	for _, u := range in.Upstreams() {
		sent[u.Name] = u.Sent
	}
	if engine := in.inUse.Load(); engine != nil {
		for _, b := range engine.Status().Backends {
			sent[b.Name] = b.Started
		}
	}
	return sent
}

// inlet is the bridge of a zmq block.
func (i *instance) inlet(change *resource.Change, cfg *config.Config, z config.ZMQ, all services) (*inlet, error) {
	settings := struct {
		name, socket string
		forwards     bool
	}{z.Name, z.Socket, z.Method == ""}
	fresh := false
	in, err := resource.Use(change, "zmq "+z.Name, settings, func() (*inlet, resource.Retire, error) {
		fresh = true
		return i.newInlet(z)
	})
	if err != nil {
		return nil, err
	}
	begin := i.onBegin
	if fresh { // nobody has it yet
		begin = func(f func()) { f() }
	}
	var engine *grpcproxy.Proxy
	if z.Method != "" {
		if engine, err = i.inletEngine(change, cfg, z, all); err != nil {
			return nil, err
		}
	}
	plan, err := planOf(cfg, z, in.calls)
	if err != nil {
		return nil, err
	}
	var refused error
	begin(func() {
		if in.inUse.Swap(engine) != engine {
			in.engine.Set(engine, i.fail)
		}
		if refused = in.SetPlan(&plan); refused != nil {
			i.log.Error("a zmq block keeps its old plan", "block", z.Name, "error", refused)
		}
		in.ask(z.To)
	})
	return in, refused
}

func (i *instance) newInlet(z config.ZMQ) (*inlet, resource.Retire, error) {
	in := &inlet{}
	var err error
	in.Inlet, err = bridge.NewInlet(bridge.InletOptions{
		Name: z.Name, Socket: zmtp.SocketType(z.Socket), Metrics: i.metrics.Bridge, Service: i.meter.Service(z.Name), Log: i.log,
	})
	if err != nil {
		return nil, nil, err
	}
	stop := func() {}
	if z.Method != "" {
		l := inproc.Listen()
		in.calls = bridge.NewCalls(l.Dial)
		i.running.Go(func() { in.engine.Serve(l) }) // ends with the listener
		stop = func() {
			in.calls.Close()
			in.engine.Shutdown(context.Background())
			l.Close()
		}
	}
	return in, i.keep(func(ctx context.Context) int {
		cut := in.Shutdown(ctx)
		stop()
		return cut
	}), nil
}

// inletEngine is the gRPC engine of a zmq block: one route, to the block's backends.
func (i *instance) inletEngine(change *resource.Change, cfg *config.Config, z config.ZMQ, all services) (*grpcproxy.Proxy, error) {
	o, err := grpcOptions(cfg, i.log, i.metrics)
	if err != nil {
		return nil, err
	}
	route := grpcproxy.Route{Pattern: "*", MessageBytesMax: z.MaxMessage, Retry: retryOf(z.Retry)}
	if route.Mirrors, err = mirrorsOf(z.Mirrors); err != nil {
		return nil, err
	}
	for _, to := range z.To {
		route.To = append(route.To, grpcproxy.Weighted{Backend: to.Backend, Weight: to.Weight})
	}
	o.Routes = []grpcproxy.Route{route}
	used := func(name string) bool {
		return slices.ContainsFunc(z.To, func(to config.To) bool { return to.Backend == name }) ||
			slices.ContainsFunc(z.Mirrors, func(m config.Mirror) bool { return m.Backend == name })
	}
	o.Backends = slices.DeleteFunc(o.Backends, func(b grpcproxy.Backend) bool { return !used(b.Name) })
	return i.engine(change, "engine of zmq "+z.Name, o, all, nil)
}

// engine is a gRPC engine, whose calls reach ZeroMQ services in memory. It stays when routes and backends change: calls on
// connections that live follow the new ones. begun is called when it is the one in use.
func (i *instance) engine(change *resource.Change, name string, o grpcproxy.Options, all services, begun func(*grpcproxy.Proxy)) (*grpcproxy.Proxy, error) {
	routes, backends := o.Routes, slices.Clone(o.Backends)
	for at, b := range backends {
		if service := all[b.Name]; service != nil {
			backends[at].Dial = serviceDialer{service}
		}
	}
	o.Routes, o.Backends, o.Tracer = nil, nil, callTracer{&i.tracing, name}
	fresh := false
	p, err := resource.Use(change, name, o, func() (*grpcproxy.Proxy, resource.Retire, error) {
		fresh = true
		p, err := grpcproxy.New(o)
		if err != nil {
			return nil, nil, err
		}
		end := i.keep(func(ctx context.Context) (cut int) {
			if err := p.Shutdown(ctx); err != nil {
				i.log.Debug("grpc calls were cut", "error", err)
			}
			return 0 // the connections are counted where they were accepted
		})
		return p, end, nil
	})
	if err != nil {
		return nil, err
	}
	plan, err := p.Plan(routes, backends)
	if err != nil {
		return nil, err
	}
	if fresh {
		p.Apply(plan) // nobody calls it yet
		if begun != nil {
			i.onBegin(func() { begun(p) })
		}
		return p, nil
	}
	i.onBegin(func() { p.Apply(plan) })
	return p, nil
}

// serviceDialer connects the engine to a ZeroMQ service.
type serviceDialer struct{ service *bridge.Backend }

func (d serviceDialer) DialContext(ctx context.Context) (net.Conn, error) { return d.service.Dial(ctx) }

// planOf is what becomes of a zmq block's messages.
func planOf(cfg *config.Config, z config.ZMQ, calls *bridge.Calls) (bridge.Plan, error) {
	payload, err := bridge.ParsePayload(z.Payload)
	if err != nil {
		return bridge.Plan{}, err
	}
	p := bridge.Plan{
		Method: z.Method, Stream: z.Stream, Payload: payload, TopicField: z.TopicField, Timeout: z.Timeout, Calls: calls,
		QueueMessagesMax: z.HWM, MessageBytesMax: int(z.MaxMessage), Identity: z.Identity,
	}
	for _, kind := range z.SocketType {
		p.SocketTypes = append(p.SocketTypes, zmtp.SocketType(kind))
	}
	if p.Access, err = accessOf(z); err != nil {
		return p, err
	}
	if payload == bridge.JSON {
		p.Types = bridge.Reflection(calls)
		if z.Descriptors != "" {
			set, err := readSmall(z.Descriptors)
			if err == nil {
				p.Types, err = bridge.Descriptors(set)
			}
			if err != nil {
				return p, fmt.Errorf("descriptors: %w", err)
			}
		}
	}
	if z.Method != "" {
		return p, nil
	}
	p.Forward, err = upstreamsOf(cfg, z)
	return p, err
}

// upstreamsOf are the services that a block without a method forwards to.
func upstreamsOf(cfg *config.Config, z config.ZMQ) (all []bridge.Upstream, err error) {
	for _, to := range z.To {
		at := slices.IndexFunc(cfg.Backends, func(b config.Backend) bool { return b.Name == to.Backend })
		b := cfg.Backends[at]
		security, err := serviceSecurity(b.ZMQ)
		if err != nil {
			return nil, fmt.Errorf("backend %q: %w", b.Name, err)
		}
		all = append(all, bridge.Upstream{
			Name: b.Name, Endpoints: endpoints(b.Targets), Security: security, Weight: to.Weight, QueueMessagesMax: b.ZMQ.HWM,
		})
	}
	return all, nil
}

// accessOf says who may come to a zmq block.
func accessOf(z config.ZMQ) (a bridge.Access, err error) {
	if z.CurveSecretKey != "" {
		secret, err := parseSecret(z.CurveSecretKey)
		if err != nil {
			return a, fmt.Errorf("curve_secret_key: %w", err)
		}
		a.Secret = &secret
	}
	if z.CurveClients != "" {
		keys, err := zmtp.LoadPublicKeys(z.CurveClients)
		if err != nil {
			return a, fmt.Errorf("curve_clients: %w", err)
		}
		a.Clients = map[zmtp.PublicKey]bool{}
		for _, key := range keys {
			a.Clients[key] = true
		}
	}
	if z.PlainUsers != "" {
		if a.Users, err = readUsers(z.PlainUsers); err != nil {
			return a, fmt.Errorf("plain_users: %w", err)
		}
	}
	return a, nil
}

// readUsers reads NAME:PASSWORD lines; what begins with # is a comment.
func readUsers(path string) (map[string]string, error) {
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	users := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, password, found := strings.Cut(line, ":")
		if _, twice := users[name]; !found || name == "" || password == "" || twice {
			return nil, fmt.Errorf("%s line %d: want NAME:PASSWORD, each name once", path, n)
		}
		users[name] = password
	}
	if len(users) == 0 {
		return nil, fmt.Errorf("%s names no user", path)
	}
	return users, lines.Err()
}

// readSmall reads a file of at most smallFileBytesMax; nil without a name.
func readSmall(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > smallFileBytesMax:
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, smallFileBytesMax)
	}
	return os.ReadFile(path)
}

// inletHandler makes an inlet a handler of the table.
type inletHandler struct{ inlet *inlet }

func (h inletHandler) ServeConn(ctx context.Context, c net.Conn, done func(gateway.Outcome)) {
	ladder := zmtp.NewLadder(c)
	if climbed, ok := c.(interface{ Ladder() *zmtp.Ladder }); ok {
		ladder = climbed.Ladder()
	}
	h.inlet.ServeConn(ctx, ladder, c.RemoteAddr(), func(o bridge.Outcome) {
		done(gateway.Outcome{BytesIn: o.BytesIn, BytesOut: o.BytesOut, Result: o.Result, Err: o.Err})
	})
}

// keyOf is the key that clients of a zmq block must mean; nil without one, or with one that build has refused.
func keyOf(m config.Match) *zmtp.SecretKey {
	if m.Key == "" {
		return nil
	}
	secret, err := parseSecret(m.Key)
	if err != nil {
		return nil
	}
	return &secret
}
