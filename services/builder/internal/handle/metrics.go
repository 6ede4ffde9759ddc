package handle

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics count builds by outcome.
type Metrics struct {
	builds  *prometheus.CounterVec
	seconds prometheus.Histogram
}

// NewMetrics registers the metrics of builds.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		builds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_builder_builds_total", Help: "Builds by what they published and how they came about.",
		}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_builder_build_seconds", Help: "Time from taking a check to publishing its build.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
		}),
	}
	for _, c := range []prometheus.Collector{m.builds, m.seconds} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register build metrics: %w", err)
		}
	}
	return m, nil
}

func (m *Metrics) count(outcome string, took time.Duration) {
	if m == nil {
		return
	}
	m.builds.WithLabelValues(outcome).Inc()
	m.seconds.Observe(took.Seconds())
}
