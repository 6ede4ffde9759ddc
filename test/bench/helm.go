package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/test/harness"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var helmRelease = schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: "HelmRelease"}

// helmResults are what a run with HelmReleases measured.
type helmResults struct {
	n, rounds        int
	install, upgrade action
	// live is a push of new values until all objects have them, ready until the release says so.
	live, ready latencies
	peak        int64 // bytes
	idle        int64 // bytes, at rest
}

// action is the same done to all releases, by the bare client and by Sluice.
type action struct {
	pair
	// rolled is how long it takes after that until the bare client's Deployments are rolled out, stored the time
	// it needs for one release Secret each.
	rolled, stored time.Duration
}

// runHelm prints what n releases of one chart cost, beside the bare client.
func runHelm(ctx context.Context, n, rounds int, write bool, profiles string) (err error) {
	p := newProgress(os.Stderr)
	w, err := setUpWith(ctx, n, charts(1, "1", "one"), p)
	if w != nil {
		defer func() { err = errors.Join(err, w.Close()) }()
	}
	if err != nil {
		return err
	}
	w.profiles = profiles
	r := helmResults{n: n, rounds: rounds}
	if err := w.helm(ctx, &r, p); err != nil {
		return errors.Join(err, fmt.Errorf("the end of sluice's log:\n%s", w.Sluice.Tail()))
	}
	text := r.markdown()
	fmt.Print(text)
	return keep(write, "helm.md", helmPreface+text+helmEpilogue)
}

func (w *world) helm(ctx context.Context, r *helmResults, p *progress) (err error) {
	peak := sync.OnceValue(peakMemory(w.Sluice.PID))
	defer peak()
	p.say("install %d releases", w.n)
	if r.install, err = w.installReleases(ctx); err != nil {
		return err
	}
	p.say("bare %.2fs, %.2fs and %.2fs, sluice %.2fs; upgrade all", r.install.bare.Seconds(), r.install.rolled.Seconds(), r.install.stored.Seconds(), r.install.sluice.Seconds())
	if r.upgrade, err = w.upgradeReleases(ctx); err != nil {
		return err
	}
	p.say("bare %.2fs, %.2fs and %.2fs, sluice %.2fs; %d pushes of values", r.upgrade.bare.Seconds(), r.upgrade.rolled.Seconds(), r.upgrade.stored.Seconds(), r.upgrade.sluice.Seconds(), r.rounds)
	if r.live, r.ready, err = w.valuePushes(ctx, r.rounds); err != nil {
		return err
	}
	if _, err := w.settled(ctx, time.Now()); err != nil {
		return err
	}
	r.idle, err = residentMemory(w.Sluice.PID())
	r.peak = peak()
	return err
}

func (w *world) installReleases(ctx context.Context) (action, error) {
	return w.acted(ctx, "helm-install", 1, "1", func(ctx context.Context) (time.Time, error) {
		return time.Now(), w.createHelm(ctx, chartSources(w.HTTP.URL(w.repo))+helmReleases(w.n))
	})
}

func (w *world) upgradeReleases(ctx context.Context) (action, error) {
	return w.acted(ctx, "helm-upgrade", 2, "2", func(ctx context.Context) (time.Time, error) {
		if err := w.change(ctx, charts(2, "2", "one"), "Change the chart"); err != nil {
			return time.Time{}, err
		}
		return time.Now(), w.hook(ctx)
	})
}

// acted measures what makes all releases be at a revision with a value. begin does it, and says
// when it began.
func (w *world) acted(ctx context.Context, name string, revision int, value string, begin func(context.Context) (time.Time, error)) (a action, err error) {
	objects, stored, err := bareReleases(ctx, w.n, revision, value)
	if err != nil {
		return action{}, err
	}
	a.pair, err = w.measured(ctx, name,
		func() (took time.Duration, err error) {
			if took, err = w.bare.apply(ctx, objects); err != nil {
				return 0, err
			}
			start := time.Now()
			if err := w.all(ctx, bareNamespace, harness.DeploymentKind, rolledOut); err != nil {
				return 0, err
			}
			a.rolled = time.Since(start)
			a.stored, err = w.bare.apply(ctx, stored)
			return took, err
		},
		func() (time.Duration, error) {
			start, err := begin(ctx)
			if err == nil {
				err = w.allReleased(ctx, revision)
			}
			if err != nil {
				return 0, err
			}
			return time.Since(start), nil
		})
	return a, err
}

// rolledOut says whether a Deployment without replicas is as its spec says, which its controller tells.
func rolledOut(u *unstructured.Unstructured) bool {
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	return observed == u.GetGeneration()
}

// valuePushes measures pushes that change the values of the larger chart's release, one at a time.
func (w *world) valuePushes(ctx context.Context, rounds int) (live, ready latencies, err error) {
	if err := w.createHelm(ctx, wideKustomization); err != nil {
		return nil, nil, err
	}
	if err := w.wideLive(ctx, "one"); err != nil {
		return nil, nil, err
	}
	for i := range rounds {
		if err := w.wideReady(ctx, i+1); err != nil {
			return nil, nil, err
		}
		value := fmt.Sprintf("round-%d", i)
		if err := w.change(ctx, map[string]string{"values/release.yaml": wideRelease(value)}, "Set "+value); err != nil {
			return nil, nil, err
		}
		start := time.Now()
		if err := w.hook(ctx); err != nil {
			return nil, nil, err
		}
		if err := w.wideLive(ctx, value); err != nil {
			return nil, nil, err
		}
		live = append(live, time.Since(start))
		if err := w.wideReady(ctx, i+2); err != nil {
			return nil, nil, err
		}
		ready = append(ready, time.Since(start))
	}
	return live, ready, nil
}

