// Package finalize carries out the end of a Kustomization: what its objects'
// deletion policy asks for, then the removal of the finalizer. It never waits:
// what is still terminating is looked at again by a later check.
package finalize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/claim"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// target is the cluster the objects are in.
type target interface {
	// Reachable returns why the target cannot be reached with the object's own
	// rights any more, such as a service account that is gone; "" when it can.
	Reachable(ctx context.Context, ks *kustomizev1.Kustomization) (string, error)
	// Prune deletes objects as far as they are the owner's.
	Prune(ctx context.Context, ks *kustomizev1.Kustomization, stale []inventory.Entry, guard func(context.Context) error) (engine.PruneResult, error)
	// Terminating returns those of the owner's objects that are deleted and still there.
	Terminating(ctx context.Context, ks *kustomizev1.Kustomization, entries []inventory.Entry) ([]engine.Lingering, error)
}

// opener opens logs on the bus.
type opener interface {
	Open(ctx context.Context, subject string) (*bus.Log, error)
}

// Finalizer ends Kustomizations of one cluster.
type Finalizer struct {
	Bus      opener
	Writer   *claim.Writer
	Target   target
	Recorder report.Recorder
	Log      *slog.Logger
	Cluster  string

	told told
}

// pollTermination is how often objects that terminate are looked at.
const pollTermination = 2 * time.Second

// Finalize does what is left to do for a deleted object.
func (f *Finalizer) Finalize(ctx context.Context, ks *kustomizev1.Kustomization) (bus.Result, error) {
	if !controllerutil.ContainsFinalizer(ks, kube.Finalizer) {
		return bus.Result{Next: bus.Never}, nil // deleted before it ever got ours, or done
	}
	list := owned(ks)
	if ks.Spec.Suspend || !deletes(ks) || len(list) == 0 {
		return f.release(ctx, ks)
	}
	why, err := f.Target.Reachable(ctx, ks)
	if err != nil {
		return f.later(ctx, ks, err)
	}
	if why != "" {
		f.leave(ks, list, why)
		return f.release(ctx, ks)
	}
	if !waits(ks) {
		return f.prune(ctx, ks, list, f.release)
	}
	// The wait looks with rights that may be among the objects, so these outlast it
	// and are not waited for themselves.
	rest, rights := engine.WithoutRights(list)
	return f.prune(ctx, ks, rest, func(ctx context.Context, ks *kustomizev1.Kustomization) (bus.Result, error) {
		return f.wait(ctx, ks, rest, rights)
	})
}

// wait waits until objects are gone, by timer, and then ends with the rights.
func (f *Finalizer) wait(ctx context.Context, ks *kustomizev1.Kustomization, rest, rights []inventory.Entry) (bus.Result, error) {
	waiting, err := f.terminating(ctx, ks, rest)
	if err != nil {
		return f.later(ctx, ks, err)
	}
	if waiting {
		return bus.Result{Next: pollTermination}, nil
	}
	return f.prune(ctx, ks, rights, f.release)
}

// prune deletes objects as far as they are the object's, tells which, and goes on
// with next.
func (f *Finalizer) prune(
	ctx context.Context, ks *kustomizev1.Kustomization, list []inventory.Entry,
	next func(context.Context, *kustomizev1.Kustomization) (bus.Result, error),
) (bus.Result, error) {
	result, err := f.Target.Prune(ctx, ks, list, f.Writer.Watch(ks).Hold)
	if reportErr := f.tell(ctx, ks, result.Deleted()); reportErr != nil {
		return bus.Result{}, reportErr
	}
	if err != nil {
		return f.later(ctx, ks, err)
	}
	return next(ctx, ks)
}

// later says what is in the way, and tries again.
func (f *Finalizer) later(ctx context.Context, ks *kustomizev1.Kustomization, err error) (bus.Result, error) {
	if ctx.Err() != nil {
		return bus.Result{}, err
	}
	if errors.Is(err, cluster.ErrBusy) {
		return bus.Result{Next: cluster.BusyFor(err)}, nil
	}
	f.fault(ks, err.Error())
	return bus.Result{Next: ks.GetRetryInterval()}, nil
}

// deletes says whether the policy asks for the objects' deletion.
func deletes(ks *kustomizev1.Kustomization) bool {
	switch ks.GetDeletionPolicy() {
	case kustomizev1.DeletionPolicyDelete, kustomizev1.DeletionPolicyWaitForTermination:
		return true
	case kustomizev1.DeletionPolicyMirrorPrune:
		return ks.Spec.Prune
	}
	return false
}

