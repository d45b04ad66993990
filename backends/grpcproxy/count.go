package grpcproxy

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"gateway/internal/metrics"
)

// codesMax is the number of status codes.
const codesMax = int(codes.Unauthenticated) + 1

// counts are a route's counters, looked up once.
type counts struct {
	started, received, sent prometheus.Counter
	seconds                 prometheus.Observer
	handled                 [codesMax]prometheus.Counter
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
	if int(code) >= codesMax {
		code = codes.Unknown
	}
	c.handled[code].Inc()
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

// codeOfHTTP is the code of a response that has no grpc-status ("HTTP to gRPC Status Code Mapping").
func codeOfHTTP(status int) codes.Code {
	switch status {
	case 400:
		return codes.Internal
	case 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 404:
		return codes.Unimplemented
	case 429, 502, 503, 504:
		return codes.Unavailable
	}
	return codes.Unknown
}

// codeOfReset is the code of a stream that was reset (gRPC over HTTP2, "Errors").
func codeOfReset(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeRefusedStream:
		return codes.Unavailable
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeEnhanceYourCalm:
		return codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return codes.PermissionDenied
	}
	return codes.Internal
}
