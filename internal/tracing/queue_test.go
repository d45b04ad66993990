package tracing

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// stuck is a collector that takes nothing until it is told to give up.
type stuck struct{ entered chan struct{} }

func (s stuck) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

func (stuck) Shutdown(context.Context) error { return nil }

func TestCollectorThatHangsCostsSpansAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { collectorHangs(t) }) // or a slow machine would have sent some before it hung
}

func collectorHangs(t *testing.T) {
	counted := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spans"}, []string{"result"})
	collector := stuck{make(chan struct{}, 1)}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(newQueue(collector, counted, nil)))
	call := func() {
		_, span := provider.Tracer("test").Start(t.Context(), "call")
		span.End()
	}
	for range batchSpansMax {
		call()
	}
	<-collector.entered
	for range queueSpansMax + 7 {
		call() // would block here
	}
	if n := valueOf(t, counted.WithLabelValues("dropped")); n != 7 {
		t.Errorf("%v spans were dropped", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if provider.Shutdown(ctx) == nil {
		t.Error("the end says that all was sent")
	}
	if n := valueOf(t, counted.WithLabelValues("failed")); n != batchSpansMax+queueSpansMax {
		t.Errorf("%v spans have failed", n)
	}
}

func valueOf(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}
