package sockjs

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"gateway/internal/metrics"
)

// dropReason says why a message went nowhere.
type dropReason string

// Why messages of programs (the first five) and of browsers (the others) are dropped.
const (
	dropNotThreeParts dropReason = "not_three_parts"
	dropUnknownType   dropReason = "unknown_type"
	dropNoSession     dropReason = "no_session"
	dropNotUTF8       dropReason = "not_utf8"    // SockJS carries text
	dropUndelivered   dropReason = "undelivered" // its browser had gone, or was too slow
	dropBrokenJSON    dropReason = "broken_json"
	dropTooBig        dropReason = "too_big"
	dropStopping      dropReason = "stopping" // no program took it until the end
)

var dropReasons = []dropReason{
	dropNotThreeParts, dropUnknownType, dropNoSession, dropNotUTF8, dropUndelivered, dropBrokenJSON, dropTooBig, dropStopping,
}

// logEvery bounds how often dropped messages of one reason are logged; all are counted.
const logEvery = time.Second

// meters count, with the collectors looked up beforehand: a message costs no search.
type meters struct {
	block    string
	log      *slog.Logger
	all      *metrics.SockJS
	in, out  prometheus.Counter // from browsers, to browsers
	dropped  map[dropReason]prometheus.Counter
	sometime map[dropReason]*rate.Sometimes
}

func newMeters(block string, m *metrics.SockJS, log *slog.Logger) meters {
	if m == nil {
		m = metrics.NewSockJS(prometheus.NewRegistry())
	}
	meters := meters{
		block: block, log: log, all: m,
		in:       m.Messages.WithLabelValues(block, "in"),
		out:      m.Messages.WithLabelValues(block, "out"),
		dropped:  map[dropReason]prometheus.Counter{},
		sometime: map[dropReason]*rate.Sometimes{},
	}
	for _, reason := range dropReasons {
		meters.dropped[reason] = m.Dropped.WithLabelValues(block, string(reason))
		meters.sometime[reason] = &rate.Sometimes{Interval: logEvery}
	}
	return meters
}

// drop counts a message that goes nowhere, and logs it if none of that reason was lately.
func (m *meters) drop(reason dropReason) {
	m.dropped[reason].Inc()
	m.sometime[reason].Do(func() {
		m.log.Warn("dropped a message", "block", m.block, "reason", string(reason))
	})
}

func (m *meters) opened(e endpoint) {
	m.all.Sessions.WithLabelValues(m.block, string(e)).Inc()
	m.all.Opened.WithLabelValues(m.block, string(e)).Inc()
}

func (m *meters) ended(e endpoint, why string) {
	m.all.Sessions.WithLabelValues(m.block, string(e)).Dec()
	m.all.Ended.WithLabelValues(m.block, why).Inc()
}

// refused counts a browser that got no session.
func (s *Server) refused(reason string) {
	s.meters.all.Refused.WithLabelValues(s.meters.block, reason).Inc()
}
