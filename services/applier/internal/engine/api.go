package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// ErrConflict means that an object was deleted or replaced by another since it was
// looked at. Look again and decide anew.
var ErrConflict = errors.New("object changed hands meanwhile")

// Records is the live table as the engine uses it. *livestate.Table is one.
type Records interface {
	// Manage starts the watch of kinds that have none.
	Manage(kinds ...schema.GroupVersionKind)
	// Standing compares an object to what was last applied for owner; digest is of
	// the object that is wanted now.
	Standing(r cluster.Ref, owner cluster.Owner, digest string) livestate.Standing
	// Seen returns what the watch last saw of an object; ok is false when there is
	// no such object or its kind is not watched.
	Seen(r cluster.Ref) (s livestate.Slim, ok bool)
	// Reduce returns what Seen would say of an object with this metadata.
	Reduce(m *metav1.PartialObjectMetadata) livestate.Slim
	// Begin announces a write, so that its event is not taken for a foreign one
	// before Applied or Abort follows.
	Begin(r cluster.Ref)
	// Applied records what the API server answered to an apply (or to a dry run
	// that changes nothing) for owner.
	Applied(r cluster.Ref, owner cluster.Owner, digest string, answer *metav1.PartialObjectMetadata)
	// Left says that an object is wanted, but that the live one is left alone.
	Left(r cluster.Ref, owner cluster.Owner, digest string, live livestate.Slim, why livestate.Leave)
	// Abort says that the outcome of a write is not known.
	Abort(r cluster.Ref)
	// Look finds out what became of an object that is not what Seen says.
	Look(ctx context.Context, r cluster.Ref)
	// Intend says what all objects are that owner wants now.
	Intend(owner cluster.Owner, wanted []cluster.Ref)
	// Withdraw drops an object that the engine deletes, or leaves, for owner.
	Withdraw(r cluster.Ref, owner cluster.Owner)
}

// Options are the settings of an engine. The zero value works.
type Options struct {
	// Parallel is how many objects of one call are worked on at once; 16 when zero.
	Parallel int
	// ServiceLane is how many Services with a cluster IP are created at once in the
	// whole cluster, because the API server allocates addresses one at a time; 3 when zero.
	ServiceLane int
	// StageKinds are kinds applied after the *Class kinds and before the rest.
	StageKinds []schema.GroupKind
	// StageWait is how long one call waits for a stage to become ready before it
	// returns a *StageError; 2 s when zero.
	StageWait time.Duration
	// ServeTimeout is for how long the API server may not serve a kind that it called
	// established, before that is an error; 60 s when zero.
	ServeTimeout time.Duration
}

// Request is one call of Apply.
type Request struct {
	Owner cluster.Owner
	// Client decides with whose rights.
	Client *cluster.Client
	// Objects are not changed by the engine. Owner labels are added to copies.
	Objects []*unstructured.Unstructured
	// Part says that Objects are some of those that the owner wants, not all.
	Part bool
	// Force recreates objects whose change is refused because a field is immutable.
	Force bool
	// Ignore says which fields are left to others.
	Ignore ignore.Rules
	// Verify looks at clean objects too, with a dry run each.
	Verify bool
	// Again puts back what was applied as it is in Objects and changed since, and leaves alone
	// what is not known to be so, such as what was never applied.
	Again bool
	// Careful tries every changed object of a stage before any is written, also those
	// that would do no harm: the attempt before failed.
	Careful bool
	// Compare writes nothing: it looks at what would be written, and the result says
	// how that differs.
	Compare bool
	// Guard is called before each batch of writes, never when nothing has to be
	// written. Its error stops the call and is returned as it is.
	Guard func(context.Context) error
}

// Action is what happened to an object.
type Action string

// What can happen to an object.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Deleted    Action = "deleted"
	Unchanged  Action = "unchanged"
	Skipped    Action = "skipped"
)

// Outcome is what happened to one object.
type Outcome struct {
	Object cluster.Ref
	Action Action
	UID    types.UID
	// Held is true for a deleted object whose finalizers keep it for now.
	Held bool
}

// Result is what a call did, also when it failed half way.
type Result struct {
	// Outcomes has one entry for each object that was dealt with, in the order of the request.
	Outcomes []Outcome
	// Inventory lists every object of the request, skipped ones included. It
	// replaces the previous inventory only when the call succeeded.
	Inventory []inventory.Entry
	// Await lists the objects whose health counts when everything is awaited:
	// all but those that opt out.
	Await []cluster.Ref
	// Differences are what an apply would change, when the request was to compare.
	Differences []Difference
	// Writes counts requests that changed something, DryRuns those that only asked.
	Writes, DryRuns int
}

// ObjectError is a failure of one object. Its text names the object, says in short
// what the API server said, with Secret values masked, and then what can be done.
type ObjectError struct {
	Object cluster.Ref
	Err    error
	text   string
	remedy string
}

// Error implements error.
func (e *ObjectError) Error() string {
	if e.remedy == "" {
		return e.text
	}
	return e.text + ": " + e.remedy
}

// Unwrap returns the API server's error.
func (e *ObjectError) Unwrap() error { return e.Err }

// PruneRequest is one call of Prune.
type PruneRequest struct {
	Owner  cluster.Owner
	Client *cluster.Client
	// Stale are the entries to delete.
	Stale []inventory.Entry
	// Own has the applier's own rights when Client impersonates an account, whose
	// rights may be among what is deleted; nil otherwise. With it go rights whose
	// deletion Client was allowed before it lost its own.
	Own *cluster.Client
	// Guard is as in Request.
	Guard func(context.Context) error
}

// Lingering is an object that is deleted and still there.
type Lingering struct {
	Object cluster.Ref
	// Finalizers hold it.
	Finalizers []string
}

// String names the object and what holds it.
func (l Lingering) String() string {
	if len(l.Finalizers) == 0 {
		return l.Object.String() + " (it has no finalizer, so it is about to go)"
	}
	return fmt.Sprintf("%s (held by finalizer %s)", l.Object, strings.Join(l.Finalizers, ", "))
}

// Text names lingering objects and what holds them.
func Text(left []Lingering) string {
	names := make([]string, 0, len(left))
	for _, l := range left {
		names = append(names, l.String())
	}
	return strings.Join(names, ", ")
}

// PruneResult is what a call of Prune did.
type PruneResult struct {
	// Outcomes says Deleted or Skipped for each object that is settled.
	Outcomes []Outcome
	// Failed are the entries that are still to be deleted; they belong back into
	// the inventory.
	Failed []inventory.Entry
}

// Deleted returns the objects whose deletion the API server accepted.
func (r PruneResult) Deleted() []cluster.Ref {
	var refs []cluster.Ref
	for _, o := range r.Outcomes {
		if o.Action == Deleted {
			refs = append(refs, o.Object)
		}
	}
	return refs
}

// Held returns the entries of those deleted objects that finalizers keep for now.
func (r PruneResult) Held() []inventory.Entry {
	var refs []cluster.Ref
	for _, o := range r.Outcomes {
		if o.Held {
			refs = append(refs, o.Object)
		}
	}
	return inventory.OfRefs(refs)
}
