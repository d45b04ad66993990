package grpcproxy

import (
	"context"
	"log/slog"
	"net"
	"time"

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
	// Metrics counts. nil: nobody sees it.
	Metrics *metrics.Metrics
	// Log receives what an operator must know: a backend lost, a backend back. nil: slog.Default().
	Log *slog.Logger
}

// Route sends the calls that match Pattern to one of several backends.
type Route struct {
	// Pattern is "/package.Service/Method", "/package.Service/*" or "*".
	Pattern string
	// Timeout bounds a call; the caller's own deadline holds where it is sooner. 0: the caller's alone.
	Timeout time.Duration
	// MessageBytesMax bounds one message, either way. 0: Options.MessageBytesMax.
	MessageBytesMax int64
	// To is chosen from by weight, for each call anew. At least one.
	To []Weighted
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
	// Targets are "host:port", "dns:///host:port" or "unix:///path". A name is resolved again for every connection.
	Targets []string
	// Balance is how calls spread over the targets: "round_robin" or "least_request". "": round_robin.
	Balance string
	// Authority replaces the :authority that the caller sent. "": the caller's.
	Authority string
	// Dial replaces dialling of Targets, for a server in this process. It returns when ctx ends, at the latest. nil:
	// Targets are dialled.
	Dial func(ctx context.Context) (net.Conn, error)
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
	if o.Metrics == nil {
		o.Metrics = metrics.New()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}
