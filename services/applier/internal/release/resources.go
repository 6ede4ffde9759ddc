package release

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
)

// parallel is how many objects of one kind are written at once; of Services fewer, whose
// addresses the API server allocates one at a time.
const (
	parallel         = 16
	parallelServices = 3
)

// apply makes the record's objects exist, kind by kind in Helm's order, and deletes what
// earlier revisions made and this one has not. It waits for objects to go that are being deleted,
// since what is applied to them goes with them.
func (a *acting) apply(ctx context.Context) (Progress, error) {
	objects, err := a.objects(a.record.Manifest, a.record.Namespace)
	if err != nil {
		return Progress{}, err
	}
	if err := a.mayAdopt(ctx, objects); err != nil {
		return Progress{}, err
	}
	if err := a.survey(ctx, objects); err != nil {
		return Progress{}, err
	}
	for _, o := range objects {
		own(o, a.record.Name, a.record.Namespace)
	}
	if err := a.takeOver(ctx, objects); err != nil {
		return Progress{}, err
	}
	a.Live.manage(objects)
	a.applied = make(map[cluster.Ref]*unstructured.Unstructured, len(objects))
	var mu sync.Mutex
	var going []cluster.Ref
	for _, group := range groups(objects) {
		if err := a.each(ctx, group, func(ctx context.Context, o *unstructured.Unstructured) error {
			live, err := a.putOwn(ctx, o)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			a.applied[cluster.RefOf(o)] = live
			if live.GetDeletionTimestamp() != nil {
				going = append(going, cluster.RefOf(o))
			}
			return nil
		}); err != nil {
			return Progress{}, err
		}
	}
	if len(going) > 0 {
		slices.SortFunc(going, cluster.Compare)
		return waitFor(cluster.Unseen(going...), "deletion of "+names(going)), nil
	}
	if a.run.Action == Install {
		return Progress{}, nil
	}
	return Progress{}, a.removeLeft(ctx, refs(objects))
}

// put applies an object. What the API server says of one that it refuses is worded for people,
// and shows no value of a Secret.
func (r *Runner) put(ctx context.Context, o *unstructured.Unstructured) error {
	if _, _, err := r.Client.ApplyAs(ctx, Manager, o, false); err != nil {
		return engine.Refusal(o, err)
	}
	return nil
}

// putOwn applies an object of the release, which is followed from then on.
func (r *Runner) putOwn(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	digest, err := r.Live.digest(o)
	if err != nil {
		return nil, err
	}
	return r.Live.put(ctx, r.Client, o, digest)
}

// each works on objects of one kind.
func (a *acting) each(ctx context.Context, objects []*unstructured.Unstructured, work func(context.Context, *unstructured.Unstructured) error) error {
	limit := parallel
	if objects[0].GetKind() == "Service" {
		limit = parallelServices
	}
	return each(ctx, limit, objects, work)
}

