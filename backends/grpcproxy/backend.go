package grpcproxy

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer/leastrequest"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
)

// balancers maps the words of Backend.Balance to grpc's policies.
var balancers = map[string]string{
	"":              roundrobin.Name,
	"round_robin":   roundrobin.Name,
	"least_request": leastrequest.Name,
}

// backend is a Backend with its connections.
type backend struct {
	Backend
	conn    *grpc.ClientConn
	log     *slog.Logger
	lost    atomic.Bool // calls find no connection; logged when it changes
	started atomic.Int64
	active  atomic.Int64
}

// newBackend connects nothing yet: the first call does.
func newBackend(b Backend, log *slog.Logger) (*backend, error) {
	policy, known := balancers[b.Balance]
	if !known {
		return nil, fmt.Errorf("backend %q: there is no balance %q: round_robin or least_request", b.Name, b.Balance)
	}
	if len(b.Targets) == 0 && b.Dial == nil {
		return nil, fmt.Errorf("backend %q: has no target", b.Name)
	}
	conn, err := grpc.NewClient(targets{}.Scheme()+":///"+b.Name,
		grpc.WithResolvers(targets{b}),
		grpc.WithContextDialer(b.dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, policy)),
		grpc.WithDisableServiceConfig(),
		grpc.WithStatsHandler(encodings{}),
		//lint:ignore SA1019 the registered decompressor serves everybody else in the process
		grpc.WithDecompressor(marker{}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})),
	)
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", b.Name, err)
	}
	return &backend{Backend: b, conn: conn, log: log}, nil
}

// dial connects to one address that targets made.
func (b Backend) dial(ctx context.Context, address string) (net.Conn, error) {
	if b.Dial != nil {
		return b.Dial(ctx)
	}
	var dialer net.Dialer
	if path, found := strings.CutPrefix(address, "unix://"); found {
		return dialer.DialContext(ctx, "unix", path)
	}
	return dialer.DialContext(ctx, "tcp", strings.TrimPrefix(address, "dns:///"))
}

// reached notes whether a call found a connection, and logs it when that changed.
func (b *backend) reached(err error) {
	if code := status.Code(err); code == codes.Canceled || code == codes.DeadlineExceeded {
		return // the caller's doing, which tells nothing of the backend
	}
	if lost := err != nil; b.lost.Swap(lost) == lost {
		return
	}
	if err != nil {
		b.log.Warn("grpc backend lost", "backend", b.Name, "targets", b.Targets, "err", err)
		return
	}
	b.log.Info("grpc backend is back", "backend", b.Name)
}

func (b *backend) status() BackendStatus {
	return BackendStatus{
		Name: b.Name, Targets: b.Targets, Connected: b.conn.GetState() == connectivity.Ready,
		Active: b.active.Load(), Started: b.started.Load(),
	}
}

// targets resolves a backend's name to its fixed list of addresses.
type targets struct{ Backend }

func (targets) Scheme() string { return "gateway" }

func (t targets) Build(_ resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	addresses := t.Targets
	if t.Backend.Dial != nil {
		addresses = []string{t.Name}
	}
	var state resolver.State
	for _, address := range addresses {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	if err := conn.UpdateState(state); err != nil {
		return nil, fmt.Errorf("backend %q: %w", t.Name, err)
	}
	return t, nil
}

func (targets) ResolveNow(resolver.ResolveNowOptions) {}
func (targets) Close()                                {}
