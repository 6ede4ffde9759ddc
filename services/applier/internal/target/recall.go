package target

import (
	"context"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// Snapshots keep what the live table knows about the objects of an owner.
type Snapshots interface {
	Save(id seal.Identity, place, render string, keep func() []livestate.Kept)
	Load(ctx context.Context, id seal.Identity, place, render string) ([]livestate.Kept, error)
}

const (
	// listPatience is how long first passes wait for the list of a kind, all that come together.
	listPatience = 10 * time.Second
	// loadPatience is how long a first pass waits for what was kept.
	loadPatience = 10 * time.Second
)

// Recall prepares this process for an owner that it has not applied yet: it lists
// the kinds of its objects and compares the objects with what was kept about them.
// Without anything kept they are verified later, in the background; in a remote cluster, which may be
// new to the owner, at once. It fails only with the context. What it remembers of objects that are not in the inventory, which all
// processes share, it forgets: another process has pruned them, or left them to somebody.
func (t *Target) Recall(ctx context.Context, ks *kustomizev1.Kustomization) error {
	refs := inventoryOf(ks)
	err := t.recall(ctx, ks, refs)
	if err == nil {
		t.table.Retain(ownerOf(ks), refs)
	}
	return err
}

func (t *Target) recall(ctx context.Context, ks *kustomizev1.Kustomization, refs []cluster.Ref) error {
	owner := ownerOf(ks)
	if t.knows(owner) || len(refs) == 0 {
		return nil
	}
	kinds := kindsOf(refs)
	t.table.Manage(kinds...)
	var kept []livestate.Kept
	ok := t.table.Listed(ctx, listPatience, kinds...)
	if ok {
		kept, ok = t.load(ctx, ks)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case !ok && t.opts.Place != "":
		return nil // it may be new in this cluster, so nothing waits for a slow comparison
	case !ok:
		t.owe(owner, len(refs))
		return nil
	}
	t.table.Adopt(ctx, owner, kept)
	t.learn(owner, false)
	return nil
}

// load returns what was kept when the render was applied that the cluster has now.
func (t *Target) load(ctx context.Context, ks *kustomizev1.Kustomization) ([]livestate.Kept, bool) {
	render, _ := status.LastGood(ks)
	if render == "" {
		return nil, false
	}
	bounded, cancel := context.WithTimeout(ctx, loadPatience)
	defer cancel()
	kept, err := t.opts.Snapshots.Load(bounded, t.opts.Identity(ks), t.opts.Place, render)
	return kept, err == nil // whatever is wrong, looking again at the objects mends it
}

func (t *Target) save(ks *kustomizev1.Kustomization, render string) {
	owner := ownerOf(ks)
	t.opts.Snapshots.Save(t.opts.Identity(ks), t.opts.Place, render, func() []livestate.Kept {
		kept := t.table.Keep(owner)
		if !t.whole(owner) {
			return nil
		}
		return kept
	})
}

func kindsOf(refs []cluster.Ref) []schema.GroupVersionKind {
	seen := map[schema.GroupKind]bool{}
	var kinds []schema.GroupVersionKind
	for _, r := range refs {
		if !seen[r.GroupKind()] {
			seen[r.GroupKind()] = true
			kinds = append(kinds, r.GVK())
		}
	}
	return kinds
}
