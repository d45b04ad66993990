package bridge

import (
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/status"

	"gateway/internal/grpcwire"
	"gateway/internal/metrics"
)

// inletCounts are the metrics of one block.
type inletCounts struct {
	in, out prometheus.Counter
	clients prometheus.Gauge
	refused prometheus.Counter
	dropped *prometheus.CounterVec // reason
	calls   *prometheus.CounterVec // code
}

func countsOf(o InletOptions) inletCounts {
	m := o.Metrics
	if m == nil {
		m = metrics.New().Bridge
	}
	block := prometheus.Labels{"block": o.Name}
	return inletCounts{
		in:      m.Messages.WithLabelValues(o.Name, "in"),
		out:     m.Messages.WithLabelValues(o.Name, "out"),
		clients: m.Clients.WithLabelValues(o.Name),
		refused: m.Refused.WithLabelValues(o.Name),
		dropped: m.Dropped.MustCurryWith(block),
		calls:   m.Calls.MustCurryWith(block),
	}
}

// drop counts a message that was thrown away.
func (c *inletCounts) drop(reason string) { c.dropped.WithLabelValues(reason).Inc() }

// called counts a call that a client's messages made, by its status.
func (i *Inlet) called(err error) {
	code := grpcwire.KnownCode(status.Code(err))
	i.counts.calls.WithLabelValues(code.String()).Inc()
	i.options.Service.called(code)
}
