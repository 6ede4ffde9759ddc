package receive

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts deliveries by the status they were answered with. Nil counts nothing.
type Metrics struct {
	deliveries *prometheus.CounterVec
	seconds    prometheus.Histogram
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_webhook_deliveries_total", Help: "Webhook deliveries by HTTP status.",
		}, []string{"code"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_webhook_delivery_seconds", Help: "Time from a delivery's arrival to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 12),
		}),
	}
	for _, c := range []prometheus.Collector{m.deliveries, m.seconds} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register webhook metrics: %w", err)
		}
	}
	return m, nil
}

func (m *Metrics) observe(status int, took time.Duration) {
	if m == nil {
		return
	}
	m.deliveries.WithLabelValues(strconv.Itoa(status)).Inc()
	m.seconds.Observe(took.Seconds())
}
