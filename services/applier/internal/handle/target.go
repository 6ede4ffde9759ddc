package handle

import (
	"context"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// Work is what a target is asked to make true.
type Work struct {
	Object  *kustomizev1.Kustomization
	Render  string
	Objects []render.Object
	// Only limits the work to these objects; empty means all.
	Only []cluster.Ref
	// Verify compares every object with the API server, also those that the
	// watches call unchanged.
	Verify bool
	// Guard fails when the work must stop; it is asked before each batch of writes.
	Guard func(context.Context) error
}

// Applied is what a target did. It is valid with an error too: then it holds what
// was done before the error.
type Applied struct {
	Changes []events.Change
	// Refs are all objects of the render, skipped ones included.
	Refs []cluster.Ref
	// Awaited are those whose health counts when the object asks for wait.
	Awaited []cluster.Ref
}

// Health is the health of some objects.
type Health struct {
	// Waiting are not ready yet, Failed will not become ready by waiting.
	Waiting, Failed []Ailing
}

// Ailing is an object that is not healthy.
type Ailing struct {
	Ref    cluster.Ref
	Status string
}

// Healthy says whether nothing is missing.
func (h Health) Healthy() bool { return len(h.Waiting) == 0 && len(h.Failed) == 0 }

// Target is the cluster a Kustomization is applied to.
type Target interface {
	// Apply makes the objects exist as rendered.
	Apply(ctx context.Context, w Work) (Applied, error)
	// Prune deletes objects that left the render, as far as they are the owner's.
	// It returns what it deleted and what it failed to delete.
	Prune(ctx context.Context, ks *kustomizev1.Kustomization, stale []cluster.Ref) (deleted, failed []cluster.Ref, err error)
	// Health looks at objects once; it does not wait.
	Health(ctx context.Context, ks *kustomizev1.Kustomization, refs []cluster.Ref) (Health, error)
	// Dirty returns the objects of the owner that may differ from the render,
	// without a request.
	Dirty(ctx context.Context, ks *kustomizev1.Kustomization, render string) ([]cluster.Ref, error)
	// Forget drops what is remembered of an owner that is gone.
	Forget(owner cluster.Owner)
}
