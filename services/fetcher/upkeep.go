package fetcher

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
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
		alive := map[events.Key]bool{}
		if err := s.planner.Each(ctx, func(key events.Key) { alive[key] = true }); err != nil {
			return err
		}
		n, err := s.Blob.Sweep(ctx, events.ArtifactFolder, func(name string) bool {
			key, ok := shelf.KeyOf(name)
			return !ok || !s.serves(key.Kind) || alive[key]
		}, sweepAge)
		if n > 0 {
			s.Logger.Info("deleted artifacts of no source", "count", n)
		}
		return err
	})
}

// serves says that artifacts of the kind are there only as long as its objects are.
func (s *service) serves(kind string) bool {
	return s.kinds[kind] != nil || s.external != nil && kind == s.external.Name()
}

// trim deletes unused mirrors, and what was downloaded of Buckets that are gone.
func (s *service) trim(ctx context.Context) error {
	return s.every(ctx, 10*time.Minute, "trim what is on disk", func(ctx context.Context) error {
		return errors.Join(s.git.Trim(time.Now()), s.buckets.Trim(ctx, s.manager.GetCache(), time.Now()))
	})
}
