package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
)

const (
	// orphanAge is how old a render must be before a sweep removes it; it is far
	// more than a build can take between storing and publishing.
	orphanAge = time.Hour
	// keepRenders is how many renders of an object stay beside the one its log points to.
	keepRenders = 2
)

// renders is the bucket as a sweep uses it.
type renders interface {
	List(ctx context.Context, prefix string) ([]blob.Object, error)
	Sweep(ctx context.Context, prefix string, keep func(name string) bool, minAge time.Duration) (int, error)
}

// Sweeper removes renders that no object needs any more, and has those built
// again that are gone from the bucket. One replica runs it.
type Sweeper struct {
	Planner *Planner
	Bucket  renders
	// Every is the time between two sweeps.
	Every time.Duration
}

// Start implements manager.Runnable.
func (s *Sweeper) Start(ctx context.Context) error {
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := s.Once(ctx); err != nil && ctx.Err() == nil {
			s.Planner.log.Warn("sweep of renders is incomplete", "err", err)
		}
	}
}

// Once sweeps once.
func (s *Sweeper) Once(ctx context.Context) error {
	var list kustomizev1.KustomizationList
	if err := s.Planner.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list Kustomizations: %w", err)
	}
	var releases helmv2.HelmReleaseList
	if err := s.Planner.client.List(ctx, &releases, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list HelmReleases: %w", err)
	}
	return errors.Join(
		s.kind(ctx, kustomizev1.KustomizationKind, keysOf(targets(list.Items, bus.Note{}))),
		s.kind(ctx, helmv2.HelmReleaseKind, keysOf(releaseTargets(releases.Items, bus.Note{}))))
}

func keysOf(targets []bus.Target) []events.Key {
	out := make([]events.Key, len(targets))
	for i := range targets {
		out[i] = targets[i].Key
	}
	return out
}

// kind sweeps the renders of one kind, of which the keys exist.
func (s *Sweeper) kind(ctx context.Context, kind string, keys []events.Key) error {
	prefix := "renders/" + s.Planner.cluster + "/" + strings.ToLower(kind) + "/"
	have, err := s.Bucket.List(ctx, prefix)
	if err != nil {
		return err
	}
	byObject := map[string][]blob.Object{}
	old := map[string]bool{}
	for _, r := range have {
		old[r.Name] = time.Since(r.Modified) >= orphanAge
		object, _, _ := cutLast(strings.TrimPrefix(r.Name, prefix))
		byObject[object] = append(byObject[object], r)
	}
	keep, lost, err := s.judge(ctx, keys, byObject)
	if err != nil {
		return err
	}
	// What was young, or not there, when the logs were read may have been published since.
	n, err := s.Bucket.Sweep(ctx, prefix, func(name string) bool { return keep[name] || !old[name] }, orphanAge)
	if n > 0 {
		s.Planner.log.Info("removed renders that nothing needs", "renders", n)
	}
	return errors.Join(err, s.Planner.bus.Check(ctx, lost...))
}

// judge names the renders that stay, and the objects whose render is lost.
func (s *Sweeper) judge(ctx context.Context, keys []events.Key, byObject map[string][]blob.Object) (keep map[string]bool, lost []bus.Target, err error) {
	keep = map[string]bool{}
	for _, key := range keys {
		log, err := s.Planner.bus.Open(ctx, events.BuildSubject(s.Planner.cluster, key))
		if err != nil {
			return nil, nil, err
		}
		current := ""
		if e, ok := log.Last(); ok {
			var data events.BuildRendered
			if err := e.DataAs(&data); err == nil {
				current = data.Render
			}
		}
		found := current == ""
		for name := range keepNewest(byObject[key.Namespace+"/"+key.Name], current) {
			keep[name] = true
		}
		for _, r := range byObject[key.Namespace+"/"+key.Name] {
			found = found || r.Name == current
		}
		if !found {
			lost = append(lost, bus.Target{Stage: events.StageBuild, Key: key, Note: bus.Note{Reason: "resync"}})
		}
	}
	return keep, lost, nil
}

func cutLast(name string) (before, after string, ok bool) {
	i := strings.LastIndex(name, "/")
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// keepNewest names the renders of one object that stay: the current one and the
// newest others.
func keepNewest(renders []blob.Object, current string) map[string]bool {
	byAge := slices.Clone(renders)
	slices.SortStableFunc(byAge, func(a, b blob.Object) int { return b.Modified.Compare(a.Modified) })
	keep := map[string]bool{current: true}
	for _, r := range byAge {
		if len(keep) > keepRenders {
			break
		}
		keep[r.Name] = true
	}
	return keep
}
