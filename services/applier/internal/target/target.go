// Package target is the cluster that Kustomizations are applied to, as the work of
// a check sees it: the engine, the live table and health behind one door, with the
// rights of the Kustomization's own service account.
package target

import (
	"context"
	"fmt"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/budget"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/handle"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

// Target is one cluster.
type Target struct {
	cluster *cluster.Cluster
	engine  *engine.Engine
	table   *livestate.Table
	opts    Options

	mu sync.Mutex
	// verify says when all objects of an owner are to be compared with the API
	// server again; of an owner that is missing nothing is known.
	verify map[cluster.Owner]verification
	// paced is when the next owner of which nothing was kept may be verified.
	paced time.Time
}

// Options are the settings of a target. Snapshots and Identity are required.
type Options struct {
	// DefaultServiceAccount is who Kustomizations act as that name no service
	// account; empty means the applier's own rights.
	DefaultServiceAccount string
	// VerifyInterval is how often objects are compared with the API server although
	// no watch saw a change; zero never does.
	VerifyInterval time.Duration
	// Place tells remote clusters apart in snapshots; it is empty for the applier's own. In a remote one an
	// owner may differ in everything of which nothing was kept.
	Place string
	// Snapshots keep the live table over restarts.
	Snapshots Snapshots
	// Identity names an owner in the seal of its snapshot.
	Identity func(ks *kustomizev1.Kustomization) seal.Identity
}

// New returns a target.
func New(c *cluster.Cluster, e *engine.Engine, table *livestate.Table, opts Options) *Target {
	return &Target{cluster: c, engine: e, table: table, opts: opts, verify: map[cluster.Owner]verification{}}
}

func ownerOf(ks *kustomizev1.Kustomization) cluster.Owner {
	return cluster.Owner{Namespace: ks.Namespace, Name: ks.Name}
}

// account returns the service account a Kustomization acts as; "" is none.
func (t *Target) account(ks *kustomizev1.Kustomization) string {
	if ks.Spec.ServiceAccountName != "" {
		return ks.Spec.ServiceAccountName
	}
	return t.opts.DefaultServiceAccount
}

func (t *Target) client(ks *kustomizev1.Kustomization) (*cluster.Client, error) {
	if account := t.account(ks); account != "" {
		return t.cluster.As(ks.Namespace, account)
	}
	return t.cluster.Client()
}

// Place drops the namespaces of objects whose kind has none.
func (t *Target) Place(ctx context.Context, objects []render.Object) error {
	return t.cluster.Place(ctx, plain(objects))
}

// Apply makes the objects exist as rendered.
func (t *Target) Apply(ctx context.Context, w handle.Work) (handle.Applied, error) {
	client, err := t.client(w.Object)
	if err != nil {
		return handle.Applied{}, err
	}
	rules, err := ignore.Compile(w.Object)
	if err != nil {
		return handle.Applied{}, fmt.Errorf("read rules of Kustomization %s/%s: %w", w.Object.Namespace, w.Object.Name, err)
	}
	result, err := t.engine.Apply(ctx, engine.Request{
		Owner: ownerOf(w.Object), Client: client, Objects: plain(w.Objects), Part: w.Part, Ignore: rules,
		Force: w.Object.Spec.Force, Again: w.Again, Careful: w.Careful, Verify: w.Verify, Compare: w.Compare, Guard: w.Guard,
	})
	applied := handle.Applied{Differences: differing(result.Differences), Changes: changes(result.Outcomes), Inventory: result.Inventory, Awaited: result.Await, Wrote: result.Writes > 0}
	if err == nil {
		if !w.Part {
			t.learn(ownerOf(w.Object), w.Verify)
		}
		t.save(w.Object, w.Render)
	}
	return applied, err
}

// GiveUp forgets objects that left the render and stay where they are.
func (t *Target) GiveUp(ks *kustomizev1.Kustomization, stale []inventory.Entry) {
	var refs []cluster.Ref
	for _, e := range stale {
		if ref, err := inventory.Parse(e); err == nil { // what cannot be read was never watched
			refs = append(refs, ref)
		}
	}
	t.engine.GiveUp(ownerOf(ks), refs)
}

// Deletions returns those of the objects that Prune would delete now.
func (t *Target) Deletions(ctx context.Context, ks *kustomizev1.Kustomization, stale []inventory.Entry) (budget.Plan, error) {
	req, err := t.pruning(ks, stale)
	if err != nil {
		return nil, err
	}
	doomed, err := t.engine.Doomed(ctx, req)
	plan := make(budget.Plan, 0, len(doomed))
	for _, d := range doomed {
		plan = append(plan, budget.Deletion{Object: d.Object, UID: d.UID})
	}
	return plan, err
}

// Prune deletes objects as far as they are the owner's.
func (t *Target) Prune(ctx context.Context, ks *kustomizev1.Kustomization, stale []inventory.Entry, guard func(context.Context) error) (engine.PruneResult, error) {
	req, err := t.pruning(ks, stale)
	if err != nil {
		return engine.PruneResult{Failed: stale}, err
	}
	req.Guard = guard
	return t.engine.Prune(ctx, req)
}

// Terminating returns those of the owner's objects that are deleted and still there.
func (t *Target) Terminating(ctx context.Context, ks *kustomizev1.Kustomization, entries []inventory.Entry) ([]engine.Lingering, error) {
	req, err := t.pruning(ks, entries)
	if err != nil {
		return nil, err
	}
	return t.engine.Terminating(ctx, req)
}

func (t *Target) pruning(ks *kustomizev1.Kustomization, stale []inventory.Entry) (engine.PruneRequest, error) {
	client, err := t.client(ks)
	if err != nil {
		return engine.PruneRequest{}, err
	}
	req := engine.PruneRequest{Owner: ownerOf(ks), Client: client, Stale: stale}
	if t.account(ks) != "" {
		req.Own, err = t.cluster.Client()
	}
	return req, err
}

// Health looks at objects once.
func (t *Target) Health(ctx context.Context, ks *kustomizev1.Kustomization, refs []cluster.Ref, rules health.Rules) (health.Report, error) {
	client, err := t.client(ks)
	if err != nil {
		return health.Report{}, err
	}
	return health.Check(ctx, client, refs, rules)
}

// Gates implements handle.Target.
func (t *Target) Gates(ctx context.Context, ks *kustomizev1.Kustomization, objects []render.Object) (health.Report, error) {
	client, err := t.client(ks)
	if err != nil {
		return health.Report{}, err
	}
	return t.engine.Gates(ctx, client, plain(objects))
}

func plain(objects []render.Object) []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, 0, len(objects))
	for _, o := range objects {
		out = append(out, o.Unstructured)
	}
	return out
}

