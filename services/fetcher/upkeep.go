package fetcher

import (
	"context"
	"fmt"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/handle"
)

// sweepAge is how old an artifact of no source must be to be deleted: much older
// than the longest pass, and than the difference between two clocks.
const sweepAge = 2 * time.Hour

// every calls do at each interval until ctx ends, and logs what goes wrong.
func (s *service) every(ctx context.Context, interval time.Duration, what string, do func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := do(ctx); err != nil && ctx.Err() == nil {
			s.Logger.Error("upkeep failed", "of", what, "error", err)
		}
	}
}

// sweep deletes artifacts whose source is gone.
func (s *service) sweep(ctx context.Context) error {
	return s.every(ctx, s.SweepEvery, "sweep artifacts", func(ctx context.Context) error {
		var list sourcev1.GitRepositoryList
		if err := s.manager.GetCache().List(ctx, &list); err != nil {
			return fmt.Errorf("list GitRepositories: %w", err)
		}
		alive := make(map[events.Key]bool, len(list.Items))
		for _, item := range list.Items {
			alive[events.NewKey(handle.Kind, item.Namespace, item.Name)] = true
		}
		n, err := s.Blob.Sweep(ctx, handle.Root, func(name string) bool {
			key, ok := handle.KeyOf(name)
			return !ok || alive[key]
		}, sweepAge)
		if n > 0 {
			s.Logger.Info("deleted artifacts of no source", "count", n)
		}
		return err
	})
}

// trim deletes unused mirrors.
func (s *service) trim(ctx context.Context) error {
	return s.every(ctx, 10*time.Minute, "trim mirrors", func(context.Context) error { return s.git.Trim(time.Now()) })
}
