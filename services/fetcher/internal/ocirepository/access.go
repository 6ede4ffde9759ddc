package ocirepository

import (
	"context"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// access reads what the object names to reach its registry. A pull secret of its own
// goes before those of a service account.
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
	} else if o.Spec.ServiceAccountName != "" {
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
	return a, nil
}
