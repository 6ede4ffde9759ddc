package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/githubapp"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// unsupported names the first field that asks for what is not served.
func unsupported(spec sourcev1.GitRepositorySpec) error {
	var field string
	switch {
	case spec.Provider != "" && spec.Provider != sourcev1.GitProviderGeneric && spec.Provider != sourcev1.GitProviderGitHub:
		field = fmt.Sprintf("spec.provider %q", spec.Provider)
	case spec.ServiceAccountName != "":
		field = "spec.serviceAccountName"
	default:
		return nil
	}
	return source.Unsupported(sourcev1.InvalidProviderConfigurationReason, field, sourcev1.GitRepositoryKind)
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
	}
	if err := checkProvider(o, u.Scheme, data); err != nil {
		return remote, err
	}
	if remote.Auth, err = git.ParseAuth(spec.URL, data); err != nil {
		return remote, source.AuthenticationFailed(fmt.Errorf("failed to configure authentication options: %w", err))
	}
	if spec.ProxySecretRef != nil {
		proxy, err := source.Secret(ctx, k.live, o.Namespace, spec.ProxySecretRef.Name)
		if err != nil {
			return remote, err
		}
		if remote.Proxy, err = transport.Proxy(proxy); err != nil {
			return remote, source.AuthenticationFailed(fmt.Errorf("failed to configure proxy options: secret '%s/%s': %w",
				o.Namespace, spec.ProxySecretRef.Name, err))
		}
	}
	if spec.Provider == sourcev1.GitProviderGitHub {
		if err := k.asApp(ctx, &remote, data); err != nil {
			return remote, source.AuthenticationFailed(fmt.Errorf("failed to configure authentication options: %w", source.Cause(ctx, err)))
		}
	}
	return remote, nil
}

// checkProvider says whether provider and Secret fit each other.
func checkProvider(o *sourcev1.GitRepository, scheme string, data map[string][]byte) error {
	var err error
	switch app := githubapp.Named(data); {
	case o.Spec.Provider != sourcev1.GitProviderGitHub && app:
		err = fmt.Errorf("secretRef '%s/%s' has github app data but provider is not set to github", o.Namespace, o.Spec.SecretRef.Name)
	case o.Spec.Provider != sourcev1.GitProviderGitHub:
		return nil
	case !app:
		err = errors.New("secretRef with github app data must be specified when provider is set to github")
	case scheme == "ssh":
		err = errors.New("provider github reads over http and https: change spec.url")
	default:
		return nil
	}
	return source.Stalled(sourcev1.InvalidProviderConfigurationReason, err)
}

// asApp makes the credentials of a remote those of a GitHub App.
func (k *Kind) asApp(ctx context.Context, remote *git.Remote, data map[string][]byte) error {
	app, err := githubapp.Parse(data)
	if err != nil {
		return err
	}
	via, err := k.remotes.Transport(*remote)
	if err != nil {
		return err
	}
	token, err := k.tokens.Get(ctx, app, via)
	if err != nil {
		return err
	}
	remote.Auth.Username, remote.Auth.Password, remote.Auth.BearerToken = githubapp.User, token, ""
	remote.Scope = "github app " + app.Identity()
	return nil
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
