package helmrepository

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-containerregistry/pkg/authn"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartrepo"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// legacy are the keys by which the Secret of spec.secretRef may ask for TLS settings.
var legacy = []string{"caFile", "certFile", "keyFile", "ca.crt", "tls.crt", "tls.key"}

// RoadOf is the road on which an object's repository is asked.
func RoadOf(o *sourcev1.HelmRepository) string {
	return source.RoadOf("", o.Spec.SecretRef, o.Spec.CertSecretRef)
}

// RegistryAccess returns how the registry of an object of type oci is read. Its Secret
// holds logins of registries, or a username and a password; without one its cloud
// provider is asked for a login.
func RegistryAccess(ctx context.Context, live client.Reader, identities *identity.Client, o *sourcev1.HelmRepository) (oci.Access, error) {
	a := oci.Access{Insecure: o.Spec.Insecure}
	if !strings.HasPrefix(o.Spec.URL, oci.Scheme) {
		return a, source.Stalled(sourcev1.URLInvalidReason, fmt.Errorf("invalid Helm repository URL: one of type oci begins with %s: change spec.url or spec.type", oci.Scheme))
	}
	if ref := o.Spec.SecretRef; ref != nil {
		secret, err := source.LoginSecret(ctx, live, o.Namespace, ref.Name)
		if err != nil {
			return a, err
		}
		if user, password := string(secret.Data["username"]), string(secret.Data["password"]); user != "" {
			a.Login = &authn.Basic{Username: user, Password: password}
		} else {
			a.PullSecrets = append(a.PullSecrets, secret)
		}
		if has(secret.Data, legacy) {
			a.TLS = secret.Data
		}
	}
	if ref := o.Spec.CertSecretRef; ref != nil {
		data, err := source.Secret(ctx, live, o.Namespace, ref.Name)
		if err != nil {
			return a, err
		}
		a.TLS = data
	}
	provider := o.Spec.Provider
	if o.Spec.SecretRef != nil || provider == "" || provider == sourcev1.GenericOCIProvider {
		return a, nil
	}
	id := identity.Identity{Provider: provider, Namespace: o.Namespace, OtherTLS: a.Insecure || a.TLS != nil}
	var err error
	if a.Login, err = identities.Registry(ctx, id, strings.TrimPrefix(o.Spec.URL, oci.Scheme)); err != nil {
		return a, source.Unidentified(provider, source.Cause(ctx, err))
	}
	return a, nil
}

// Access returns how an object's repository is read over HTTP. An *source.Error says
// what is wrong with its URL or its Secrets.
func Access(ctx context.Context, live client.Reader, o *sourcev1.HelmRepository) (chartrepo.Repository, error) {
	r := chartrepo.Repository{URL: o.Spec.URL, PassCredentials: o.Spec.PassCredentials, Namespace: o.Namespace, Road: RoadOf(o)}
	u, err := url.Parse(o.Spec.URL)
	switch {
	case err != nil || u.Host == "":
		return r, source.Stalled(sourcev1.URLInvalidReason, errors.New("invalid Helm repository URL: it has to be one with a host: change spec.url"))
	case u.Scheme != "http" && u.Scheme != "https":
		return r, source.Stalled("Failed", fmt.Errorf("failed to construct Helm client: scheme %q not supported: set spec.type to oci, or change spec.url", u.Scheme))
	}
	if ref := o.Spec.SecretRef; ref != nil {
		data, err := source.Secret(ctx, live, o.Namespace, ref.Name)
		if err != nil {
			return r, err
		}
		r.Username, r.Password = string(data["username"]), string(data["password"])
		if (r.Username == "") != (r.Password == "") {
			return r, source.AuthenticationFailed(fmt.Errorf("failed to get authentication options: secret '%s/%s': 'username' and 'password' go together: set both or none", o.Namespace, ref.Name))
		}
		if o.Spec.CertSecretRef == nil && has(data, legacy) {
			if err := secure(&r, data, o.Namespace, ref.Name); err != nil {
				return r, err
			}
		}
	}
	if ref := o.Spec.CertSecretRef; ref != nil {
		data, err := source.Secret(ctx, live, o.Namespace, ref.Name)
		if err != nil {
			return r, err
		}
		return r, secure(&r, data, o.Namespace, ref.Name)
	}
	return r, nil
}

func secure(r *chartrepo.Repository, data map[string][]byte, namespace, name string) (err error) {
	if r.TLS, err = transport.TLS(data); err != nil {
		return source.AuthenticationFailed(fmt.Errorf("failed to construct Helm client's TLS config: secret '%s/%s': %w", namespace, name, err))
	}
	r.Trust, err = flight.KeyOf(data)
	return err
}

func has(data map[string][]byte, keys []string) bool {
	for _, key := range keys {
		if len(data[key]) > 0 {
			return true
		}
	}
	return false
}
