package metrics

import "github.com/prometheus/client_golang/prometheus"

// GRPC is what the gRPC proxy counts.
type GRPC struct {
	Abuses *prometheus.CounterVec // reason: resets, nuisance, unread, headers, slow
}

func newGRPC(r *prometheus.Registry) *GRPC {
	g := &GRPC{
		Abuses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "gateway", Name: "grpc_abuses_total",
			Help: "HTTP/2 connections ended because of what the peer did, by reason.",
		}, []string{"reason"}),
	}
	r.MustRegister(g.Abuses)
	return g
}
