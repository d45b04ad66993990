package metrics

import "github.com/prometheus/client_golang/prometheus"

// Target is one that a relay dials.
type Target struct {
	Block, Name string
	LeftOut     bool // after failures
}

// WatchTargets shows which targets are left out. All is called for each scrape, so that no series outlives its target, nor says
// that one is left out whose time is over; it names each target of a block once.
func (m *Metrics) WatchTargets(all func() []Target) {
	m.Registry.MustRegister(&targets{all, prometheus.NewDesc("gateway_target_ejected",
		"1 while a target is left out after failures.", []string{"block", "target"}, nil)})
}

type targets struct {
	all     func() []Target
	ejected *prometheus.Desc
}

func (t *targets) Describe(ch chan<- *prometheus.Desc) { ch <- t.ejected }

func (t *targets) Collect(ch chan<- prometheus.Metric) {
	for _, one := range t.all() {
		value := 0.0
		if one.LeftOut {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(t.ejected, prometheus.GaugeValue, value, one.Block, one.Name)
	}
}
