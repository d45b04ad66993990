// Package metrics names every metric of the gateway, in this one file.
//
// A package that counts something receives the *Metrics, or the one collector that it needs, as a plain value. No
// metric carries a client's address as a label: the number of series stays bounded whatever strangers send.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics is the set of collectors, registered with Registry. Make one with New.
type Metrics struct {
	Registry *prometheus.Registry

	// The exposed port.
	Accepted     *prometheus.CounterVec   // listener
	AcceptErrors *prometheus.CounterVec   // listener, reason
	Refused      *prometheus.CounterVec   // listener, reason
	Sniffing     *prometheus.GaugeVec     // listener
	SniffSeconds *prometheus.HistogramVec // result: a protocol's name, unmatched, timeout, closed, refused, stopped
	Connections  *prometheus.CounterVec   // protocol, block, result
	Open         *prometheus.GaugeVec     // protocol
	Bytes        *prometheus.CounterVec   // protocol, block, direction: in (from the client), out

	Reloads  *prometheus.CounterVec // result: applied, refused
	Upgrades *prometheus.CounterVec // result: applied, refused
	Spans    *prometheus.CounterVec // result: sent, dropped, failed
	Held     prometheus.Gauge       // ZMTP clients that no block takes

	// Targets that the gateway dials.
	Dials *prometheus.CounterVec // block, target, result

	Pair *Pair

	GRPC *GRPC

	SockJS *SockJS

	Bridge *Bridge
}

// Bridge is what the bridge between ZeroMQ and gRPC counts.
type Bridge struct {
	Messages *prometheus.CounterVec // block, direction: in (from clients), out
	Clients  *prometheus.GaugeVec   // block
	Refused  *prometheus.CounterVec // block
	Calls    *prometheus.CounterVec // block, code
	Dropped  *prometheus.CounterVec // block, reason

	BackendCalls    *prometheus.CounterVec // backend, code
	BackendInFlight *prometheus.GaugeVec   // backend
	BackendDropped  *prometheus.CounterVec // backend, reason
}

// NewBridge makes the collectors of Bridge and registers them.
func NewBridge(r prometheus.Registerer) *Bridge {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "gateway", Subsystem: "bridge", Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "gateway", Subsystem: "bridge", Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	return &Bridge{
		Messages: counter("messages_total", "Messages of a zmq block's clients; in: from them, out: to them.", "block", "direction"),
		Clients:  gauge("clients", "Clients of a zmq block.", "block"),
		Refused:  counter("refused_total", "Clients of a zmq block whose handshake failed.", "block"),
		Calls:    counter("calls_total", "Calls that a zmq block's messages became, by status.", "block", "code"),
		Dropped:  counter("dropped_total", "Messages of a zmq block that were thrown away, by reason.", "block", "reason"),

		BackendCalls:    counter("backend_calls_total", "Calls that became messages to a ZeroMQ backend, by status.", "backend", "code"),
		BackendInFlight: gauge("backend_in_flight", "Calls to a ZeroMQ backend that have no status yet.", "backend"),
		BackendDropped:  counter("backend_dropped_total", "Messages from a ZeroMQ backend that were thrown away, by reason.", "backend", "reason"),
	}
}

// SockJS is what a sockjs block counts: browsers' sessions and their messages.
type SockJS struct {
	Sessions *prometheus.GaugeVec   // block, transport
	Opened   *prometheus.CounterVec // block, transport
	Ended    *prometheus.CounterVec // block, reason
	Refused  *prometheus.CounterVec // block, reason
	Messages *prometheus.CounterVec // block, direction: in (from browsers), out
	Dropped  *prometheus.CounterVec // block, reason
}

// NewSockJS makes the collectors of SockJS and registers them.
func NewSockJS(r prometheus.Registerer) *SockJS {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "gateway", Subsystem: "sockjs", Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	sessions := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "gateway", Subsystem: "sockjs", Name: "sessions", Help: "Browsers' sessions open now, by the transport that opened them.",
	}, []string{"block", "transport"})
	r.MustRegister(sessions)
	return &SockJS{
		Sessions: sessions,
		Opened:   counter("opened_total", "Sessions opened, by transport.", "block", "transport"),
		Ended:    counter("ended_total", "Sessions that ended, by reason.", "block", "reason"),
		Refused:  counter("refused_total", "Requests for a session that were refused, by reason.", "block", "reason"),
		Messages: counter("messages_total", "Messages carried; in: from browsers, out: to browsers.", "block", "direction"),
		Dropped:  counter("dropped_total", "Messages that went nowhere, by reason.", "block", "reason"),
	}
}

