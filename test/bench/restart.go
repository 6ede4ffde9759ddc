package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// stillness without what is waited for is what counts as quiet.
	stillness = 5 * time.Second
	// stopGrace bounds a graceful end.
	stopGrace = 30 * time.Second
)

// restart is what a start on existing data costs.
type restart struct {
	// reverted is when an edit made meanwhile was put back, quiet when the last
	// request was sent, both since the start.
	reverted, quiet time.Duration
	requests        map[string]int
	cpu             processor
}

// restarted stops sluice, edits an object by hand, and starts sluice again.
func (w *world) restarted(ctx context.Context) (r restart, err error) {
	if err := w.Sluice.Stop(stopGrace); err != nil {
		return restart{}, err
	}
	name := appName(w.n - 1)
	maps, err := w.Cluster.Resource(configMap, sluiceNamespace)
	if err != nil {
		return restart{}, err
	}
	before, err := maps.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return restart{}, err
	}
	good, _, err := unstructured.NestedString(before.Object, "data", "value")
	if err != nil {
		return restart{}, err
	}
	if _, err := maps.Patch(ctx, name, types.MergePatchType, []byte(`{"data":{"value":"edited meanwhile"}}`),
		metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		return restart{}, fmt.Errorf("edit by hand: %w", err)
	}
	start := time.Now()
	if err := w.Sluice.Restart(ctx); err != nil {
		return restart{}, err
	}
	if _, err := w.Cluster.WaitFor(ctx, configMap, sluiceNamespace, name, hasValue(good)); err != nil {
		return restart{}, err
	}
	r.reverted = time.Since(start)
	if r.quiet, err = w.settled(ctx, start); err != nil {
		return restart{}, err
	}
	if r.requests, err = w.requests(start, time.Now()); err != nil {
		return restart{}, err
	}
	r.cpu, err = w.spent() // of the new process: all that it used
	return r, err
}

// settled waits for a time without a request of Sluice and returns how long after start it began.
func (w *world) settled(ctx context.Context, start time.Time) (time.Duration, error) {
	return w.still(ctx, start, w.requests)
}

// atRest waits for a time in which nobody changed anything, the controllers of Kubernetes included.
func (w *world) atRest(ctx context.Context) error {
	_, err := w.still(ctx, time.Now(), w.changes)
	return err
}

// still waits for a time without what count counts and returns how long after start it began.
func (w *world) still(ctx context.Context, start time.Time, count func(from, to time.Time) (map[string]int, error)) (time.Duration, error) {
	last := time.Now()
	for time.Since(last) < stillness {
		from := time.Now()
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for a quiet cluster: %w", ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
		sent, err := count(from, time.Now())
		if err != nil {
			return 0, err
		}
		if total(sent) > 0 {
			last = time.Now()
		}
	}
	return last.Sub(start), nil
}
