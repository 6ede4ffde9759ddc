package bus

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one process. Buses that share a registerer share them.
type metrics struct {
	checks    *prometheus.CounterVec
	handling  *prometheus.HistogramVec
	waiting   *prometheus.HistogramVec
	busy      *prometheus.CounterVec
	fanned    *prometheus.CounterVec
	conflicts prometheus.Counter
	recovered prometheus.Counter
}

// Outcomes of a check, as the label outcome has them.
const (
	outcomeDone  = "done"
	outcomeRetry = "retry"
	outcomeDead  = "dead"
	outcomeBack  = "returned"
)

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	buckets := prometheus.ExponentialBuckets(0.0005, 2.5, 14)
	m := &metrics{
		checks:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_checks_total", Help: "Checks handled, by stage and outcome."}, []string{"stage", "outcome"}),
		handling:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sluice_check_duration_seconds", Help: "Time a handler worked on a check.", Buckets: buckets}, []string{"stage"}),
		waiting:   prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sluice_check_wait_seconds", Help: "Time a check waited in its queue.", Buckets: buckets}, []string{"stage"}),
		busy:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_lease_conflicts_total", Help: "Checks put back because another worker held the key."}, []string{"stage"}),
		fanned:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_fanout_events_total", Help: "Events turned into checks, by fan-out and outcome."}, []string{"fanout", "outcome"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_append_conflicts_total", Help: "Events refused because their subject had moved."}),
		recovered: prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_bus_recoveries_total", Help: "Times wiped streams were created again."}),
	}
	if r == nil {
		return m, nil
	}
	var err error
	m.checks, err = register(r, m.checks, err)
	m.handling, err = register(r, m.handling, err)
	m.waiting, err = register(r, m.waiting, err)
	m.busy, err = register(r, m.busy, err)
	m.fanned, err = register(r, m.fanned, err)
	m.conflicts, err = register(r, m.conflicts, err)
	m.recovered, err = register(r, m.recovered, err)
	return m, err
}

// register returns the collector that is registered under c's name. It does
// nothing after an earlier error.
func register[C prometheus.Collector](r prometheus.Registerer, c C, before error) (C, error) {
	if before != nil {
		return c, before
	}
	err := r.Register(c)
	var there prometheus.AlreadyRegisteredError
	if errors.As(err, &there) {
		if same, ok := there.ExistingCollector.(C); ok {
			return same, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("register metrics: %w", err)
	}
	return c, nil
}
