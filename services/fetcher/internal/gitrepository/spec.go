package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// unsupported names the first field that asks for what is not served.
func unsupported(spec sourcev1.GitRepositorySpec) error {
	var field string
	reason := source.ReasonUnsupported
	switch {
	case spec.Provider != "" && spec.Provider != sourcev1.GitProviderGeneric:
		field, reason = fmt.Sprintf("spec.provider %q", spec.Provider), sourcev1.InvalidProviderConfigurationReason
	case spec.ServiceAccountName != "":
		field, reason = "spec.serviceAccountName", sourcev1.InvalidProviderConfigurationReason
	default:
		return nil
	}
	return source.Unsupported(reason, field, sourcev1.GitRepositoryKind)
}

// remote returns the repository with the credentials of its Secret.
func (k *Kind) remote(ctx context.Context, o *sourcev1.GitRepository) (git.Remote, error) {
	spec := o.Spec
	remote := git.Remote{URL: spec.URL}
	u, err := git.ParseURL(spec.URL)
	if err != nil {
		return remote, source.Stalled(sourcev1.URLInvalidReason, fmt.Errorf("spec.url: %w", err))
	}
	if u.Scheme == "ssh" && spec.SecretRef == nil {
		return remote, source.AuthenticationFailed(errors.New("failed to configure authentication options: " +
			"an ssh URL needs spec.secretRef: name a Secret with 'identity' and 'known_hosts'"))
	}
	var data map[string][]byte
	if spec.SecretRef != nil {
		if data, err = source.Secret(ctx, k.live, o.Namespace, spec.SecretRef.Name); err != nil {
			return remote, err
		}
		remote.Scope = types.NamespacedName{Namespace: o.Namespace, Name: spec.SecretRef.Name}.String()
	}
	if remote.Auth, err = git.ParseAuth(spec.URL, data); err != nil {
		return remote, source.AuthenticationFailed(fmt.Errorf("failed to configure authentication options: %w", err))
	}
	if spec.ProxySecretRef != nil {
		if data, err = source.Secret(ctx, k.live, o.Namespace, spec.ProxySecretRef.Name); err != nil {
			return remote, err
		}
		if remote.Proxy, err = git.ParseProxy(data); err != nil {
			return remote, source.AuthenticationFailed(fmt.Errorf("failed to configure proxy options: secret '%s/%s': %w",
				o.Namespace, spec.ProxySecretRef.Name, err))
		}
	}
	return remote, nil
}

func reference(ref *sourcev1.GitRepositoryRef) git.Reference {
	if ref == nil {
		return git.Reference{}
	}
	return git.Reference{Branch: ref.Branch, Tag: ref.Tag, SemVer: ref.SemVer, Name: ref.Name, Commit: ref.Commit}
}

func timeout(spec sourcev1.GitRepositorySpec) time.Duration {
	if spec.Timeout == nil || spec.Timeout.Duration <= 0 {
		return defaultTimeout
	}
	return spec.Timeout.Duration
}
