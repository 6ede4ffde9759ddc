package handle

import (
	"context"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/applier/internal/budget"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
)

// Work is what a target is asked to make true.
type Work struct {
	Object  *kustomizev1.Kustomization
	Render  string
	Objects []render.Object
	// Part says that Objects are some of the render's, not all.
	Part bool
	// Again is engine.Request's: only what was applied as it is in Objects is put back.
	Again bool
	// Careful is engine.Request's: the attempt before failed.
	Careful bool
	// Verify compares every object with the API server, also those that the
	// watches call unchanged.
	Verify bool
	// Compare only finds out what would be changed, and writes nothing.
	Compare bool
	// Guard fails when the work must stop; it is asked before each batch of writes.
	Guard func(context.Context) error
}

// Applied is what a target did. It is valid with an error too: then it holds what
// was done before the error.
type Applied struct {
	Changes []events.Change
	// Differences are what would be changed, when the work was to compare.
	Differences []events.Difference
	// Inventory lists all objects of the render, skipped ones included.
	Inventory []inventory.Entry
	// Wrote is true when something was sent that may have changed the cluster, also
	// when the attempt then failed.
	Wrote bool
	// Awaited are those whose health counts when the object asks for wait.
	Awaited []cluster.Ref
}

// Target is the cluster a Kustomization is applied to.
type Target interface {
	// Apply makes the objects exist as rendered.
	Apply(ctx context.Context, w Work) (Applied, error)
	// GiveUp forgets objects that left the render and are not to be deleted.
	GiveUp(ks *kustomizev1.Kustomization, stale []inventory.Entry)
	// Deletions returns those of the objects that left the render that Prune would
	// delete now.
	Deletions(ctx context.Context, ks *kustomizev1.Kustomization, stale []inventory.Entry) (budget.Plan, error)
	// Place drops the namespaces of objects whose kind has none. It fails when the cluster does not answer.
	Place(ctx context.Context, objects []render.Object) error
	// Prune deletes objects that left the render, as far as they are the owner's. Its
	// result is valid with an error too.
	Prune(ctx context.Context, ks *kustomizev1.Kustomization, stale []inventory.Entry, guard func(context.Context) error) (engine.PruneResult, error)
	// Terminating returns those of the objects that are deleted and still there.
	Terminating(ctx context.Context, ks *kustomizev1.Kustomization, entries []inventory.Entry) ([]engine.Lingering, error)
	// Health looks at objects once; it does not wait.
	Health(ctx context.Context, ks *kustomizev1.Kustomization, refs []cluster.Ref, rules health.Rules) (health.Report, error)
	// Gates looks once at those of the objects that others of them need ready, such as
	// definitions and namespaces, as far as they are not known to be.
	Gates(ctx context.Context, ks *kustomizev1.Kustomization, objects []render.Object) (health.Report, error)
	// Dirty returns the objects of the owner that may differ from what was applied
	// last, without a request.
	Dirty(ks *kustomizev1.Kustomization) []cluster.Ref
	// Unwatched returns the objects of the owner whose changes no watch tells.
	Unwatched(ks *kustomizev1.Kustomization) []cluster.Ref
	// Recall prepares for an object that this process has not applied yet, by
	// comparing what is live with what is kept about it.
	Recall(ctx context.Context, ks *kustomizev1.Kustomization) error
	// VerifyIn says in how long VerifyDue will ask for a look that cannot wait for
	// the interval; zero when there is none.
	VerifyIn(ks *kustomizev1.Kustomization) time.Duration
	// VerifyDue says whether it is time to compare all objects of the owner with the
	// API server, also those that the watches call unchanged.
	VerifyDue(ks *kustomizev1.Kustomization) bool
	// Calm lets an object be put back at once again, after a fight over it has ended.
	Calm(r cluster.Ref)
	// Await asks for a check whenever one of these objects changes, until it is
	// called with none. It returns those whose changes no watch can tell.
	Await(ks *kustomizev1.Kustomization, refs []cluster.Ref) (untold []cluster.Ref)
}

// Targets finds the clusters that objects are applied to.
type Targets interface {
	// For returns the cluster of an object, and what to call when the pass is over. The
	// error is a *cluster.NoTargetError when the object has none for now, and cluster.ErrBusy when
	// it is to be looked at again soon.
	For(ctx context.Context, ks *kustomizev1.Kustomization) (Target, func(), error)
	// Forget drops what is remembered of an owner that is gone.
	Forget(owner cluster.Owner)
}
