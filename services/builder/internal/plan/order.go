package plan

import (
	"context"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
)

// background is how much later those are checked that a new revision leaves as
// they are: what a commit changed goes live before a thousand others get their
// revision moved.
const background = time.Second

// ordered returns the checks that a new artifact leads to: at once for what it
// affects and for what that depends on, since a dependent waits until its
// dependencies are at the same revision; a little later for the rest.
func (p *Planner) ordered(ctx context.Context, changed events.SourceChanged, items []kustomizev1.Kustomization) []bus.Target {
	out := targets(items, bus.Note{Reason: "source", Revision: changed.Revision})
	if p.Affected == nil {
		return out
	}
	keys := make([]events.Key, len(out))
	for i := range out {
		keys[i] = out[i].Key
	}
	first := withDependencies(p.Affected(ctx, changed, keys), items)
	for i := range out {
		if !first[out[i].Key] {
			out[i].After = background
		}
	}
	return out
}

// withDependencies adds to a set what its members depend on, directly or not.
func withDependencies(set map[events.Key]bool, items []kustomizev1.Kustomization) map[events.Key]bool {
	byKey := make(map[events.Key]*kustomizev1.Kustomization, len(items))
	var open []events.Key
	for i := range items {
		key := keyOf(&items[i])
		byKey[key] = &items[i]
		if set[key] {
			open = append(open, key)
		}
	}
	for len(open) > 0 {
		ks := byKey[open[len(open)-1]]
		open = open[:len(open)-1]
		if ks == nil {
			continue // of another source, or gone
		}
		for _, dependency := range ks.Spec.DependsOn {
			namespace := dependency.Namespace
			if namespace == "" {
				namespace = ks.Namespace
			}
			key := events.NewKey(kustomizev1.KustomizationKind, namespace, dependency.Name)
			if !set[key] {
				set[key] = true
				open = append(open, key)
			}
		}
	}
	return set
}
