package release

import (
	"context"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
)

const definitionKind = "CustomResourceDefinition"

// DefinitionsTimeout is how long a chart's definitions may take until they are served, as in Flux.
const DefinitionsTimeout = time.Minute

// Definitions makes a chart's CRDs as the policy says, and looks whether they are served; what else is in their
// files is left out, as in Flux. It is done before Begin: definitions that cannot be made leave no revision behind, so
// that the next attempt is the same action again. All of it may be done twice, by whoever does it.
func (r *Runner) Definitions(ctx context.Context) (Progress, error) {
	if !r.MakesDefinitions() {
		return Progress{Done: true}, nil
	}
	var all []*unstructured.Unstructured
	for _, file := range r.Options.CRDs {
		objects, err := r.objects(string(file.Data), "")
		if err != nil {
			return Progress{}, fmt.Errorf("%s: %w", file.Name, err)
		}
		for _, o := range objects {
			if o.GetKind() == definitionKind {
				all = append(all, o)
			}
		}
	}
	made := false
	for _, o := range all {
		changed, err := r.definition(ctx, o)
		if err != nil {
			return Progress{}, err
		}
		made = made || changed
	}
	report, err := health.Check(ctx, r.Client, refs(all), nil)
	switch {
	case err != nil:
		return Progress{}, err
	case len(report.Failed) > 0:
		return Progress{}, permanent("CRDs are not established: %s", health.List(report.Failed))
	case len(report.InProgress) > 0:
		return waitFor(report.Awaited(), health.List(report.InProgress)), nil
	case made:
		return Progress{Done: true}, r.Client.Cluster().ForgetKinds()
	}
	return Progress{Done: true}, nil
}

// MakesDefinitions says whether there are definitions to make.
func (r *Runner) MakesDefinitions() bool {
	return r.Options.CRDPolicy != SkipCRDs && len(r.Options.CRDs) > 0
}

func (r *Runner) definition(ctx context.Context, o *unstructured.Unstructured) (changed bool, err error) {
	if r.Options.CRDPolicy != CreateReplaceCRDs {
		_, err := r.Client.GetMetadata(ctx, cluster.RefOf(o))
		if err == nil || !cluster.IsGone(err) {
			return false, err
		}
	}
	labels := maps.Clone(o.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, r.Options.CRDLabels)
	o.SetLabels(labels)
	return true, r.put(ctx, o)
}
