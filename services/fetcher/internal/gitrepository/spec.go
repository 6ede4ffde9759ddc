package gitrepository

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/githubapp"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// remote returns the repository with the credentials of its Secret.
func (k *Kind) remote(ctx context.Context, o *sourcev1.GitRepository) (git.Remote, error) {
	spec := o.Spec
	remote := git.Remote{URL: spec.URL, Namespace: o.Namespace}
	u, err := git.ParseURL(spec.URL)
	if err != nil {
		return remote, source.Stalled(sourcev1.URLInvalidReason, fmt.Errorf("spec.url: %w", err))
	}
	if u.Scheme == "ssh" && spec.SecretRef == nil && !ofCloud(spec.Provider) {
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
	switch {
	case spec.Provider == sourcev1.GitProviderGitHub:
		if err := k.asApp(ctx, &remote, data); err != nil {
			return remote, source.AuthenticationFailed(fmt.Errorf("failed to configure authentication options: %w", source.Cause(ctx, err)))
		}
	case ofCloud(spec.Provider):
		return remote, k.identify(ctx, o, u, &remote)
	}
	return remote, nil
}

func ofCloud(provider string) bool {
	return provider == sourcev1.GitProviderAzure || provider == sourcev1.GitProviderAWS
}

// identify makes the credentials of a remote those of an identity of a cloud provider.
func (k *Kind) identify(ctx context.Context, o *sourcev1.GitRepository, u *url.URL, remote *git.Remote) error {
	id := identity.Identity{
		Provider: o.Spec.Provider, Namespace: o.Namespace, Account: o.Spec.ServiceAccountName, Proxy: remote.Proxy,
		OtherTLS: len(remote.Auth.CA) > 0,
	}
	bare := *u
	bare.User = nil
	login, err := k.config.Identities.Git(ctx, id, &bare)
	if err != nil {
		return source.Unidentified(id.Provider, source.Cause(ctx, err))
	}
	remote.Auth.BearerToken, remote.Auth.Username, remote.Auth.Password = login.BearerToken, login.Username, login.Password
	remote.Scope += "|" + id.Provider + " " + id.Namespace + "/" + id.Account
	return nil
}

// checkProvider says whether provider and Secret fit each other.
func checkProvider(o *sourcev1.GitRepository, scheme string, data map[string][]byte) error {
	var err error
	switch app := githubapp.Named(data); {
	case o.Spec.Provider != sourcev1.GitProviderGitHub && app:
		err = fmt.Errorf("secretRef '%s/%s' has github app data but provider is not set to github", o.Namespace, o.Spec.SecretRef.Name)
	case ofCloud(o.Spec.Provider) && scheme != "https":
		err = fmt.Errorf("provider %s reads over https: change spec.url", o.Spec.Provider)
	case o.Spec.ServiceAccountName != "" && !ofCloud(o.Spec.Provider):
		err = errors.New("serviceAccountName can only be set when provider is 'azure' or 'aws'")
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
	remote.Scope = "github app " + app.Identity() // a server that is busy for one App is not for another
	via, err := k.remotes.Transport(*remote)
	if err != nil {
		return err
	}
	token, err := k.tokens.Get(ctx, app, via)
	if err != nil {
		return err
	}
	remote.Auth.Username, remote.Auth.Password, remote.Auth.BearerToken = githubapp.User, token, ""
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