// waits says whether the policy asks to wait until the objects are gone.
func waits(ks *kustomizev1.Kustomization) bool {
	return ks.GetDeletionPolicy() == kustomizev1.DeletionPolicyWaitForTermination
}

// terminating says whether to wait for objects that still exist, and tells which.
// The timeout ends the wait, not the deletion.
func (f *Finalizer) terminating(ctx context.Context, ks *kustomizev1.Kustomization, list []inventory.Entry) (bool, error) {
	left, err := f.Target.Terminating(ctx, ks, list)
	if err != nil {
		return false, fmt.Errorf("wait for termination: %w", err)
	}
	waited := time.Since(ks.DeletionTimestamp.Time)
	over := waited >= ks.GetTimeout()
	if len(left) > 0 && (over || waited >= report.LingerAfter && f.told.first(client.ObjectKeyFromObject(ks), ks.UID)) {
		f.tellTerminating(ks, left, over)
	}
	return len(left) > 0 && !over, nil
}

func (f *Finalizer) tellTerminating(ks *kustomizev1.Kustomization, left []engine.Lingering, over bool) {
	message := "waiting for objects that are still terminating: "
	if over {
		message = fmt.Sprintf("not waiting any longer than %s for objects that are still terminating: ", ks.GetTimeout())
	}
	f.Recorder.Tell(ks, report.Note{
		Reason: report.ReasonTerminating, Warning: true, Revision: ks.Status.LastAppliedRevision,
		Message: message + engine.Text(left),
	})
}

// Forget drops what was told of an object that is gone.
func (f *Finalizer) Forget(name types.NamespacedName) { f.told.forget(name) }

func (f *Finalizer) release(ctx context.Context, ks *kustomizev1.Kustomization) (bus.Result, error) {
	f.Forget(client.ObjectKeyFromObject(ks))
	return bus.Result{Next: bus.Never}, f.Writer.RemoveFinalizer(ctx, ks)
}

// leave says which objects stay behind, and why.
func (f *Finalizer) leave(ks *kustomizev1.Kustomization, list []inventory.Entry, why string) {
	names := make([]string, 0, len(list))
	for _, e := range list {
		name := e.ID
		if ref, err := inventory.Parse(e); err == nil {
			name = ref.String()
		}
		names = append(names, name)
	}
	f.fault(ks, fmt.Sprintf("unable to delete objects, they are left behind: %s: %s", why, strings.Join(names, ", ")))
}

// fault tells what is in the way, in the log and to the object's users. Its status
// is left alone: it is being deleted.
func (f *Finalizer) fault(ks *kustomizev1.Kustomization, message string) {
	f.Log.Error("objects could not be deleted", "kind", "kustomization", "namespace", ks.Namespace, "name", ks.Name,
		"cluster", f.Cluster, "error", message)
	f.Recorder.Tell(ks, report.Note{
		Reason: status.ReasonPruneFailed, Message: message, Revision: ks.Status.LastAppliedRevision, Warning: true,
	})
}

func (f *Finalizer) tell(ctx context.Context, ks *kustomizev1.Kustomization, deleted []cluster.Ref) error {
	if len(deleted) == 0 {
		return nil
	}
	journal, err := report.Open(ctx, f.Bus, f.Cluster, ks)
	if err != nil {
		return err
	}
	var refs []events.ObjectRef
	var changes []events.Change
	for _, r := range deleted {
		ref := events.ObjectRef{APIVersion: r.APIVersion(), Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
		refs = append(refs, ref)
		changes = append(changes, events.Change{Object: ref, Action: "deleted"})
	}
	f.Recorder.Tell(ks, report.Note{
		Reason: status.ReasonSucceeded, Message: report.Changes(changes), Revision: ks.Status.LastAppliedRevision,
	})
	id, revision := status.LastGood(ks)
	return journal.Write(ctx, events.Pruned{Applied: journal.Applied(revision, id), Objects: refs})
}

func owned(ks *kustomizev1.Kustomization) []inventory.Entry {
	if ks.Status.Inventory == nil {
		return nil
	}
	list := make([]inventory.Entry, 0, len(ks.Status.Inventory.Entries))
	for _, e := range ks.Status.Inventory.Entries {
		list = append(list, inventory.Entry{ID: e.ID, Version: e.Version})
	}
	return list
}
