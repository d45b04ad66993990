package metrics

import "github.com/prometheus/client_golang/prometheus"

// GRPC is what the gRPC proxy counts. The grpc_server metrics have the names that gRPC servers' own have, and their labels:
// a route's service and method, "*" for any, so that callers cannot make series.
type GRPC struct {
	Abuses   *prometheus.CounterVec // reason: resets, nuisance, unread, headers, slow; protocol, backend_protocol: errors of a caller, of a backend
	Buffered prometheus.Gauge

	Started  *prometheus.CounterVec   // grpc_service, grpc_method
	Handled  *prometheus.CounterVec   // grpc_service, grpc_method, grpc_code
	Seconds  *prometheus.HistogramVec // grpc_service, grpc_method
	Received *prometheus.CounterVec   // grpc_service, grpc_method
	Sent     *prometheus.CounterVec   // grpc_service, grpc_method

	Retries  *prometheus.CounterVec // grpc_service, grpc_method, result: sent, over_budget
	Mirrored *prometheus.CounterVec // grpc_service, grpc_method, backend, result: match, mismatch, uncompared, failed, dropped
	Ejected  *prometheus.CounterVec // backend
}

func newGRPC(r *prometheus.Registry) *GRPC {
	method := []string{"grpc_service", "grpc_method"}
	counter := func(namespace, name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	with := func(more ...string) []string { return append(method[:2:2], more...) }
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "grpc_server_handling_seconds", Help: "Time from a call's headers until its end.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, method)
	r.MustRegister(seconds)
	buffered := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "gateway", Name: "grpc_buffered_bytes", Help: "What calls hold back for slow readers, for retries and for mirrors.",
	})
	r.MustRegister(buffered)
	return &GRPC{
		Buffered: buffered,
		Abuses:   counter("gateway", "grpc_abuses_total", "HTTP/2 connections ended because of what the peer did, by reason.", "reason"),
		Started:  counter("", "grpc_server_started_total", "Calls that began.", method...),
		Handled:  counter("", "grpc_server_handled_total", "Calls that ended, by status code.", with("grpc_code")...),
		Seconds:  seconds,
		Received: counter("", "grpc_server_msg_received_total", "Messages from callers.", method...),
		Sent:     counter("", "grpc_server_msg_sent_total", "Messages to callers.", method...),
		Retries:  counter("gateway", "grpc_retries_total", "Calls that failed and could be tried again, by what became of that.", with("result")...),
		Mirrored: counter("gateway", "grpc_mirrored_total", "Copies of calls, by how the answer compares.", with("backend", "result")...),
		Ejected:  counter("gateway", "grpc_ejections_total", "Targets left out for a while after failures in a row.", "backend"),
	}
}
