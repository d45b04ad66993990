// Package tracing makes OpenTelemetry spans of calls, and sends them to a collector by OTLP over HTTP.
//
// A caller's traceparent (W3C Trace Context) is the parent of the span, and decides whether there is one to be sent; of calls
// that come without, a share is. What goes on carries the span's own traceparent. Nobody waits for the collector: spans go
// into a queue, and are dropped and counted where it is full. The environment variables OTEL_EXPORTER_OTLP_HEADERS and
// OTEL_EXPORTER_OTLP_CERTIFICATE are heeded, so that a collector's password need not stand in the configuration.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
)

// tracesPath is where collectors take spans (OTLP/HTTP, "OTLP/HTTP Request").
const tracesPath = "/v1/traces"

// methodBytesMax is how much of a method's name a span tells. Callers choose names, and the queue holds many spans.
const methodBytesMax = 200

// Options of a Tracer. Endpoint is required.
type Options struct {
	Endpoint string                 // http://host:port or https://host:port; without a path spans go to /v1/traces there
	Ratio    float64                // of calls whose caller has not decided, from 0 to 1
	Version  string                 // of this program
	Spans    *prometheus.CounterVec // label result: sent, dropped, failed; nil: not counted
	Log      *slog.Logger           // told when the collector fails; nil: nobody
}

// Tracer makes spans. Make one with New.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// New makes a Tracer. It does not look for the collector. The error says what is wrong with the endpoint.
func New(o Options) (*Tracer, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = tracesPath
	}
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(u.String()),
		otlptracehttp.WithTimeout(exportTimeout), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(newQueue(exporter, o.Spans, o.Log)),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "gateway"), attribute.String("service.version", o.Version))),
	)
	return &Tracer{provider, provider.Tracer("gateway")}, nil
}

// Shutdown sends what is queued, until ctx is done, and ends the Tracer: its spans go nowhere from then on.
func (t *Tracer) Shutdown(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Switch is the Tracer in use. The zero value makes no spans.
type Switch struct{ current atomic.Pointer[Tracer] }

// Set changes the Tracer; nil makes no spans.
func (s *Switch) Set(t *Tracer) { s.current.Store(t) }

// Start begins the span of a call: method is "/package.Service/Method", entry where it came in. The traceparent and tracestate are
// the caller's. It returns nil if no spans are made.
func (s *Switch) Start(entry, method, traceparent, tracestate string) *Span {
	t := s.current.Load()
	if t == nil {
		return nil
	}
	caller := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent, "tracestate": tracestate})
	method = told(strings.TrimPrefix(method, "/"))
	service, name, _ := strings.Cut(method, "/")
	ctx, span := t.tracer.Start(caller, method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("rpc.system", "grpc"), attribute.String("rpc.service", service), attribute.String("rpc.method", name),
		attribute.String("gateway.entry", entry)))
	return &Span{ctx, span}
}

// told is what a span tells of a method's name: valid UTF-8, or OTLP could not carry the span, nor any that is sent with it.
func told(method string) string {
	if len(method) > methodBytesMax {
		method = strings.Clone(method[:methodBytesMax])
	}
	return strings.ToValidUTF8(method, "\uFFFD")
}

// Span is a call that goes on.
type Span struct {
	ctx  context.Context
	span trace.Span
}

// Parent is the traceparent for whoever gets the call.
func (s *Span) Parent() string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(s.ctx, carrier)
	return carrier["traceparent"]
}

// End ends the span. attempts is how often the call was sent.
func (s *Span) End(route, backend string, attempts int, code codes.Code) {
	if s.span.IsRecording() {
		s.span.SetAttributes(attribute.Int("rpc.grpc.status_code", int(code)), attribute.String("gateway.route", route),
			attribute.String("gateway.backend", backend), attribute.Int("gateway.attempts", attempts))
		if failed(code) {
			s.span.SetStatus(otelcodes.Error, code.String())
		}
	}
	s.span.End()
}

// failed tells which codes are a server's failure (OpenTelemetry's semantic conventions for gRPC, server spans).
func failed(code codes.Code) bool {
	switch code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	}
	return false
}
