package grpcproxy

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const (
	healthInterval = 2 * time.Second
	healthWait     = 2 * time.Second
)

// watchHealth asks a target how it is, on a connection of its own, as long as the target is there. Who cannot be asked is
// not well; who does not know the question is.
func (t *target) watchHealth() {
	authority := t.backend.Authority
	if authority == "" {
		authority = t.host
	}
	conn, err := grpc.NewClient("passthrough:///"+t.address,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return t.socket(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // socket speaks TLS
		grpc.WithAuthority(authority), grpc.WithDisableServiceConfig())
	if err != nil {
		t.backend.proxy.log.Error("grpc health cannot be asked", "backend", t.backend.Name, "target", t.address, "err", err)
		return
	}
	defer func() { _ = conn.Close() }() // fails only when closed before
	client := healthpb.NewHealthClient(conn)
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for {
		t.setSick(t.askHealth(client))
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// askHealth returns nil when all is well.
func (t *target) askHealth(client healthpb.HealthClient) error {
	ctx, cancel := context.WithTimeout(t.ctx, healthWait)
	defer cancel()
	answer, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: t.backend.Health})
	if status.Code(err) == codes.Unimplemented {
		return nil
	}
	if err == nil && answer.Status != healthpb.HealthCheckResponse_SERVING {
		err = status.Error(codes.Unavailable, answer.Status.String())
	}
	return err
}

// setSick notes the answer, and logs it when it has changed.
func (t *target) setSick(err error) {
	if t.ctx.Err() != nil || t.sick.Swap(err != nil) == (err != nil) {
		return
	}
	log := t.backend.proxy.log.With("backend", t.backend.Name, "target", t.address)
	if err != nil {
		log.Warn("grpc target is not healthy", "err", err)
		return
	}
	log.Info("grpc target is healthy again")
	var b batch
	b.wake(t.backend)
	b.run()
}
