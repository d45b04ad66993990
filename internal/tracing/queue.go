package tracing

// Rules of this file.
//
// OnEnd never waits: a span goes into the queue, or is dropped. One goroutine sends; it ends by Shutdown, after it has sent what
// is queued, or when Shutdown's context is done. A batch that the collector does not take is lost, and counted.

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/time/rate"
)

const (
	queueSpansMax = 4096
	batchSpansMax = 512
	flushEvery    = time.Second
	exportTimeout = 5 * time.Second
	complainEvery = time.Minute
)

// queue sends spans in batches.
type queue struct {
	exporter              sdktrace.SpanExporter
	spans                 chan sdktrace.ReadOnlySpan
	sent, dropped, failed prometheus.Counter
	log                   *slog.Logger
	complain              rate.Sometimes

	ctx    context.Context // of sending; done when Shutdown waits no longer
	cancel context.CancelFunc
	stop   chan struct{}
	once   sync.Once
	ended  chan struct{}
}

func newQueue(exporter sdktrace.SpanExporter, counted *prometheus.CounterVec, log *slog.Logger) *queue {
	if counted == nil {
		counted = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spans"}, []string{"result"})
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	q := &queue{
		exporter: exporter, spans: make(chan sdktrace.ReadOnlySpan, queueSpansMax), log: log, complain: rate.Sometimes{First: 1, Interval: complainEvery},
		sent: counted.WithLabelValues("sent"), dropped: counted.WithLabelValues("dropped"), failed: counted.WithLabelValues("failed"),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	go q.run()
	return q
}

// OnStart does nothing.
func (q *queue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd queues a span that was sampled.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	select {
	case q.spans <- s:
	default:
		q.dropped.Inc()
	}
}

// ForceFlush does nothing: what is queued is sent within a second.
func (q *queue) ForceFlush(context.Context) error { return nil }

// Shutdown sends what is queued until ctx is done.
func (q *queue) Shutdown(ctx context.Context) error {
	q.once.Do(func() { close(q.stop) })
	stop := context.AfterFunc(ctx, q.cancel)
	defer stop()
	<-q.ended
	return errors.Join(ctx.Err(), q.exporter.Shutdown(ctx))
}

// run sends until stop.
func (q *queue) run() {
	defer close(q.ended)
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	batch := make([]sdktrace.ReadOnlySpan, 0, batchSpansMax)
	for {
		select {
		case s := <-q.spans:
			if batch = append(batch, s); len(batch) == batchSpansMax {
				batch = q.export(batch)
			}
		case <-ticker.C:
			batch = q.export(batch)
		case <-q.stop:
			q.rest(batch)
			return
		}
	}
}

// rest sends what is left.
func (q *queue) rest(batch []sdktrace.ReadOnlySpan) {
	for {
		select {
		case s := <-q.spans:
			if batch = append(batch, s); len(batch) == batchSpansMax {
				batch = q.export(batch)
			}
		default:
			q.export(batch)
			return
		}
	}
}

// export sends a batch and returns an empty one.
func (q *queue) export(batch []sdktrace.ReadOnlySpan) []sdktrace.ReadOnlySpan {
	if len(batch) == 0 {
		return batch
	}
	ctx, cancel := context.WithTimeout(q.ctx, exportTimeout)
	defer cancel()
	counter := q.sent
	if err := q.exporter.ExportSpans(ctx, batch); err != nil {
		counter = q.failed
		q.complain.Do(func() { q.log.Warn("the collector does not take spans", "lost", len(batch), "error", err) })
	}
	counter.Add(float64(len(batch)))
	clear(batch)
	return batch[:0]
}
