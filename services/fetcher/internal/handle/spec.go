package handle

import (
	"context"
	"errors"
	"fmt"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
)

const (
	reasonUnsupported = "UnsupportedField"
	reasonEmpty       = "EmptyGitRepository"
)

const defaultTimeout = 60 * time.Second

// unsupported names the first field that asks for what is not served. A field is
// never ignored: what it asks for may be what makes the source safe to use.
func unsupported(spec sourcev1.GitRepositorySpec) *failure {
	var field string
	reason := reasonUnsupported
	switch {
	case spec.Provider != "" && spec.Provider != sourcev1.GitProviderGeneric:
		field, reason = fmt.Sprintf("spec.provider %q", spec.Provider), sourcev1.InvalidProviderConfigurationReason
	case spec.ServiceAccountName != "":
		field, reason = "spec.serviceAccountName", sourcev1.InvalidProviderConfigurationReason
	case spec.Verification != nil:
		field = "spec.verify"
	case spec.ProxySecretRef != nil:
		field = "spec.proxySecretRef"
	case spec.RecurseSubmodules:
		field = "spec.recurseSubmodules"
	case len(spec.SparseCheckout) > 0:
		field = "spec.sparseCheckout"
	case len(spec.Include) > 0:
		field = "spec.include"
	default:
		return nil
	}
	return &failure{
		condition: sourcev1.FetchFailedCondition, reason: reason, stalled: true,
		err: fmt.Errorf("%s is not supported: remove it from the GitRepository", field),
	}
}

// remote returns the repository with the credentials of its Secret, which is read
// from the API server each time and kept nowhere.
func (p *pass) remote(ctx context.Context) (git.Remote, *failure) {
	spec := p.obj.Spec
	remote := git.Remote{URL: spec.URL}
	u, err := git.ParseURL(spec.URL)
	if err != nil {
		return remote, &failure{
			condition: sourcev1.FetchFailedCondition, reason: sourcev1.URLInvalidReason,
			err: fmt.Errorf("spec.url: %w", err), stalled: true,
		}
	}
	if u.Scheme == "ssh" && spec.SecretRef == nil {
		return remote, authFailed(errors.New("failed to configure authentication options: " +
			"an ssh URL needs spec.secretRef: name a Secret with 'identity' and 'known_hosts'"))
	}
	var data map[string][]byte
	if spec.SecretRef != nil {
		name := types.NamespacedName{Namespace: p.obj.Namespace, Name: spec.SecretRef.Name}
		var secret corev1.Secret
		if err := p.cluster.Live.Get(ctx, name, &secret); err != nil {
			return remote, authFailed(fmt.Errorf("failed to get secret '%s': %w", name, err))
		}
		data, remote.Scope = secret.Data, name.String()
	}
	auth, err := git.ParseAuth(spec.URL, data)
	if err != nil {
		return remote, authFailed(fmt.Errorf("failed to configure authentication options: %w", err))
	}
	remote.Auth = auth
	return remote, nil
}

func authFailed(err error) *failure {
	return &failure{condition: sourcev1.FetchFailedCondition, reason: sourcev1.AuthenticationFailedReason, err: err}
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
