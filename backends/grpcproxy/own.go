package grpcproxy

// What the gateway answers itself, by grpc-go's server: grpc.health.v1, and server reflection (reflection.go). The engine
// reaches that server as one more backend, in memory. A route that names these services goes before; "*" does not.

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
)

const (
	// reachWait is how long a health check waits for a connection to a backend.
	reachWait = time.Second
	// healthLook is how often a health watch looks.
	healthLook = 500 * time.Millisecond
	reachLook  = 10 * time.Millisecond
)

// ownServices is that server.
type ownServices struct {
	proxy    *Proxy
	listener *memory
	server   *grpc.Server
	backend  *backend
	route    *route
}

// isOwnService reports whether the service, "/package.Service", is one of the gateway's.
func isOwnService(service string) bool {
	switch strings.TrimPrefix(service, "/") {
	case healthpb.Health_ServiceDesc.ServiceName, reflectv1.ServerReflection_ServiceDesc.ServiceName, reflectv1alpha.ServerReflection_ServiceDesc.ServiceName:
		return true
	}
	return false
}

// newOwnServices makes the server, and serves.
func newOwnServices(p *Proxy) (*ownServices, error) {
	o := &ownServices{proxy: p, listener: newMemory(), server: grpc.NewServer()}
	healthpb.RegisterHealthServer(o.server, health{proxy: p})
	reflectv1.RegisterServerReflectionServer(o.server, reflection{proxy: p})
	reflectv1alpha.RegisterServerReflectionServer(o.server, reflectionAlpha{reflection: reflection{proxy: p}})
	var err error
	if o.backend, err = newBackend(p, Backend{Name: "own", Dial: o.listener}); err != nil {
		return nil, err
	}
	o.route = fixedRoute(p, o.backend)
	o.backend.begin()
	p.tasks.Go(func() { _ = o.server.Serve(o.listener) }) // ends with stop
	return o, nil
}

func (o *ownServices) stop() {
	if o != nil {
		o.server.Stop()
		o.backend.end()
	}
}

// health answers for the gateway (""), for a backend by its name, and for a service by the backends of its route.
type health struct {
	healthpb.UnimplementedHealthServer
	proxy *Proxy
}

// Check answers at once, or after reachWait.
func (h health) Check(ctx context.Context, q *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s := h.of(ctx, q.Service)
	if s == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, status.Errorf(codes.NotFound, "the gateway knows no backend and no service %q", q.Service)
	}
	return &healthpb.HealthCheckResponse{Status: s}, nil
}

// Watch tells every change.
func (h health) Watch(q *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	tick := time.NewTicker(healthLook)
	defer tick.Stop()
	told := healthpb.HealthCheckResponse_UNKNOWN
	for {
		if now := h.of(stream.Context(), q.Service); now != told {
			told = now
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-tick.C:
		}
	}
}

func (h health) of(ctx context.Context, name string) healthpb.HealthCheckResponse_ServingStatus {
	p := h.proxy
	p.mu.Lock()
	stopping, backends := p.stopping, p.backends
	p.mu.Unlock()
	if stopping {
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	if name == "" {
		return healthpb.HealthCheckResponse_SERVING
	}
	for _, be := range backends {
		if be.Name == name {
			return serving(ctx, be)
		}
	}
	t := p.table.Load()
	if routes := t.services["/"+name]; len(routes) > 0 {
		return serving(ctx, routes[0].backends...)
	}
	for method, routes := range t.methods {
		if strings.HasPrefix(method, "/"+name+"/") {
			return serving(ctx, routes[0].backends...)
		}
	}
	return h.ask(ctx, t.rest, name)
}

// ask passes the question on to the backends of "*", which may have any service.
func (h health) ask(ctx context.Context, routes []*route, name string) healthpb.HealthCheckResponse_ServingStatus {
	for _, r := range routes {
		for _, be := range r.backends {
			conn, err := be.client()
			if err != nil {
				continue
			}
			asking, cancel := context.WithTimeout(ctx, healthWait)
			answer, err := healthpb.NewHealthClient(conn).Check(asking, &healthpb.HealthCheckRequest{Service: name})
			cancel()
			if err == nil {
				return answer.Status
			}
		}
	}
	return healthpb.HealthCheckResponse_SERVICE_UNKNOWN
}

// serving reports whether one of the backends can be reached.
func serving(ctx context.Context, backends ...*backend) healthpb.HealthCheckResponse_ServingStatus {
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	for _, be := range backends {
		for {
			bc, hope := be.choose(0, nil)
			if bc != nil {
				return healthpb.HealthCheckResponse_SERVING
			}
			if !hope {
				break
			}
			select {
			case <-ctx.Done():
				return healthpb.HealthCheckResponse_NOT_SERVING
			case <-time.After(reachLook):
			}
		}
	}
	return healthpb.HealthCheckResponse_NOT_SERVING
}
