package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"golang.org/x/sync/errgroup"
)

// neighbour is how long pushes of another tenant take, alone and while a commit
// changes every application of the first.
type neighbour struct {
	namespace     string
	alone, beside pushes
}

func (n neighbour) ratio() float64 {
	return n.beside.median(onePush.took).Seconds() / n.alone.median(onePush.took).Seconds()
}

// neighbours measures single pushes of a tenant with one Kustomization, whose checks
// wait in the same lane as those of the first, of whose applications a commit has the manifests.
func (w *world) neighbours(ctx context.Context, rounds int, manifest func(i int, value string) string) (n neighbour, err error) {
	other, err := w.NewTenant(ctx, sameLane(controlNamespace), map[string]string{"app/app.yaml": app(0, "0")})
	if err != nil {
		return neighbour{}, err
	}
	if err := other.Kustomization(ctx, "app", map[string]any{"path": "./app", "targetNamespace": other.Namespace}); err != nil {
		return neighbour{}, err
	}
	if err := other.Live(ctx, "app"); err != nil {
		return neighbour{}, err
	}
	n.namespace = other.Namespace
	push := func(ctx context.Context, value string) (p onePush, err error) {
		if p.bare, err = w.bareApply(ctx, other.Namespace, value); err != nil {
			return onePush{}, err
		}
		if p.git, err = listRefs(ctx, w.HTTP.URL(other.Repo)); err != nil {
			return onePush{}, err
		}
		p.compute = compute()
		if err := other.Write(ctx, map[string]string{"app/app.yaml": app(0, value)}); err != nil {
			return onePush{}, err
		}
		p.start = time.Now()
		if err := other.Deliver(ctx); err != nil {
			return onePush{}, err
		}
		_, err = w.Cluster.WaitFor(ctx, configMap, other.Namespace, appName(0), hasValue(value))
		p.live = time.Now()
		return p, err
	}
	for i := range rounds {
		if _, err := w.settled(ctx, time.Now()); err != nil {
			return neighbour{}, err
		}
		one, err := push(ctx, fmt.Sprintf("alone-%d", i))
		if err != nil {
			return neighbour{}, err
		}
		n.alone = append(n.alone, one)
	}
	var enough atomic.Bool
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for i := 0; !enough.Load(); i++ {
			if err := w.change(ctx, treeOf(manifest, w.n, fmt.Sprintf("busy-%d", i)), "Change all"); err != nil {
				return err
			}
			if err := w.hook(ctx); err != nil {
				return err
			}
			if err := w.allReady(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error {
		defer enough.Store(true)
		for i := range rounds {
			select { // pushes fall into all parts of a change
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(i%7) * 100 * time.Millisecond):
			}
			one, err := push(ctx, fmt.Sprintf("beside-%d", i))
			if err != nil {
				return err
			}
			n.beside = append(n.beside, one)
		}
		return nil
	})
	err = group.Wait()
	return n, err
}

// sameLane returns another namespace whose checks are in the same lane.
func sameLane(namespace string) string {
	lane := func(namespace string) int { return events.NewKey("Kustomization", namespace, "app").Lane() }
	for i := 0; ; i++ {
		if other := fmt.Sprintf("sluice-bench-other-%d", i); lane(other) == lane(namespace) {
			return other
		}
	}
}
