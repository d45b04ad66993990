package grpcproxy

// Calls that the gateway itself makes to a backend: copies for mirrors, reflection, health. They go through the engine, over
// a connection in memory, so that they are balanced, secured and bounded as all others.

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// ownClient makes the connections when they are first needed.
type ownClient struct {
	mu     sync.Mutex
	raw    *http.Transport
	conn   *grpc.ClientConn
	closed bool
}

// own services and clients are counted as methods of this service.
const ownService = "/gateway/"

// engineAnswered is a field of answers to the gateway's own calls that the engine gave itself: the backend has not answered.
const engineAnswered = "gateway-answered"

// fixedRoute sends every call to one backend.
func fixedRoute(p *Proxy, be *backend) *route {
	r := &route{counts: newCounts(p.metrics.GRPC, ownService+be.Name), backends: []*backend{be}, chosen: make([]atomic.Int64, 1), ends: []uint64{1}}
	r.MessageBytesMax = p.messageBytesMax
	r.deadlines.init(p, 0)
	return r
}

// dialOwn connects to the engine; all calls go to the backend.
func (be *backend) dialOwn() (net.Conn, error) {
	ours, theirs := net.Pipe()
	r := fixedRoute(be.proxy, be)
	r.marks = true
	be.proxy.serveSocket(theirs, r)
	return ours, nil
}

// transport carries calls as they are.
func (be *backend) transport() *http.Transport {
	o := &be.own
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.raw == nil {
		o.raw = &http.Transport{
			Protocols: new(http.Protocols), DisableCompression: true, MaxResponseHeaderBytes: int64(be.proxy.headerBytesMax),
			DialContext: func(context.Context, string, string) (net.Conn, error) { return be.dialOwn() },
		}
		o.raw.Protocols.SetUnencryptedHTTP2(true)
	}
	return o.raw
}

// client carries calls of generated code.
func (be *backend) client() (*grpc.ClientConn, error) {
	o := &be.own
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, net.ErrClosed
	}
	if o.conn == nil {
		conn, err := grpc.NewClient("passthrough:///"+be.Name,
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return be.dialOwn() }),
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableServiceConfig())
		if err != nil {
			return nil, err
		}
		o.conn = conn
	}
	return o.conn, nil
}

func (o *ownClient) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.conn != nil {
		_ = o.conn.Close() // fails only when closed before
		o.conn = nil
	}
	if o.raw != nil {
		o.raw.CloseIdleConnections()
	}
}
