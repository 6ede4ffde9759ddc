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
type neighbour struct{ alone, beside latencies }

func (n neighbour) ratio() float64 {
	return n.beside.quantile(0.5).Seconds() / n.alone.quantile(0.5).Seconds()
}

// neighbours measures single pushes of a tenant with one Kustomization.
func (w *world) neighbours(ctx context.Context, rounds int) (n neighbour, err error) {
	other, err := w.NewTenant(ctx, otherLane(controlNamespace), map[string]string{"app/app.yaml": app(0, "0")})
	if err != nil {
		return neighbour{}, err
	}
	if err := other.Kustomization(ctx, "app", map[string]any{"path": "./app", "targetNamespace": other.Namespace}); err != nil {
		return neighbour{}, err
	}
	if err := other.Live(ctx, "app"); err != nil {
		return neighbour{}, err
	}
	push := func(ctx context.Context, value string) (time.Duration, error) {
		if err := other.Write(ctx, map[string]string{"app/app.yaml": app(0, value)}); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := other.Deliver(ctx); err != nil {
			return 0, err
		}
		_, err := w.Cluster.WaitFor(ctx, configMap, other.Namespace, appName(0), hasValue(value))
		return time.Since(start), err
	}
	for i := range rounds {
		if _, err := w.settled(ctx, time.Now()); err != nil {
			return neighbour{}, err
		}
		took, err := push(ctx, fmt.Sprintf("alone-%d", i))
		if err != nil {
			return neighbour{}, err
		}
		n.alone = append(n.alone, took)
	}
	var enough atomic.Bool
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for i := 0; !enough.Load(); i++ {
			if err := w.change(ctx, tree(w.n, fmt.Sprintf("busy-%d", i)), "Change all"); err != nil {
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
			took, err := push(ctx, fmt.Sprintf("beside-%d", i))
			if err != nil {
				return err
			}
			n.beside = append(n.beside, took)
		}
		return nil
	})
	err = group.Wait()
	return n, err
}

// otherLane returns a namespace whose checks are in another lane.
func otherLane(namespace string) string {
	lane := func(namespace string) int { return events.NewKey("Kustomization", namespace, "app").Lane() }
	for i := 0; ; i++ {
		if other := fmt.Sprintf("sluice-bench-other-%d", i); lane(other) != lane(namespace) {
			return other
		}
	}
}
