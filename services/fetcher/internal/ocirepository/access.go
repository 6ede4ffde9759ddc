package ocirepository

import (
	"context"
	"fmt"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// access reads what the object names to reach its registry. As in Flux a pull secret of its own
// counts beside those of a service account, and where there is any, no identity is asked for.
func (k *Kind) access(ctx context.Context, o *sourcev1.OCIRepository) (oci.Access, error) {
	a := oci.Access{Insecure: o.Spec.Insecure}
	var err error
	if ref := o.Spec.CertSecretRef; ref != nil {
		if a.TLS, err = source.Secret(ctx, k.live, o.Namespace, ref.Name); err != nil {
			return a, err
		}
	}
	if ref := o.Spec.ProxySecretRef; ref != nil {
		if a.Proxy, err = source.Secret(ctx, k.live, o.Namespace, ref.Name); err != nil {
			return a, err
		}
	}
	var names []string
	if ref := o.Spec.SecretRef; ref != nil {
		names = append(names, ref.Name)
	}
	if o.Spec.ServiceAccountName != "" {
		var account corev1.ServiceAccount
		key := types.NamespacedName{Namespace: o.Namespace, Name: o.Spec.ServiceAccountName}
		if err := k.live.Get(ctx, key, &account); err != nil {
			return a, source.AuthenticationFailed(fmt.Errorf("failed to get service account '%s': %w", key, err))
		}
		for _, ref := range account.ImagePullSecrets {
			names = append(names, ref.Name)
		}
	}
	for _, name := range names {
		secret, err := source.PullSecret(ctx, k.live, o.Namespace, name)
		if err != nil {
			return a, err
		}
		a.PullSecrets = append(a.PullSecrets, secret)
	}
	provider := o.Spec.Provider
	if len(names) > 0 || provider == "" || provider == sourcev1.GenericOCIProvider {
		return a, nil
	}
	return a, k.identify(ctx, o, &a)
}

// identify logs in as an identity of the object's cloud provider.
func (k *Kind) identify(ctx context.Context, o *sourcev1.OCIRepository, a *oci.Access) error {
	id := identity.Identity{
		Provider: o.Spec.Provider, Namespace: o.Namespace, Account: o.Spec.ServiceAccountName, OtherTLS: a.Insecure || a.TLS != nil,
	}
	var err error
	if a.Proxy != nil {
		if id.Proxy, err = transport.Proxy(a.Proxy); err != nil {
			return source.AuthenticationFailed(fmt.Errorf("failed to configure authentication options: %w", err))
		}
	}
	if a.Login, err = k.config.Identities.Registry(ctx, id, strings.TrimPrefix(o.Spec.URL, oci.Scheme)); err != nil {
		return source.Unidentified(id.Provider, source.Cause(ctx, err))
	}
	return nil
}