// wideLive waits until every object that shows the larger chart's value has it. Ingresses come last.
func (w *world) wideLive(ctx context.Context, value string) error {
	annotated := func(u *unstructured.Unstructured) bool {
		return u != nil && u.GetAnnotations()["example.org/value"] == value
	}
	for i := range copies {
		name := fmt.Sprintf("wide-%d", i)
		for kind, ok := range map[schema.GroupVersionKind]func(*unstructured.Unstructured) bool{
			configMap:                        hasValue(value),
			{Version: "v1", Kind: "Service"}: annotated,
			{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}: annotated,
		} {
			if _, err := w.Cluster.WaitFor(ctx, kind, sluiceNamespace, name, ok); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) wideReady(ctx context.Context, revision int) error {
	_, err := w.Cluster.WaitFor(ctx, helmRelease, controlNamespace, "wide", func(u *unstructured.Unstructured) bool {
		return u != nil && releasedAt(u, revision)
	})
	return err
}

// allReleased waits until every release is ready at a revision, by one watch.
func (w *world) allReleased(ctx context.Context, revision int) error {
	return w.all(ctx, controlNamespace, helmRelease, func(u *unstructured.Unstructured) bool { return releasedAt(u, revision) })
}

// releasedAt says whether a HelmRelease is ready at a revision and says so of its newest generation.
func releasedAt(u *unstructured.Unstructured, revision int) bool {
	status, _, _ := harness.Condition(u, "Ready")
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	history, _, _ := unstructured.NestedSlice(u.Object, "status", "history")
	if status != string(metav1.ConditionTrue) || observed != u.GetGeneration() || len(history) == 0 {
		return false
	}
	newest, _ := history[0].(map[string]any)
	return newest["version"] == int64(revision)
}

const helmPreface = `# Helm releases

What releases of one chart cost beside a bare client that server-side applies the same objects over 32 connections, in one run on
one machine, and how long a push that changes values takes. Both sides begin when nobody has changed anything in the cluster for
five seconds. Machines differ and are noisy: read the ratios. This page is the output of ` + "`make bench HELM=300 WRITE=1`" + `.

`

const helmEpilogue = `
Aims: install and upgrade all within 3x of the bare client that only applies, a push of values live within a second, at most 500 MiB. The
upgrade misses its aim: the bare client has left when the controllers begin to roll out what it changed, and a release is ready after that. The
install is near its own, 2.5x to 3.2x in four runs on two machines.

- **install**: from creating the source, the charts and all HelmReleases (which the bare client does not have to do) to all of them
  Ready. The chart has five objects: ServiceAccount, ConfigMap, Service, Deployment, Ingress.
- **upgrade all**: one commit changes the chart, which every release takes: from the hook to all of them Ready at the second revision.
  The chart's version is in a label of every object, so all of them change, for the bare client too.
- **against the bare client that waits**: a release is ready when its Deployments are rolled out, and their controller has work for
  that with each of them, which costs the API server more writes than the apply does. A bare client that only applies has left by then.
- **and stores each release**: the bare client also writes one Secret for each release, as Helm stores it, once. Helm itself writes
  two for an install and three for an upgrade.
- **requests** are those of all services to the API server, without watches.
- **push of values**: a commit changes the values of a HelmRelease in Git that a Kustomization applies, and a chart of twenty objects
  is upgraded, of which twelve show the value: from the hook until all have it, and until the release is Ready. One push at a time.
- **memory** is that of the whole process, with embedded NATS and S3 and the processes that render.
`

func (r helmResults) markdown() string {
	var b strings.Builder
	row := rowsOf(&b)
	fmt.Fprintf(&b, "%s, %d processors shared by everything, %s, N=%d releases of one chart, five objects each.\n\n",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), runtime.Version(), r.n)
	row("", "bare client", "Sluice", "ratio")
	b.WriteString("|---|---|---|---|\n")
	for _, one := range []struct {
		name string
		action
	}{{"install", r.install}, {"upgrade all", r.upgrade}} {
		row(one.name, seconds(one.bare), seconds(one.sluice), ratio(one.pair))
		rolled := pair{bare: one.bare + one.rolled, sluice: one.sluice}
		row("... against the bare client that waits for the Deployments", seconds(rolled.bare), seconds(one.sluice), ratio(rolled))
		whole := pair{bare: rolled.bare + one.stored, sluice: one.sluice}
		row("... and stores each release", seconds(whole.bare), seconds(one.sluice), ratio(whole))
		row(one.name+": processor", one.bareCPU, one.sluiceCPU, "")
		row(one.name+": requests", 6*r.n, counted(one.requests), "")
	}
	row(fmt.Sprintf("push of values, %d rounds: live, median and p99", r.rounds), "", millis(r.live.quantile(0.5))+", "+millis(r.live.quantile(0.99)), "")
	row("push of values: ready, median and p99", "", millis(r.ready.quantile(0.5))+", "+millis(r.ready.quantile(0.99)), "")
	row("memory: most, at rest", "", fmt.Sprintf("%d MiB, %d MiB", r.peak>>20, r.idle>>20), "")
	return b.String()
}
