package helmrepository

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartrepo"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// legacy are the keys by which the Secret of spec.secretRef may ask for TLS settings.
var legacy = []string{"caFile", "certFile", "keyFile", "ca.crt", "tls.crt", "tls.key"}

// Access returns how an object's repository is read over HTTP. An *source.Error says
// what is wrong with its URL or its Secrets.
func Access(ctx context.Context, live client.Reader, o *sourcev1.HelmRepository) (chartrepo.Repository, error) {
	r := chartrepo.Repository{URL: o.Spec.URL, PassCredentials: o.Spec.PassCredentials}
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
	return nil
}

func has(data map[string][]byte, keys []string) bool {
	for _, key := range keys {
		if len(data[key]) > 0 {
			return true
		}
	}
	return false
}
