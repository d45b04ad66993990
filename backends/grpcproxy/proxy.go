// Package grpcproxy carries gRPC calls from clients to backends, choosing by method.
//
// A Proxy serves HTTP/2 connections that a listener gives it. Each call goes to the most specific route that fits its
// method, and there to a backend by weight. Messages are never decoded nor decompressed; metadata, trailers, status
// details, deadlines, cancellation and half-close pass through in both directions. What the proxy itself answers:
//
//   - no route: UNIMPLEMENTED
//   - no connection to the backend: UNAVAILABLE, with the backend's name; the cause is in the log
//   - a message over the limit: RESOURCE_EXHAUSTED
//   - HTTP/2 that is not gRPC: HTTP status 415
//
// The user agent reaches the backend as x-forwarded-user-agent.
package grpcproxy

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// pingIntervalMin is how often a client may ping before it is told to calm down. grpc's own 5 minutes evict clients
// that are set to keep NAT entries alive.
const pingIntervalMin = 5 * time.Second

// Proxy is a gRPC reverse proxy. Make one with New; it is safe for concurrent use.
type Proxy struct {
	server   *grpc.Server
	table    *table
	backends []*backend
	bytesMax int64
}

// Status is a snapshot for people.
type Status struct {
	Backends []BackendStatus `json:"backends"`
}

// BackendStatus is what a backend does now.
type BackendStatus struct {
	Name      string   `json:"name"`
	Targets   []string `json:"targets"`
	Connected bool     `json:"connected"` // to one target at least
	Active    int64    `json:"active"`    // calls in flight
	Started   int64    `json:"started"`   // calls since the start
}

// New checks the options and makes a Proxy. It connects to nothing yet.
func New(o Options) (*Proxy, error) {
	if o.StreamsMax == 0 {
		o.StreamsMax = streamsMaxDefault
	}
	if o.MessageBytesMax == 0 {
		o.MessageBytesMax = messageBytesMaxDefault
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	p := &Proxy{bytesMax: o.MessageBytesMax}
	named := make(map[string]*backend, len(o.Backends))
	for _, b := range o.Backends {
		ready, err := newBackend(b, o.Log)
		if err != nil {
			p.closeBackends()
			return nil, err
		}
		p.backends = append(p.backends, ready)
		if named[b.Name] != nil {
			p.closeBackends()
			return nil, fmt.Errorf("backend %q: given twice", b.Name)
		}
		named[b.Name] = ready
	}
	var err error
	if p.table, err = newTable(o.Routes, named); err != nil {
		p.closeBackends()
		return nil, err
	}
	p.server = grpc.NewServer(
		grpc.UnknownServiceHandler(p.forward),
		grpc.ForceServerCodecV2(rawCodec{}),
		//lint:ignore SA1019 the registered decompressor serves everybody else in the process
		grpc.RPCDecompressor(marker{}),
		grpc.StatsHandler(encodings{}),
		grpc.MaxConcurrentStreams(o.StreamsMax),
		grpc.MaxRecvMsgSize(p.receiveMax(o.Routes)),
		grpc.MaxSendMsgSize(math.MaxInt),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingIntervalMin, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	)
	return p, nil
}

// receiveMax is the largest message that any route allows: the server reads before it can know the route.
func (p *Proxy) receiveMax(routes []Route) int {
	most := p.bytesMax
	for _, r := range routes {
		most = max(most, r.MessageBytesMax)
	}
	return int(most)
}

// Serve accepts connections until the listener fails or Shutdown. It may be called for several listeners. It returns
// nil after Shutdown.
func (p *Proxy) Serve(l net.Listener) error {
	if err := p.server.Serve(l); err != nil {
		return fmt.Errorf("serve grpc: %w", err)
	}
	return nil
}

// Shutdown sends GOAWAY to all clients, waits for their calls, and stops; calls still open when ctx ends are cut.
// It returns ctx's error where calls were cut.
func (p *Proxy) Shutdown(ctx context.Context) error {
	defer p.closeBackends()
	done := make(chan struct{})
	go func() {
		p.server.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		p.server.Stop()
		<-done
		return fmt.Errorf("grpc calls were cut: %w", ctx.Err())
	}
}

// Status returns what the backends do now.
func (p *Proxy) Status() Status {
	var s Status
	for _, b := range p.backends {
		s.Backends = append(s.Backends, b.status())
	}
	return s
}

func (p *Proxy) closeBackends() {
	for _, b := range p.backends {
		_ = b.conn.Close() // fails only when closed before
	}
}
