package release

import (
	"context"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

const definitionKind = "CustomResourceDefinition"

// definitions makes the chart's CRDs as the policy says, and waits until they are served. What
// else is in their files is left out, as in Flux.
func (a *acting) definitions(ctx context.Context) (Progress, error) {
	if a.Options.CRDPolicy == SkipCRDs || len(a.Options.CRDs) == 0 {
		return Progress{}, nil
	}
	var all []*unstructured.Unstructured
	for _, file := range a.Options.CRDs {
		objects, err := a.objects(string(file.Data), "")
		if err != nil {
			return Progress{}, permanent("failed to parse CRDs from %s: %w", file.Name, err)
		}
		for _, o := range objects {
			if o.GetKind() == definitionKind {
				all = append(all, o)
			}
		}
	}
	made := false
	for _, o := range all {
		changed, err := a.definition(ctx, o)
		if err != nil {
			return Progress{}, err
		}
		made = made || changed
	}
	report, err := health.Check(ctx, a.Client, refs(all), nil)
	switch {
	case err != nil:
		return Progress{}, err
	case len(report.Failed) > 0:
		return Progress{}, permanent("CRDs are not established: %s", health.List(report.Failed))
	case len(report.InProgress) > 0:
		return waitFor(report.Awaited(), health.List(report.InProgress)), nil
	case made:
		return Progress{}, a.Client.Cluster().ForgetKinds()
	}
	return Progress{}, nil
}

func (a *acting) definition(ctx context.Context, o *unstructured.Unstructured) (changed bool, err error) {
	if a.Options.CRDPolicy != CreateReplaceCRDs {
		_, err := a.Client.GetMetadata(ctx, cluster.RefOf(o))
		if err == nil || !cluster.IsGone(err) {
			return false, err
		}
	}
	labels := maps.Clone(o.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, a.Options.CRDLabels)
	o.SetLabels(labels)
	return true, a.put(ctx, o)
}

// MakesDefinitions says whether the action that a record is in makes definitions next.
func MakesDefinitions(r *helmstore.Record) bool { return r.Run != nil && r.Run.Phase == phaseCRDs }
