package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// onePush is one push of a tenant, and what its trace tells.
type onePush struct {
	// start is when its hook was sent, live when its object was in the cluster.
	start, live time.Time
	// done is when the event of a step was made: received, fetched, rendered.
	done [3]time.Time
	// began is when a worker of each stage took the check.
	began [3]time.Time
	// What the machine costs without Sluice, just before: how long the bare client took
	// to apply one object, Git to list the repository's refs, and a fixed piece of
	// computing.
	bare, git, compute time.Duration
}

// steps are the events that end a step, in order; the stage of the same place follows.
var (
	steps  = [3]string{events.TypeHookReceived, events.TypeSourceChanged, events.TypeBuildRendered}
	stages = [3]events.Stage{events.StageFetch, events.StageBuild, events.StageApply}
)

func (p onePush) took() time.Duration { return p.live.Sub(p.start) }

// hook is the time until the hook was taken.
func (p onePush) hook() time.Duration { return p.done[0].Sub(p.start) }

// waited is the time between an event and the worker that takes its check, of all stages.
func (p onePush) waited() (sum time.Duration) {
	for i := range p.done {
		sum += p.began[i].Sub(p.done[i])
	}
	return sum
}

// fetch, build and apply are the times of the workers, until the next step.
func (p onePush) fetch() time.Duration { return p.done[1].Sub(p.began[0]) }
func (p onePush) build() time.Duration { return p.done[2].Sub(p.began[1]) }
func (p onePush) apply() time.Duration { return p.live.Sub(p.began[2]) }

func (p onePush) bareTook() time.Duration    { return p.bare }
func (p onePush) gitTook() time.Duration     { return p.git }
func (p onePush) computeTook() time.Duration { return p.compute }

// traced says that all steps are known.
func (p onePush) traced() bool {
	known := func(t time.Time) bool { return !t.IsZero() }
	return !slices.ContainsFunc(append(p.done[:], p.began[:]...), func(t time.Time) bool { return !known(t) })
}

// pushes are the rounds of one situation.
type pushes []onePush

// median returns that of one time of all pushes.
func (p pushes) median(of func(onePush) time.Duration) time.Duration {
	var all latencies
	for _, one := range p {
		all = append(all, of(one))
	}
	return all.quantile(0.5)
}

// bareApply returns how long the bare client needs to apply one ConfigMap.
func (w *world) bareApply(ctx context.Context, namespace, value string) (time.Duration, error) {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"value": value},
		"metadata": map[string]any{"name": "bare", "namespace": namespace},
	}}
	return w.bare.apply(ctx, []*unstructured.Unstructured{u})
}

// listRefs returns how long Git needs to list a repository's refs.
func listRefs(ctx context.Context, url string) (time.Duration, error) {
	start := time.Now()
	if out, err := exec.CommandContext(ctx, "git", "ls-remote", url).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("list refs of %s: %w: %s", url, err, out)
	}
	return time.Since(start), nil
}

// compute takes some ten milliseconds of an idle processor.
func compute() time.Duration {
	start := time.Now()
	x := uint64(start.UnixNano()) | 1
	for range 10_000_000 {
		x = x*6364136223846793005 + 1442695040888963407
	}
	if x == 0 { // the loop must not be left out
		return 0
	}
	return time.Since(start)
}