// Pair is what a relay with workers counts: clients and workers that meet at the gateway.
type Pair struct {
	Parked            *prometheus.GaugeVec     // block
	Waiting           *prometheus.GaugeVec     // block
	Pairs             *prometheus.GaugeVec     // block
	Paired            *prometheus.CounterVec   // block
	WaitSeconds       *prometheus.HistogramVec // block
	Refused           *prometheus.CounterVec   // block, role: client, worker, agent; reason
	HandshakeFailures *prometheus.CounterVec   // block, reason
	Retired           *prometheus.CounterVec   // block
	Repaired          *prometheus.CounterVec   // block
}

// New makes the collectors and registers them, with those of the Go runtime and of the process.
func New() *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "gateway", Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "gateway", Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	pairWaitSeconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "gateway", Name: "pair_wait_seconds",
		Help:    "Time from a client's arrival until it had a worker.",
		Buckets: []float64{.0001, .001, .01, .1, .25, 1, 5, 20},
	}, []string{"block"})
	r.MustRegister(pairWaitSeconds)
	sniffSeconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "gateway", Name: "sniff_seconds",
		Help:    "Time from accept until the protocol was known, by what was found.",
		Buckets: []float64{.0001, .0005, .001, .005, .025, .1, .5, 1, 5},
	}, []string{"result"})
	r.MustRegister(sniffSeconds)
	held := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "gateway", Name: "held", Help: "ZMTP clients that no block takes, held silent.",
	})
	r.MustRegister(held)
	return &Metrics{
		Registry:     r,
		Accepted:     counter("accepted_total", "Connections accepted.", "listener"),
		AcceptErrors: counter("accept_errors_total", "Accepts that failed, by reason.", "listener", "reason"),
		Refused:      counter("refused_total", "Connections turned away on arrival, by reason.", "listener", "reason"),
		Sniffing:     gauge("sniffing", "Connections whose protocol is not known yet.", "listener"),
		SniffSeconds: sniffSeconds,
		Connections:  counter("connections_total", "Connections that ended, by protocol, block and result.", "protocol", "block", "result"),
		Open:         gauge("connections_open", "Connections open now, by protocol.", "protocol"),
		Bytes:        counter("bytes_total", "Bytes relayed; in: from the client, out: to the client.", "protocol", "block", "direction"),

		Held:     held,
		Reloads:  counter("reloads_total", "Reloads of the configuration, by result.", "result"),
		Spans:    counter("spans_total", "Spans of calls, by what became of them.", "result"),
		Upgrades: counter("upgrades_total", "Attempts to hand over to another process, by result.", "result"),

		Dials: counter("dials_total", "Connection attempts to a target, by result.", "block", "target", "result"),

		GRPC:   newGRPC(r),
		SockJS: NewSockJS(r),
		Bridge: NewBridge(r),

		Pair: &Pair{
			Parked:            gauge("pair_parked", "Workers that wait for a client.", "block"),
			Waiting:           gauge("pair_waiting", "Clients that wait for a worker.", "block"),
			Pairs:             gauge("pair_open", "Clients that have a worker.", "block"),
			Paired:            counter("pair_paired_total", "Clients that got a worker.", "block"),
			WaitSeconds:       pairWaitSeconds,
			Refused:           counter("pair_refused_total", "Clients, workers and agents that were never paired, by reason.", "block", "role", "reason"),
			HandshakeFailures: counter("pair_handshake_failures_total", "Pairs whose handshake did not complete, by reason.", "block", "reason"),
			Retired:           counter("pair_retired_total", "Workers closed because they were parked for max_wait.", "block"),
			Repaired:          counter("pair_repaired_total", "Clients that got another worker because theirs was gone before it began.", "block"),
		},
	}
}

// WatchLog shows how many lines of the log could not be written.
func (m *Metrics) WatchLog(lost func() int64) {
	m.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "gateway", Name: "log_lines_lost_total", Help: "Lines of the log that could not be written.",
	}, func() float64 { return float64(lost()) }))
}

// WatchGenerations shows which configuration is at work, and since when the oldest one is that a connection still uses.
func (m *Metrics) WatchGenerations(current func() int, oldest func() time.Duration) {
	m.Registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "gateway", Name: "generation", Help: "Number of the configuration at work, counted from the start.",
		}, func() float64 { return float64(current()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "gateway", Name: "oldest_generation_seconds", Help: "Age of the oldest configuration that a connection was chosen by.",
		}, func() float64 { return oldest().Seconds() }))
}
