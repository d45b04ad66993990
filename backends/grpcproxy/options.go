package grpcproxy

import (
	"context"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc/codes"

	"gateway/internal/metrics"
)

// Defaults of Options; each is what a zero field means.
const (
	streamsMaxDefault      = 1000
	messageBytesMaxDefault = 16 << 20
	keepaliveDefault       = 5 * time.Minute
	headerBytesMaxDefault  = 64 << 10
	bufferBytesMaxDefault  = 256 << 20
)

// Options is everything a Proxy needs. The zero value is a proxy without routes: it answers each call UNIMPLEMENTED.
type Options struct {
	// Routes say where calls go. The most specific pattern wins, whatever the order.
	Routes []Route
	// Backends are what routes name. A backend that no route names is not dialled.
	Backends []Backend
	// StreamsMax bounds the calls in flight on one client connection (SETTINGS_MAX_CONCURRENT_STREAMS, RFC 9113
	// section 6.5.2). 0: 1000.
	StreamsMax uint32
	// MessageBytesMax bounds one message, either way, on routes that set no limit of their own. 0: 16 MiB.
	MessageBytesMax int64
	// HeaderBytesMax bounds the header fields of one request or response, counted as in SETTINGS_MAX_HEADER_LIST_SIZE.
	// 0: 64 KiB.
	HeaderBytesMax int
	// BufferBytesMax bounds what all calls together hold back for readers that are slow and for other attempts. As it
	// fills, windows shrink; a call that needs more when it is full ends with RESOURCE_EXHAUSTED. 0: 256 MiB.
	BufferBytesMax int64
	// Keepalive is for how long a peer may be silent before it is sent a PING; a backend is only while calls are open.
	// No answer within 20 s ends the connection. 0: 5 min.
	Keepalive time.Duration
	// Resolver looks names up. nil: net.DefaultResolver.
	Resolver *net.Resolver
	// OwnServices has the gateway answer grpc.health.v1 and server reflection, unless a route names these services.
	OwnServices bool
	// Ledger keeps account of who calls which service. nil: nobody does.
	Ledger Ledger
	// Tracer makes a span of each call that is routed. nil: nobody does.
	Tracer Tracer
	// Metrics counts. nil: nobody sees it.
	Metrics *metrics.Metrics
	// Log receives what an operator must know: a backend lost, a backend back. nil: slog.Default().
	Log *slog.Logger
}

// Route sends the calls that match Pattern and Metadata to one of several backends.
type Route struct {
	// Pattern is "/package.Service/Method", "/package.Service/*" or "*".
	Pattern string
	// Metadata is what a call must carry besides: the value, a value that ends in "*" for how it must begin, or "*" for
	// any. Of the routes with one pattern the first that fits is taken, those that ask nothing last.
	Metadata map[string]string
	// Timeout bounds a call; the caller's own deadline holds where it is sooner. 0: the caller's alone.
	Timeout time.Duration
	// MessageBytesMax bounds one message, either way. 0: Options.MessageBytesMax.
	MessageBytesMax int64
	// WaitForReady lets calls wait for a backend that cannot be reached, for 30 s at most. false: they end UNAVAILABLE.
	WaitForReady bool
	// CallsPerSecond bounds the calls of all callers together; as many may come at once. 0: no bound.
	CallsPerSecond int
	// ConcurrentMax bounds the calls in flight. 0: no bound.
	ConcurrentMax int
	// Retry says which failures are tried again. The zero value: those that no backend has seen, and no others.
	Retry Retry
	// SetMetadata is what the backend gets, instead of what the caller may have sent by these names.
	SetMetadata map[string]string
	// RemoveMetadata is what the backend does not get.
	RemoveMetadata []string
	// Mirrors get copies of calls.
	Mirrors []Mirror
	// To is chosen from by weight, for each call anew. At least one.
	To []Weighted
}

// Retry is what gRFC A6 calls a retry policy. A call is tried again until response headers have come, and while no more
// than 256 KiB of it were sent.
type Retry struct {
	// Attempts is how often a call is tried, the first time included. 0, 1: once.
	Attempts int
	// On are the codes that are tried again. Empty: UNAVAILABLE.
	On []codes.Code
	// Budget is the share of the route's calls in flight that may be retries; 3 always may. 0: 0.2.
	Budget float64
	// BackoffFirst is the mean wait before the first retry; it doubles each time, up to 20 times itself. A server's
	// grpc-retry-pushback-ms takes its place. 0: 25 ms.
	BackoffFirst time.Duration
}

// Weighted is one choice of a route.
type Weighted struct {
	// Backend is a name in Options.Backends.
	Backend string
	// Weight is this choice's share, out of the sum of the route's weights. If all are 0, the shares are equal.
	Weight int
}

// Backend is a group of servers that answer the same calls.
type Backend struct {
	// Name is what routes, messages and metrics call it.
	Name string
	// Targets are "host:port", "dns:///host:port", "srv:///name" or "unix:///path". Names are resolved, again every 30 s
	// and after failures; each address of one is a target of its own. A name that srv:/// has without "_" in front means
	// _grpc._tcp.name. A service's records share its calls by their weights; those of a later priority get calls while
	// nobody of an earlier one can take them (RFC 2782).
	Targets []string
	// Balance is how calls spread over the targets: "round_robin", "least_request" or "ring_hash". "": round_robin.
	Balance string
	// HashKey is the metadata whose value ring_hash goes by: the same value, the same target. Calls without it go anywhere.
	HashKey string
	// Authority replaces the :authority that the caller sent. "": the caller's.
	Authority string
	// Health is the service that targets are asked for by grpc.health.v1; one that is not SERVING gets no calls. "": nobody
	// asks.
	Health string
	// TLS is spoken with the targets. nil: plaintext.
	TLS *TLS
	// Dial replaces dialling of Targets, for a server in this process. nil: Targets are dialled.
	Dial Dialer
}

// TLS says whom a backend is to be, and who the gateway is. All are PEM; ServerName is the Authority, or the target's host.
type TLS struct {
	// CA are the certificates that a backend's is checked against. Empty: those of the system.
	CA string
	// Cert and Key are shown to backends that ask. Empty: none is.
	Cert, Key string
}

// Dialer connects to a server in this process. Backends with equal dialers are the same.
type Dialer interface {
	// DialContext returns when ctx ends, at the latest.
	DialContext(ctx context.Context) (net.Conn, error)
}

// Mirror sends a copy of calls, unary or server streaming, to another backend, and compares what it answers.
type Mirror struct {
	// Backend is a name in Options.Backends.
	Backend string
	// Percent of the route's calls is copied. 0: all.
	Percent float64
	// Compare is "bytes" or "proto". "": nothing is compared.
	Compare string
	// Ignore are fields that may differ, for proto: "name", "outer.name".
	Ignore []string
	// Descriptors is a FileDescriptorSet, for proto. Empty: the backends are asked by reflection.
	Descriptors string
	// Samples is how many differing answers Status shows, 10 at most. 0: none, as they hold what calls said.
	Samples int
}

func (o Options) withDefaults() Options {
	if o.StreamsMax == 0 {
		o.StreamsMax = streamsMaxDefault
	}
	if o.MessageBytesMax == 0 {
		o.MessageBytesMax = messageBytesMaxDefault
	}
	if o.HeaderBytesMax == 0 {
		o.HeaderBytesMax = headerBytesMaxDefault
	}
	if o.BufferBytesMax == 0 {
		o.BufferBytesMax = bufferBytesMaxDefault
	}
	if o.Keepalive == 0 {
		o.Keepalive = keepaliveDefault
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}
