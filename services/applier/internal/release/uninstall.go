package release

import (
	"context"
	"errors"

	"helm.sh/helm/v3/pkg/releaseutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// doomed are the objects that an uninstall deletes, in Helm's order.
func (a *acting) doomed() ([]*unstructured.Unstructured, error) {
	if _, err := a.objects(a.record.Manifest, a.record.Namespace); err != nil { // sorting reads it without bounds
		return nil, err
	}
	_, sorted, err := releaseutil.SortManifests(releaseutil.SplitManifests(a.record.Manifest), nil, releaseutil.UninstallOrder)
	if err != nil {
		return nil, permanent("corrupted release record. You must manually delete the resources: %w", err)
	}
	var out []*unstructured.Unstructured
	for _, m := range sorted {
		objects, err := a.objects(m.Content, a.record.Namespace)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if !kept(o.GetAnnotations()) {
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// remove deletes the record's objects, kind by kind. One that may not be deleted holds up none of the others, as in Helm.
func (a *acting) remove(ctx context.Context) error {
	objects, err := a.doomed()
	if err != nil {
		return err
	}
	policy := a.Options.Propagation
	if policy == "" {
		policy = metav1.DeletePropagationBackground
	}
	var refused []error
	for _, group := range groups(objects) {
		err := a.each(ctx, group, func(ctx context.Context, o *unstructured.Unstructured) error {
			return a.delete(ctx, cluster.RefOf(o), policy)
		})
		if err != nil && (Transient(err) || cluster.TimedOut(err)) {
			return err
		}
		refused = append(refused, err)
	}
	return errors.Join(refused...)
}

// gone looks for what is deleted and still there.
func (a *acting) gone(ctx context.Context) (Progress, error) {
	if a.Options.DisableWait {
		return Progress{}, nil
	}
	objects, err := a.doomed()
	if err != nil {
		return Progress{}, err
	}
	var left []cluster.Ref
	for _, r := range refs(objects) {
		live, err := a.Client.GetMetadata(ctx, r)
		if cluster.IsGone(err) {
			continue
		}
		if err != nil {
			return Progress{}, err
		}
		if !live.DeletionTimestamp.IsZero() {
			left = append(left, r)
		}
	}
	if len(left) == 0 {
		return Progress{}, nil
	}
	return waitFor(cluster.Unseen(left...), "deletion of "+names(left)), nil
}