// Reachable returns why the object's own rights are gone: its service account does
// not exist any more.
func (t *Target) Reachable(ctx context.Context, ks *kustomizev1.Kustomization) (string, error) {
	account := t.account(ks)
	if account == "" {
		return "", nil
	}
	own, err := t.cluster.Client()
	if err != nil {
		return "", err
	}
	_, err = own.GetMetadata(ctx, cluster.Ref{Version: "v1", Kind: "ServiceAccount", Namespace: ks.Namespace, Name: account})
	if apierrors.IsNotFound(err) {
		return err.Error(), nil
	}
	if apierrors.IsForbidden(err) { // a kubeconfig's user may not look; the deletion itself will tell
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for service account %s/%s: %w", ks.Namespace, account, err)
	}
	return "", nil
}

// Dirty returns the objects that may differ from what was applied last, as far as
// the watches tell.
func (t *Target) Dirty(ks *kustomizev1.Kustomization) []cluster.Ref {
	if t.strange(ks) {
		return inventoryOf(ks)
	}
	return t.table.Dirty(ownerOf(ks))
}

// strange says that nothing is known of an owner, nor will be before it is applied.
func (t *Target) strange(ks *kustomizev1.Kustomization) bool {
	return !t.knows(ownerOf(ks)) && t.opts.Place != ""
}

// knows says whether this process looks after an owner's objects here.
func (t *Target) knows(owner cluster.Owner) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, known := t.verify[owner]
	return known
}

// whole says that the table has all that there is of an owner: it was not forgotten, and no verification is owed that
// would tell of all its objects.
func (t *Target) whole(owner cluster.Owner) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, known := t.verify[owner]
	return known && !v.owed
}

// Unwatched returns the objects that no watch vouches for, because their kind
// cannot be listed and watched.
func (t *Target) Unwatched(ks *kustomizev1.Kustomization) []cluster.Ref {
	return t.table.Unwatched(inventoryOf(ks))
}

func inventoryOf(ks *kustomizev1.Kustomization) []cluster.Ref {
	if ks.Status.Inventory == nil {
		return nil
	}
	refs := make([]cluster.Ref, 0, len(ks.Status.Inventory.Entries))
	for _, e := range ks.Status.Inventory.Entries {
		if ref, err := inventory.Parse(inventory.Entry{ID: e.ID, Version: e.Version}); err == nil {
			refs = append(refs, ref)
		}
	}
	return refs
}

// Await asks for a check whenever one of these objects changes.
func (t *Target) Await(ks *kustomizev1.Kustomization, refs []cluster.Ref) []cluster.Ref {
	untold, _ := t.table.Await(ownerOf(ks), cluster.Unseen(refs...))
	return untold
}

// Calm lets an object be put back at once again that was fought over.
func (t *Target) Calm(r cluster.Ref) { t.table.Calm(r) }

// Forget drops what this process remembers of an owner that is gone, or is elsewhere now.
func (t *Target) Forget(owner cluster.Owner) {
	t.unlearn(owner)
	t.table.Release(owner)
}

// Unload drops what this process remembers of an owner that another one looks after by now.
func (t *Target) Unload(owner cluster.Owner) {
	t.unlearn(owner)
	t.table.Unload(owner)
}

func (t *Target) unlearn(owner cluster.Owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.verify, owner)
}

func differing(differences []engine.Difference) []events.Difference {
	var out []events.Difference
	for _, d := range differences {
		e := events.Difference{Object: refOf(d.Object), Missing: d.Missing}
		for _, f := range d.Fields {
			e.Fields = append(e.Fields, events.FieldDifference{Path: f.Path, Live: f.Live, Wanted: f.Wanted, Manager: f.Manager})
		}
		out = append(out, e)
	}
	return out
}

func refOf(r cluster.Ref) events.ObjectRef {
	return events.ObjectRef{APIVersion: r.APIVersion(), Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

func changes(outcomes []engine.Outcome) []events.Change {
	var out []events.Change
	for _, o := range outcomes {
		switch o.Action {
		case engine.Created, engine.Configured, engine.Deleted:
			out = append(out, events.Change{Object: refOf(o.Object), Action: string(o.Action)})
		case engine.Unchanged, engine.Skipped:
		}
	}
	return out
}
