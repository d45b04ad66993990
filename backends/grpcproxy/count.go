package grpcproxy

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"gateway/internal/grpcwire"
	"gateway/internal/metrics"
)

// counts are a route's counters, looked up once.
type counts struct {
	started, received, sent prometheus.Counter
	seconds                 prometheus.Observer
	handled                 [grpcwire.CodesMax]prometheus.Counter
	retried, overBudget     prometheus.Counter
	service, method         string // labels
}

// newCounts makes the counters of a pattern; "" is that of calls without a route.
func newCounts(m *metrics.GRPC, pattern string) counts {
	service, method, _ := strings.Cut(strings.TrimPrefix(pattern, "/"), "/")
	if pattern == "*" {
		method = "*"
	}
	c := counts{
		started: m.Started.WithLabelValues(service, method), seconds: m.Seconds.WithLabelValues(service, method),
		received: m.Received.WithLabelValues(service, method), sent: m.Sent.WithLabelValues(service, method),
		retried:    m.Retries.WithLabelValues(service, method, "sent"),
		overBudget: m.Retries.WithLabelValues(service, method, "over_budget"),
		service:    service, method: method,
	}
	for code := range c.handled {
		c.handled[code] = m.Handled.WithLabelValues(service, method, codes.Code(code).String())
	}
	return c
}

// ended counts a call's end.
func (c *counts) ended(code codes.Code, took time.Duration) {
	c.handled[grpcwire.KnownCode(code)].Inc()
	c.seconds.Observe(took.Seconds())
}

// parseCode reads a grpc-status; one that is missing, or none, is UNKNOWN.
func parseCode(status string) codes.Code {
	n, err := strconv.ParseUint(status, 10, 32)
	if err != nil {
		return codes.Unknown
	}
	return codes.Code(n)
}
