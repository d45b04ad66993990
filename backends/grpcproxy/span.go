package grpcproxy

import (
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// Tracer makes spans of calls.
type Tracer interface {
	// Start begins the span of a call with the caller's traceparent and tracestate. nil: there is none.
	Start(method, traceparent, tracestate string) Span
}

// Span is a call that goes on.
type Span interface {
	Parent() string // the traceparent that the backend gets
	End(route, backend string, attempts int, code codes.Code)
}

// traceparent is the field that names a span (W3C Trace Context, section 3.2); the other one goes with it.
const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
)

// trace begins the call's span, if there is to be one.
func (call *call) trace(method string, fields []hpack.HeaderField) {
	if call.proxy.tracer == nil {
		return
	}
	parent, _ := valueOf(fields, traceparent)
	state, _ := valueOf(fields, tracestate)
	call.span = call.proxy.tracer.Start(method, parent, state)
}

// traced are the fields for the backend: the call's span is its parent.
func (call *call) traced(fields []hpack.HeaderField) []hpack.HeaderField {
	if call.span == nil {
		return fields
	}
	return replaceField(fields, traceparent, call.span.Parent())
}
