package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gitops/sluice/test/harness"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var (
	kustomization = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
	configMap     = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
)

// pair is the same work done by the bare client and by Sluice.
type pair struct {
	bare, sluice       time.Duration
	bareCPU, sluiceCPU processor
	// requests are those of Sluice's side, by verb and resource.
	requests map[string]int
}

// measured times both sides, each in a cluster at rest: what the controllers of Kubernetes still do about the objects
// of the one would be charged to the other. Writing to the cluster what the bare client does not write is part of Sluice's side.
func (w *world) measured(ctx context.Context, name string, bare, sluice func() (time.Duration, error)) (p pair, err error) {
	if err := w.atRest(ctx); err != nil {
		return pair{}, err
	}
	if p.bareCPU, err = w.spending(func() (err error) { p.bare, err = bare(); return err }); err != nil {
		return pair{}, err
	}
	if err := w.atRest(ctx); err != nil {
		return pair{}, err
	}
	start := time.Now()
	p.sluiceCPU, err = w.spending(func() (err error) { p.sluice, err = w.profiled(ctx, name, sluice); return err })
	if err != nil {
		return pair{}, err
	}
	p.requests, err = w.requests(start, time.Now())
	return p, err
}

func (p pair) ratio() float64 { return p.sluice.Seconds() / p.bare.Seconds() }

// install measures N applications from nothing to Ready.
func (w *world) install(ctx context.Context) (pair, error) {
	objects, err := bareObjects(w.n, "1")
	if err != nil {
		return pair{}, err
	}
	return w.measured(ctx, "install",
		func() (time.Duration, error) { return w.bare.apply(ctx, objects) },
		func() (time.Duration, error) {
			start := time.Now()
			if err := w.createAll(ctx); err != nil {
				return 0, err
			}
			err := w.allReady(ctx)
			return time.Since(start), err
		})
}

// changeAll measures one commit that changes an object of every application, from
// the hook to all of them Ready at the new revision.
func (w *world) changeAll(ctx context.Context) (pair, error) {
	objects, err := changed(w.n, "2")
	if err != nil {
		return pair{}, err
	}
	return w.measured(ctx, "all",
		func() (time.Duration, error) { return w.bare.apply(ctx, objects) },
		func() (time.Duration, error) {
			if err := w.change(ctx, tree(w.n, "2"), "Change all"); err != nil {
				return 0, err
			}
			start := time.Now()
			if err := w.hook(ctx); err != nil {
				return 0, err
			}
			err := w.allReady(ctx)
			return time.Since(start), err
		})
}

// changeOne measures one commit that changes one application: until its object is
// live, and until every other Kustomization shows the new revision.
func (w *world) changeOne(ctx context.Context, r *results) error {
	objects, err := changed(1, "3")
	if err != nil {
		return err
	}
	var start time.Time
	r.one, err = w.measured(ctx, "one",
		func() (time.Duration, error) { return w.bare.apply(ctx, objects) },
		func() (time.Duration, error) {
			start = time.Now()
			return w.pushOne(ctx, "3")
		})
	if err != nil {
		return err
	}
	rest, err := w.spending(func() error { return w.allReady(ctx) })
	if err != nil {
		return err
	}
	r.one.sluiceCPU = r.one.sluiceCPU.plus(rest)
	r.oneAll = time.Since(start)
	r.oneRequests, err = w.requests(start, time.Now())
	return err
}

// pushOne commits a value for application 0 and returns the time from sending the
// hook to the object being live.
func (w *world) pushOne(ctx context.Context, value string) (time.Duration, error) {
	name := appName(0)
	if err := w.change(ctx, map[string]string{"apps/" + name + "/app.yaml": app(0, value)}, "Set "+value); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := w.hook(ctx); err != nil {
		return 0, err
	}
	_, err := w.Cluster.WaitFor(ctx, configMap, sluiceNamespace, name, hasValue(value))
	return time.Since(start), err
}

// pushes measures push to live through the webhook, one at a time, otherwise idle.
func (w *world) pushes(ctx context.Context, rounds int) (latencies, error) {
	var all latencies
	for i := range rounds {
		took, err := w.pushOne(ctx, fmt.Sprintf("push-%d", i))
		if err != nil {
			return nil, err
		}
		all = append(all, took)
		if err := w.allReady(ctx); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// drifts measures a hand edit until it is reverted, one at a time.
func (w *world) drifts(ctx context.Context, rounds int) (latencies, error) {
	r, err := w.Cluster.Resource(configMap, sluiceNamespace)
	if err != nil {
		return nil, err
	}
	var all latencies
	for i := range rounds {
		name := appName(i % w.n)
		before, err := r.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		good, _, err := unstructured.NestedString(before.Object, "data", "value")
		if err != nil {
			return nil, err
		}
		start := time.Now()
		if _, err := r.Patch(ctx, name, types.MergePatchType, []byte(`{"data":{"value":"edited by hand"}}`),
			metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
			return nil, fmt.Errorf("edit by hand: %w", err)
		}
		if _, err := w.Cluster.WaitFor(ctx, configMap, sluiceNamespace, name, hasValue(good)); err != nil {
			return nil, err
		}
		all = append(all, time.Since(start))
	}
	return all, nil
}

func hasValue(want string) func(*unstructured.Unstructured) bool {
	return func(u *unstructured.Unstructured) bool {
		if u == nil {
			return false
		}
		value, _, err := unstructured.NestedString(u.Object, "data", "value")
		return err == nil && value == want
	}
}

// allReady waits until every Kustomization is Ready at the newest commit, by one watch.
func (w *world) allReady(ctx context.Context) error {
	return w.all(ctx, controlNamespace, kustomization, func(u *unstructured.Unstructured) bool { return harness.Ready(u, w.revision()) })
}

// all waits until the objects of every application are as wanted, by one watch.
func (w *world) all(ctx context.Context, namespace string, kind schema.GroupVersionKind, ok func(*unstructured.Unstructured) bool) error {
	r, err := w.Cluster.Resource(kind, namespace)
	if err != nil {
		return err
	}
	waiting := map[string]string{}
	for i := range w.n {
		waiting[appName(i)] = "not seen"
	}
	note := func(u *unstructured.Unstructured) {
		if ok(u) {
			delete(waiting, u.GetName())
			return
		}
		waiting[u.GetName()] = harness.Describe(u)
	}
	for ctx.Err() == nil {
		list, err := r.List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("wait for %ss: %w", kind.Kind, err)
		}
		for i := range list.Items {
			note(&list.Items[i])
		}
		if len(waiting) == 0 {
			return nil
		}
		watch, err := r.Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
		if err != nil {
			return fmt.Errorf("wait for %ss: %w", kind.Kind, err)
		}
		for e := range watch.ResultChan() {
			u, isObject := e.Object.(*unstructured.Unstructured)
			if !isObject {
				break
			}
			if note(u); len(waiting) == 0 {
				watch.Stop()
				return nil
			}
		}
		watch.Stop()
	}
	for name, state := range waiting {
		return fmt.Errorf("wait for %d %ss: %w; %s: %s", len(waiting), kind.Kind, ctx.Err(), name, state)
	}
	return ctx.Err()
}

// latencies are the times of equal rounds.
type latencies []time.Duration

// quantile returns the time that share of the rounds stayed within (nearest rank).
func (l latencies) quantile(share float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(l))
	rank := int(share*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}
