package main

import (
	"context"
	"fmt"

	"gateway/backends/grpcproxy"
	"gateway/internal/config"
	"gateway/internal/resource"
	"gateway/internal/tracing"
)

// telemetry makes the tracer that cfg asks for the one in use; nil: no spans are made.
func (i *instance) telemetry(change *resource.Change, t *config.Telemetry) error {
	if t == nil {
		i.onBegin(func() { i.tracing.Set(nil) })
		return nil
	}
	settings := struct {
		otlp  string
		ratio float64
	}{t.OTLP, t.Ratio}
	tracer, err := resource.Use(change, "telemetry", settings, func() (*tracing.Tracer, resource.Retire, error) {
		tracer, err := tracing.New(tracing.Options{Endpoint: t.OTLP, Ratio: t.Ratio, Version: versionText(), Spans: i.metrics.Spans, Log: i.log})
		if err != nil {
			return nil, nil, err
		}
		return tracer, func(bool) { i.running.Go(func() { i.lastSpans(tracer) }) }, nil
	})
	if err != nil {
		return placed(t.Range, fmt.Errorf("telemetry: %w", err))
	}
	i.onBegin(func() { i.tracing.Set(tracer) })
	return nil
}

// lastSpans has a tracer send what it has.
func (i *instance) lastSpans(t *tracing.Tracer) {
	ctx, cancel := context.WithTimeout(context.Background(), cutGrace)
	defer cancel()
	if err := t.Shutdown(ctx); err != nil {
		i.log.Debug("the last spans were not sent", "error", err)
	}
}

// callTracer makes spans of the calls that come to an engine.
type callTracer struct {
	to    *tracing.Switch
	entry string // the engine's name
}

func (t callTracer) Start(method, traceparent, tracestate string) grpcproxy.Span {
	if span := t.to.Start(t.entry, method, traceparent, tracestate); span != nil {
		return span
	}
	return nil
}
