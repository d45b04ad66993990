package metrics

import "github.com/prometheus/client_golang/prometheus"

// Service is a ZeroMQ backend.
type Service struct {
	Backend string
	Peers   int // connections
}

// WatchServices shows how many connections there are to each ZeroMQ backend. All is called for each scrape, so that no series
// outlives its backend: one that stays 0 says that a service is dead.
func (m *Metrics) WatchServices(all func() []Service) {
	m.Registry.MustRegister(&services{all, prometheus.NewDesc("gateway_bridge_backend_peers",
		"Connections to a ZeroMQ backend.", []string{"backend"}, nil)})
}

type services struct {
	all   func() []Service
	peers *prometheus.Desc
}

func (s *services) Describe(ch chan<- *prometheus.Desc) { ch <- s.peers }

func (s *services) Collect(ch chan<- prometheus.Metric) {
	for _, one := range s.all() {
		ch <- prometheus.MustNewConstMetric(s.peers, prometheus.GaugeValue, float64(one.Peers), one.Backend)
	}
}
