package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
	"golang.org/x/sync/errgroup"
)

// neighbour is how long pushes of another tenant take, alone and while a commit
// changes every application of the first.
type neighbour struct {
	tenant        *harness.Tenant
	alone, beside pushes
}

func (n *neighbour) ratio() float64 {
	return n.beside.median(onePush.took).Seconds() / n.alone.median(onePush.took).Seconds()
}

// neighbour is another tenant, with one Kustomization, whose checks wait in the same lane as those of the first.
func (w *world) neighbour(ctx context.Context) (*neighbour, error) {
	other, err := w.NewTenant(ctx, sameLane(controlNamespace), map[string]string{"app/app.yaml": app(0, "0")})
	if err != nil {
		return nil, err
	}
	if err := other.Kustomization(ctx, "app", map[string]any{"path": "./app", "targetNamespace": other.Namespace}); err != nil {
		return nil, err
	}
	return &neighbour{tenant: other}, other.Live(ctx, "app")
}

// push measures one push of the other tenant.
func (n *neighbour) push(ctx context.Context, w *world, value string) (p onePush, err error) {
	if p.bare, err = w.bareApply(ctx, n.tenant.Namespace, value); err != nil {
		return onePush{}, err
	}
	if p.git, err = listRefs(ctx, w.HTTP.URL(n.tenant.Repo)); err != nil {
		return onePush{}, err
	}
	p.compute = compute()
	if err := n.tenant.Write(ctx, map[string]string{"app/app.yaml": app(0, value)}); err != nil {
		return onePush{}, err
	}
	p.start = time.Now()
	if err := n.tenant.Deliver(ctx); err != nil {
		return onePush{}, err
	}
	_, err = w.Cluster.WaitFor(ctx, configMap, n.tenant.Namespace, appName(0), hasValue(value))
	p.live = time.Now()
	return p, err
}

// pushAlone measures pushes while nobody changes anything.
func (n *neighbour) pushAlone(ctx context.Context, w *world, rounds int) error {
	for i := range rounds {
		if _, err := w.settled(ctx, time.Now()); err != nil {
			return err
		}
		one, err := n.push(ctx, w, fmt.Sprintf("alone-%d", i))
		if err != nil {
			return err
		}
		n.alone = append(n.alone, one)
	}
	return nil
}

// pushBeside measures pushes while commit after commit changes every application of the first tenant, of which manifest
// makes the manifests. They fall into all parts of a change.
func (n *neighbour) pushBeside(ctx context.Context, w *world, rounds int, manifest func(i int, value string) string) error {
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
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(i%7*w.n) * time.Millisecond / 2): // the larger, the longer a change takes
			}
			one, err := n.push(ctx, w, fmt.Sprintf("beside-%d", i))
			if err != nil {
				return err
			}
			n.beside = append(n.beside, one)
		}
		return nil
	})
	return group.Wait()
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
