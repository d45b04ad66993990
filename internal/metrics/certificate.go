package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificate is one that a listener shows to its clients.
type Certificate struct {
	Listener, File string
	NotAfter       time.Time
}

// WatchCertificates shows until when certificates are good. All is called for each scrape, so that no series outlives its
// certificate.
func (m *Metrics) WatchCertificates(all func() []Certificate) {
	m.Registry.MustRegister(&certificates{all, prometheus.NewDesc("gateway_certificate_not_after_seconds",
		"Until when a listener's certificate is good, in seconds since 1970.", []string{"listener", "file"}, nil)})
}

type certificates struct {
	all      func() []Certificate
	notAfter *prometheus.Desc
}

func (c *certificates) Describe(ch chan<- *prometheus.Desc) { ch <- c.notAfter }

func (c *certificates) Collect(ch chan<- prometheus.Metric) {
	for _, one := range c.all() {
		ch <- prometheus.MustNewConstMetric(c.notAfter, prometheus.GaugeValue, float64(one.NotAfter.Unix()), one.Listener, one.File)
	}
}
