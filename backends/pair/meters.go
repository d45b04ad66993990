package pair

import (
	"github.com/prometheus/client_golang/prometheus"

	"gateway/internal/metrics"
)

// meters are the metrics of one block, looked up once.
type meters struct {
	parked, waiting, pairs    prometheus.Gauge
	paired, retired, repaired prometheus.Counter
	wait                      prometheus.Observer
	refused, failures         *prometheus.CounterVec
}

func newMeters(m *metrics.Pair, block string) meters {
	of := prometheus.Labels{"block": block}
	return meters{
		parked:   m.Parked.WithLabelValues(block),
		waiting:  m.Waiting.WithLabelValues(block),
		pairs:    m.Pairs.WithLabelValues(block),
		paired:   m.Paired.WithLabelValues(block),
		retired:  m.Retired.WithLabelValues(block),
		repaired: m.Repaired.WithLabelValues(block),
		wait:     m.WaitSeconds.WithLabelValues(block),
		refused:  m.Refused.MustCurryWith(of),
		failures: m.HandshakeFailures.MustCurryWith(of),
	}
}

// ended counts the end of a connection that was offered.
func (m *meters) ended(role Role, end End) {
	switch end {
	case Relayed, Retired:
	case Handshake, Unfinished:
		if role == Client {
			m.failures.WithLabelValues(string(end)).Inc()
		}
	default:
		m.refused.WithLabelValues(role.String(), string(end)).Inc()
	}
}