// each works on items, so many at once, and joins their errors. It ends at the first request that gets no answer in time,
// and returns its error and those before.
func each[T any](ctx context.Context, limit int, items []T, work func(context.Context, T) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var group errgroup.Group
	group.SetLimit(limit)
	errs := make([]error, len(items))
	for i, item := range items {
		group.Go(func() error {
			if errs[i] = context.Cause(ctx); errs[i] == nil {
				errs[i] = work(ctx, item)
			}
			if cluster.TimedOut(errs[i]) {
				end(cluster.ErrSilent)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil { // never: the errors are in errs
		return err
	}
	if errors.Is(context.Cause(ctx), cluster.ErrSilent) {
		told := false
		errs = slices.DeleteFunc(errs, func(err error) bool {
			late := cluster.TimedOut(err)
			again := late && told
			told = told || late
			return again || cluster.Untried(err)
		})
	}
	return errors.Join(errs...)
}

// mayAdopt refuses objects that are there and not the release's, when they are to be left alone.
func (a *acting) mayAdopt(ctx context.Context, objects []*unstructured.Unstructured) error {
	if !a.Options.KeepOthers {
		return nil
	}
	for _, o := range objects {
		live, err := a.Client.GetMetadata(ctx, cluster.RefOf(o))
		if cluster.IsGone(err) {
			continue
		}
		if err != nil {
			return err
		}
		if !owned(live.Labels, live.Annotations, a.record.Name, a.record.Namespace) {
			return permanent("Unable to continue with %s: %s exists and cannot be imported into the current release: "+
				"it is not of release %s in namespace %s; set disableTakeOwnership to false to adopt it", a.run.Action, cluster.RefOf(o), a.record.Name, a.record.Namespace)
		}
	}
	return nil
}

// removeLeft deletes the release's objects that earlier revisions have and wanted has not. What a revision that failed has and
// the account may not delete, nor look at, stays: mostly it is what that failed for.
func (a *acting) removeLeft(ctx context.Context, wanted []cluster.Ref) error {
	for _, old := range a.since() {
		objects, err := a.objectsOf(old)
		if err != nil {
			return err
		}
		for _, o := range objects {
			r := cluster.RefOf(o)
			if kept(o.GetAnnotations()) || slices.ContainsFunc(wanted, r.Same) {
				continue
			}
			err := a.delete(ctx, r, metav1.DeletePropagationBackground)
			if apierrors.IsForbidden(err) && !good(old) {
				a.note("%s of revision %d, which failed, stays: %s", r, old.Version, err)
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// delete deletes an object if it is the release's and does not ask to be kept.
func (a *acting) delete(ctx context.Context, r cluster.Ref, policy metav1.DeletionPropagation) error {
	a.Live.withdraw(r)
	live, err := a.Client.GetMetadata(ctx, r)
	if cluster.IsGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	if !live.DeletionTimestamp.IsZero() || kept(live.Annotations) ||
		!owned(live.Labels, live.Annotations, a.record.Name, a.record.Namespace) {
		return nil
	}
	err = a.Client.DeletePropagating(ctx, r, live.UID, policy)
	if err != nil && !cluster.IsGone(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("%s: %w", r, err)
	}
	return nil
}

// ready looks at the health of the record's objects. What this step applied and is ready by the
// API server's answer is not read again, and what is not is waited for as the answer shows it.
func (a *acting) ready(ctx context.Context) (Progress, error) {
	if a.Options.DisableWait {
		return Progress{}, nil
	}
	objects, err := a.objects(a.record.Manifest, a.record.Namespace)
	if err != nil {
		return Progress{}, err
	}
	applied := a.applied
	a.applied = nil
	var awaited []cluster.Ref
	var changing []cluster.Seen
	for _, o := range objects {
		r := cluster.RefOf(o)
		if r.GroupKind() == jobKind && a.Options.DisableWaitForJobs || a.lasting(o) {
			continue
		}
		awaited = append(awaited, r)
		if live := applied[r]; live != nil {
			changing = append(changing, a.unready(ctx, live)...)
		}
	}
	if len(changing) > 0 {
		return waitFor(changing, describe(changing)), nil
	}
	if applied != nil {
		return Progress{}, nil
	}
	report, err := health.Check(ctx, a.Client, awaited, a.Options.Rules)
	switch {
	case err != nil:
		return Progress{}, err
	case len(report.Failed) > 0:
		return Progress{}, permanent("resources are not ready: %s%s", health.List(report.Failed), health.Reasons(report.Failed))
	case len(report.InProgress) > 0:
		return waitFor(report.Awaited(), health.List(report.InProgress)+health.Reasons(report.InProgress)), nil
	}
	return Progress{}, nil
}

// unready returns an object unless it is ready. What cannot be told counts as not looked at.
func (a *acting) unready(ctx context.Context, live *unstructured.Unstructured) []cluster.Seen {
	state, err := a.Options.Rules.Evaluate(ctx, live)
	switch {
	case err != nil:
		return cluster.Unseen(cluster.RefOf(live))
	case state.Status == string(status.CurrentStatus):
		return nil
	}
	return []cluster.Seen{{Ref: state.Object, At: live.GetResourceVersion()}}
}

var jobKind = schema.GroupKind{Group: "batch", Kind: "Job"}

// lasting says that an object is ready once it was applied, whatever its state: nothing about
// its kind's health depends on more.
func (a *acting) lasting(o *unstructured.Unstructured) bool {
	kind := o.GroupVersionKind().GroupKind()
	switch kind.Group {
	case "":
		switch kind.Kind {
		case "Service":
			if t, _, _ := unstructured.NestedString(o.Object, "spec", "type"); t == "LoadBalancer" {
				return false
			}
		case "ConfigMap", "Secret", "ServiceAccount", "LimitRange", "ResourceQuota":
		default:
			return false
		}
	case "networking.k8s.io":
		if kind.Kind != "Ingress" && kind.Kind != "NetworkPolicy" && kind.Kind != "IngressClass" {
			return false
		}
	case "rbac.authorization.k8s.io", "storage.k8s.io", "scheduling.k8s.io", "admissionregistration.k8s.io":
	default:
		return false
	}
	return !a.Options.Rules.Cover(kind)
}

// CreateNamespace makes a namespace unless it is there.
func (r *Runner) CreateNamespace(ctx context.Context, name string) error {
	o := cluster.Ref{Version: "v1", Kind: "Namespace", Name: name}
	_, err := r.Client.GetMetadata(ctx, o)
	if !cluster.IsGone(err) {
		return err
	}
	namespace := o.Object()
	namespace.SetLabels(map[string]string{"name": name})
	return r.put(ctx, namespace)
}
