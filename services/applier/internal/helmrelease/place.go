package helmrelease

import (
	"context"
	"errors"
	"fmt"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/kubeconfig"
)

// reasonClient is Flux's reason for a cluster that cannot be used.
const reasonClient = "RESTClientError"

// Places finds the clusters that releases are made in.
type Places interface {
	// For returns the place of a HelmRelease, and what to call when the pass is over. The
	// error is a *cluster.NoTargetError when it has none for now, and cluster.ErrBusy when it is to
	// be looked at again soon.
	For(ctx context.Context, hr *helmv2.HelmRelease) (*Place, func(), error)
	// Forget drops what is remembered of a HelmRelease that is gone.
	Forget(owner cluster.Owner)
}

// locate finds the place of the object. Whatever it returns, what leave says is to be called.
func (p *pass) locate(ctx context.Context) (leave func(), err error) {
	place, leave, err := p.Places.For(ctx, p.hr)
	if err != nil {
		return func() {}, err
	}
	p.place = place
	return leave, nil
}

// connect makes the clients of the object's own rights.
func (p *pass) connect(storageNamespace string) (err error) {
	p.account = p.hr.Spec.ServiceAccountName
	if p.account == "" {
		p.account = p.Options.DefaultServiceAccount
	}
	if p.account == "" {
		p.client, err = p.place.Cluster.Client()
	} else {
		p.client, err = p.place.Cluster.As(p.hr.Namespace, p.account)
	}
	if err == nil {
		p.close() // what it read of another namespace
		p.store = helmstore.New(p.client.Secrets(storageNamespace), storageNamespace, p.Keys, p.identity())
		p.store.Log, p.store.Ignored, p.store.Room = p.log, &p.junk, p.Histories
	}
	return err
}

// nowhere says that there is no cluster to make the release in. A chart that is not made yet
// and a dependency come first: it may be what makes the cluster.
func (p *pass) nowhere(ctx context.Context, lost *cluster.NoTargetError) (bus.Result, error) {
	if f := p.unserved(); f != nil {
		return p.refuse(ctx, *f)
	}
	if f, err := p.chart(ctx); err != nil || f != nil {
		return p.refuseOr(ctx, f, err)
	}
	if f, err := p.dependencies(ctx); err != nil || f != nil {
		return p.refuseOr(ctx, f, err)
	}
	f := refusal{reason: reasonClient, message: lost.Error(), retry: retryWait, warn: true}
	if lost.Disabled {
		f.reason, f.stalled = fluxmeta.FeatureGateDisabledReason, true
	}
	return p.refuse(ctx, f)
}

// powerless says why nothing of a HelmRelease that is deleted can be uninstalled any more: the account that the release was
// made with is gone, as when its namespace is deleted. While the HelmRelease is there the account may come yet.
func (p *pass) powerless(ctx context.Context) (string, error) {
	if p.account == "" || p.hr.DeletionTimestamp.IsZero() {
		return "", nil
	}
	own, err := p.place.Cluster.Client()
	if err != nil {
		return "", err
	}
	_, err = own.GetMetadata(ctx, cluster.Ref{Version: "v1", Kind: "ServiceAccount", Namespace: p.hr.Namespace, Name: p.account})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("service account %s/%s is gone", p.hr.Namespace, p.account), nil
	case apierrors.IsForbidden(err): // a kubeconfig's user may not look; the uninstall itself will tell
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look for service account %s/%s: %w", p.hr.Namespace, p.account, err)
	}
	return "", nil
}

// noTarget returns why an object has no cluster for now; nil when that is not what an error says.
func noTarget(err error) *cluster.NoTargetError {
	var none *cluster.NoTargetError
	errors.As(err, &none)
	return none
}

// missing says whether what leads to a cluster does not exist any more.
func missing(err error) bool {
	var refused *kubeconfig.RefusedError
	return errors.As(err, &refused) && refused.Missing
}
