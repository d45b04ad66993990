package config

import (
	"net/url"

	"github.com/hashicorp/hcl/v2"
)

// Telemetry says where spans go.
type Telemetry struct {
	OTLP  string  // a collector's URL
	Ratio float64 // of calls whose caller has not decided; 1 when left out
	Range hcl.Range
}

// telemetry reads the telemetry block; without one no spans are made.
func (r *reader) telemetry(b *telemetrySchema) *Telemetry {
	if b == nil {
		return nil
	}
	t := &Telemetry{Ratio: 1, Range: b.DefRange}
	otlp, given := r.text(b.OTLP)
	if b.OTLP == nil {
		r.errorAt(b.DefRange, "Telemetry without a collector", "Say where spans go: otlp = \"http://127.0.0.1:4318\"")
	}
	if u, err := url.Parse(otlp); given && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		r.errorAt(b.OTLP.Expr.Range(), "Not a collector's URL", "otlp is a URL that takes OTLP over HTTP: \"http://127.0.0.1:4318\", or https.")
	}
	t.OTLP = otlp
	if ratio, ok := r.number(b.Ratio, 0, 1); ok {
		t.Ratio, _ = ratio.Float64()
	}
	return t
}
