package fleet

import (
	"context"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmrelease"
)

// Releases is the fleet as HelmReleases see it.
type Releases struct{ fleet *Fleet }

// Releases returns the places that releases are made in.
func (f *Fleet) Releases() Releases { return Releases{f} }

// For returns the place of a HelmRelease, with the same errors as for a Kustomization.
func (r Releases) For(ctx context.Context, hr *helmv2.HelmRelease) (*helmrelease.Place, func(), error) {
	user := User{helmv2.HelmReleaseKind, cluster.Owner{Namespace: hr.Namespace, Name: hr.Name}}
	o, leave, err := r.fleet.find(ctx, user, hr.Spec.KubeConfig, hr.Spec.Interval.Duration)
	return o.Place, leave, err
}

// Forget drops what is remembered of a HelmRelease that is gone.
func (r Releases) Forget(owner cluster.Owner) {
	r.fleet.forget(User{helmv2.HelmReleaseKind, owner})
}
