package release

import (
	"context"
	"slices"

	helmrelease "helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

// cleansUp says whether the action deletes what it made when it fails.
func (a *acting) cleansUp() bool {
	return a.Options.CleanupOnFail && (a.run.Action == Upgrade || a.run.Action == Rollback)
}

// survey notes which of the objects that a failure would have deleted are there before the action applies any: somebody else
// made them. It is stored first, so that whoever goes on with the action does not take what this one made for found, nor the
// other way round.
func (a *acting) survey(ctx context.Context, objects []*unstructured.Unstructured) error {
	if !a.cleansUp() || a.run.Surveyed {
		return nil
	}
	own, err := a.additions(objects)
	if err != nil {
		return err
	}
	var found []int
	for _, i := range own {
		_, err := a.Client.GetMetadata(ctx, cluster.RefOf(objects[i]))
		switch {
		case err == nil, apierrors.IsForbidden(err): // nobody can say that it is not there
			found = append(found, i)
		case !cluster.IsGone(err):
			return err
		}
	}
	a.run.Surveyed, a.run.Found = true, found
	return a.store(ctx)
}

// cleanUp deletes what a failed action made.
func (a *acting) cleanUp(ctx context.Context) error {
	if !a.cleansUp() || !a.run.Surveyed { // else it has applied nothing
		return nil
	}
	objects, err := a.objects(a.record.Manifest, a.record.Namespace)
	if err != nil {
		return err
	}
	own, err := a.additions(objects)
	if err != nil {
		return err
	}
	for _, i := range slices.Backward(own) {
		if slices.Contains(a.run.Found, i) {
			continue
		}
		if err := a.delete(ctx, cluster.RefOf(objects[i]), metav1.DeletePropagationBackground); err != nil {
			return err
		}
	}
	return nil
}

// additions are those of the record's objects, by their index, that the revisions have not which it takes the place of.
func (a *acting) additions(objects []*unstructured.Unstructured) ([]int, error) {
	var before []cluster.Ref
	for _, old := range a.replaced() {
		have, err := a.objectsOf(old)
		if err != nil {
			return nil, err
		}
		before = append(before, refs(have)...)
	}
	var own []int
	for i, r := range refs(objects) {
		if !slices.ContainsFunc(before, r.Same) {
			own = append(own, i)
		}
	}
	return own, nil
}

// replaced are the revisions that the record takes the place of: of a rollback those after the one that it goes back to.
func (a *acting) replaced() []*helmstore.Record {
	if a.run.Action != Rollback {
		return a.since()
	}
	return slices.DeleteFunc(slices.Clone(a.all), func(r *helmstore.Record) bool {
		return r.Version <= a.run.To || r.Version == a.record.Version
	})
}

// since are the newest good revision before the record and those after it. Of failed ones that are too old or too large to be
// read there is no manifest.
func (a *acting) since() []*helmstore.Record {
	var out []*helmstore.Record
	for _, r := range slices.Backward(a.all) {
		if r.Version == a.record.Version {
			continue
		}
		if out = append(out, r); good(r) {
			break
		}
	}
	return out
}

func good(r *helmstore.Record) bool {
	return r.Info.Status == helmrelease.StatusDeployed || r.Info.Status == helmrelease.StatusSuperseded
}

// objectsOf are the objects of an older revision. One that failed and cannot be read has applied none.
func (a *acting) objectsOf(old *helmstore.Record) ([]*unstructured.Unstructured, error) {
	objects, err := a.objects(old.Manifest, a.record.Namespace)
	if err != nil && !good(old) && !Transient(err) {
		return nil, nil
	}
	return objects, err
}
