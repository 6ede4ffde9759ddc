package release

import (
	"context"
	"fmt"

	helmrelease "helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// methodServerSide is how a stored release says that its objects were applied server-side. Helm 3 stores
// nothing.
const methodServerSide = "ssa"

// takeOverAttempts bounds the retries when an object changes under the takeover.
const takeOverAttempts = 4

// clientSide are the managers of objects that were not applied server-side: the helm command, and Flux while
// it did as the helm command.
func clientSide() sets.Set[string] { return sets.New("helm", Manager) }

// takeOver gives the fields that client-side applies wrote to our own manager, so that those which the chart
// has no more are removed. It asks about nothing when the revisions before were applied server-side.
func (a *acting) takeOver(ctx context.Context, objects []*unstructured.Unstructured) error {
	if !a.wereClientSide() {
		return nil
	}
	for _, group := range groups(objects) {
		if err := a.each(ctx, group, func(ctx context.Context, o *unstructured.Unstructured) error {
			return a.takeOverOne(ctx, cluster.RefOf(o))
		}); err != nil {
			return err
		}
	}
	return nil
}

// wereClientSide says whether the newest good revision before this one, or one that failed after it, was
// not applied server-side.
func (a *acting) wereClientSide() bool {
	for i := len(a.all) - 1; i >= 0; i-- {
		r := a.all[i]
		if r.Version == a.record.Version || r.Outline {
			continue
		}
		if r.ApplyMethod != methodServerSide {
			return true
		}
		if r.Info.Status == helmrelease.StatusDeployed || r.Info.Status == helmrelease.StatusSuperseded {
			return false
		}
	}
	return false
}

func (a *acting) takeOverOne(ctx context.Context, r cluster.Ref) error {
	var err error
	for range takeOverAttempts {
		live, gone := a.Client.GetMetadata(ctx, r)
		if cluster.IsGone(gone) {
			return nil
		}
		if gone != nil {
			return fmt.Errorf("%s: read metadata before takeover: %w", r, gone)
		}
		patch, wrong := csaupgrade.UpgradeManagedFieldsPatch(live, clientSide(), Manager)
		if wrong != nil {
			return permanent("%s: read who manages it: %w", r, wrong)
		}
		if len(patch) == 0 {
			return nil
		}
		if _, err = a.Client.Patch(ctx, r, types.JSONPatchType, patch); err == nil {
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) {
			break
		}
	}
	return fmt.Errorf("%s: take over fields: %w", r, err)
}
