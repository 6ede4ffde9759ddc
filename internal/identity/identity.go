package identity

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/fluxcd/pkg/auth/azure"
	"github.com/fluxcd/pkg/auth/gcp"
	"github.com/google/go-containerregistry/pkg/authn"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/credential"
)

// The cloud providers.
const (
	AWS   = aws.ProviderName
	Azure = azure.ProviderName
	GCP   = gcp.ProviderName
)

// ErrDisabled says that an object asks for the identity of a service account, and that
// those are not allowed.
var ErrDisabled = errors.New("please enable the " + auth.FeatureGateObjectLevelWorkloadIdentity + " feature gate in the controller")

// ErrRefused says that the service's own identity is not shown to a server.
var ErrRefused = errors.New("refused")

// Identity is whose credentials are asked for, and how.
type Identity struct {
	// Provider is AWS, Azure or GCP.
	Provider string
	// Namespace and Account name a service account; the service itself when Account is
	// empty.
	Namespace, Account string
	// Proxy for the requests; the one of the environment when nil.
	Proxy *url.URL
	// Region and STS are those of AWS's token service; the environment's when empty.
	// Registries, Git repositories and clusters have theirs in their names.
	Region, STS string
	// OtherTLS says that it is not the system's authorities that vouch for the server to
	// which the credentials go, or that nobody does.
	OtherTLS bool
}

// Keys sign requests to AWS.
type Keys struct{ ID, Secret, Session string }

// Login reads a Git repository: by a bearer token, or by username and password.
type Login struct{ BearerToken, Username, Password string }

// Config of a Client. Service and Field are required.
type Config struct {
	// Service and Field are the service's name, and the field that names a service account,
	// for errors.
	Service, Field string
	// ServiceAccounts allows the identities of service accounts.
	ServiceAccounts bool
	// DefaultAccount is the service account, in the namespace of each object, whose
	// identity counts for objects that name none; the service's own when empty.
	DefaultAccount string
}

// Client gets credentials, and keeps them until shortly before they end. It is safe for
// concurrent use.
type Client struct {
	cluster  client.Client
	config   Config
	kept     credential.Cache[any]
	clusters credential.Cache[Admission]
}

// enable the library's own switch, which is one for the process.
var enable = sync.OnceFunc(auth.EnableObjectLevelWorkloadIdentity)

// New returns a client that reads service accounts from a cluster, uncached, and asks it
// for their tokens.
func New(cluster client.Client, config Config) *Client {
	if config.ServiceAccounts {
		enable()
	}
	return &Client{cluster: cluster, config: config}
}

// own says that the identity is the service's.
func (c *Client) own(id Identity) bool { return id.Account == "" && c.config.DefaultAccount == "" }

// AWS returns the keys of an identity.
func (c *Client) AWS(ctx context.Context, id Identity) (Keys, error) {
	return ask(ctx, c, id, "keys", "", func(ctx context.Context, options []auth.Option) (Keys, time.Time, error) {
		found, err := aws.NewCredentialsProvider(ctx, options...).Retrieve(ctx)
		return Keys{ID: found.AccessKeyID, Secret: found.SecretAccessKey, Session: found.SessionToken}, found.Expires, err
	})
}

// Storage returns a token that reads storage of Azure or GCP.
func (c *Client) Storage(ctx context.Context, id Identity) (string, time.Time, error) {
	type token struct {
		text string
		ends time.Time
	}
	found, err := ask(ctx, c, id, "storage", "", func(ctx context.Context, options []auth.Option) (token, time.Time, error) {
		if id.Provider == Azure {
			found, err := azure.NewTokenCredential(ctx, options...).GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{azure.ScopeBlobStorage}})
			return token{found.Token, found.ExpiresOn}, found.ExpiresOn, err
		}
		found, err := gcp.NewTokenSource(ctx, options...).Token()
		if err != nil {
			return token{}, time.Time{}, err
		}
		return token{found.AccessToken, found.Expiry}, found.Expiry, nil
	})
	return found.text, found.ends, err
}

// Registry returns the login of an identity to the registry of a repository, which is
// one of the provider's.
func (c *Client) Registry(ctx context.Context, id Identity, repository string) (authn.Authenticator, error) {
	var provider auth.ArtifactRegistryCredentialsProvider
	switch id.Provider {
	case AWS:
		provider = aws.Provider{}
	case Azure:
		provider = azure.Provider{}
	case GCP:
		provider = gcp.Provider{}
	default:
		return nil, fmt.Errorf("%w: there is no provider %q", ErrRefused, id.Provider)
	}
	input, err := provider.ParseArtifactRepository(repository)
	if err != nil {
		return nil, err
	}
	if err := c.overTLS(id); err != nil {
		return nil, err
	}
	return ask(ctx, c, id, "registry", input, func(ctx context.Context, options []auth.Option) (authn.Authenticator, time.Time, error) {
		found, err := auth.GetArtifactRegistryCredentials(ctx, provider, repository, options...)
		if err != nil {
			return nil, time.Time{}, err
		}
		return found.Authenticator, found.ExpiresAt, nil
	})
}

// Git returns the login of an identity to a repository of AWS CodeCommit or Azure DevOps.
func (c *Client) Git(ctx context.Context, id Identity, repository *url.URL) (Login, error) {
	var provider auth.GitCredentialsProvider = aws.Provider{}
	if id.Provider == Azure {
		provider = azure.Provider{}
		if err := c.Shown(id, repository.Hostname()); err != nil {
			return Login{}, err
		}
	}
	input, err := provider.ParseGitRepository(repository)
	if err != nil {
		return Login{}, err
	}
	if err := c.overTLS(id); err != nil {
		return Login{}, err
	}
	return ask(ctx, c, id, "git", input, func(ctx context.Context, options []auth.Option) (Login, time.Time, error) {
		found, err := auth.GetGitCredentials(ctx, provider, append(options, auth.WithGitURL(*repository))...)
		if err != nil {
			return Login{}, time.Time{}, err
		}
		return Login{BearerToken: found.BearerToken, Username: found.Username, Password: found.Password}, found.ExpiresAt, nil
	})
}

// ask returns what get returned for the same identity and purpose, as long as that lasts.
func ask[T any](ctx context.Context, c *Client, id Identity, purpose, input string, get func(context.Context, []auth.Option) (T, time.Time, error)) (T, error) {
	var none T
	scope, options, err := c.resolve(ctx, id)
	if err != nil {
		return none, err
	}
	key := credential.KeyOf(append(scope, purpose, input)...)
	found, err := c.kept.Get(ctx, key, func(ctx context.Context) (any, time.Time, error) { return get(ctx, options) })
	if err != nil {
		return none, Brief(err)
	}
	return found.(T), nil
}

// annotations of a service account say who it is to its provider: those that the library reads.
var annotations = []string{
	"eks.amazonaws.com/role-arn",
	"azure.workload.identity/tenant-id", "azure.workload.identity/client-id",
	"iam.gke.io/gcp-service-account", "gcp.auth.fluxcd.io/workload-identity-provider",
}

// resolve returns what tells an identity apart, and what the library needs to take it.
func (c *Client) resolve(ctx context.Context, id Identity) (scope []string, options []auth.Option, err error) {
	if id.Account == "" {
		id.Account = c.config.DefaultAccount
	}
	var proxy string
	var account corev1.ServiceAccount
	if id.Account != "" {
		if !c.config.ServiceAccounts {
			return nil, nil, fmt.Errorf("to use %s for provider authentication %w: start the %s with --object-level-workload-identity", c.config.Field, ErrDisabled, c.config.Service)
		}
		key := types.NamespacedName{Namespace: id.Namespace, Name: id.Account}
		if err := c.cluster.Get(ctx, key, &account); err != nil {
			return nil, nil, fmt.Errorf("failed to get service account '%s': %w", key, err)
		}
		options = append(options, auth.WithClient(c.cluster), auth.WithServiceAccountNamespace(id.Namespace), auth.WithServiceAccountName(id.Account))
	}
	if id.Proxy != nil {
		proxy = id.Proxy.String()
		options = append(options, auth.WithProxyURL(*id.Proxy))
	}
	if id.Region != "" {
		options = append(options, auth.WithSTSRegion(id.Region))
	}
	if id.STS != "" {
		if !plainHost.MatchString(id.STS) || aws.ValidateSTSEndpoint(id.STS) != nil {
			return nil, nil, fmt.Errorf("%w: the endpoint of AWS's token service must be https:// and one of its hosts, and nothing else: "+
				"correct spec.sts.endpoint, such as to https://sts.us-east-1.amazonaws.com, or remove it", ErrRefused)
		}
		options = append(options, auth.WithSTSEndpoint(id.STS))
	}
	scope = []string{id.Provider, proxy, id.Region, id.STS, string(account.UID)}
	for _, name := range annotations {
		scope = append(scope, account.Annotations[name])
	}
	return scope, options, nil
}

// plainHost is a URL of a host alone. The library looks for the names of AWS's token service in all of an endpoint, and so
// also in what is a path at another server.
var plainHost = regexp.MustCompile(`^https://[A-Za-z0-9.-]+$`)

// Shown returns an ErrRefused when an identity is not for a server: the service's own is
// for hosts of its provider only, and over TLS with the authorities of the system, since
// whoever may write an object may name any server.
func (c *Client) Shown(id Identity, host string) error {
	if !c.own(id) {
		return nil
	}
	if err := c.overTLS(id); err != nil {
		return err
	}
	ours := slices.ContainsFunc(hosts(id.Provider), func(known string) bool {
		return host == known || strings.HasPrefix(known, ".") && strings.HasSuffix(host, known)
	})
	if !ours {
		return fmt.Errorf("%w: the %s's own identity is not shown to %q, which is no host of %s: set a service account or a Secret", ErrRefused, c.config.Service, host, id.Provider)
	}
	return nil
}

// ShownOfMachine is Shown for an identity of the machine that a Secret names. It is never
// an account's, and none is served where a default account replaces the service's own.
func (c *Client) ShownOfMachine(id Identity, host string) error {
	if c.config.DefaultAccount != "" {
		return fmt.Errorf("%w: a Secret that names an identity of the machine is not served beside --default-source-service-account: "+
			"give it the secret or the certificate of the client", ErrRefused)
	}
	id.Account = ""
	return c.Shown(id, host)
}

func (c *Client) overTLS(id Identity) error {
	if !c.own(id) || !id.OtherTLS {
		return nil
	}
	return fmt.Errorf("%w: the %s's own identity is shown over TLS with the authorities of the system only: "+
		"set a service account or a Secret, or remove what the object says about TLS", ErrRefused, c.config.Service)
}

// hosts are those that take the tokens of a provider: of storage, and of Git repositories.
func hosts(provider string) []string {
	switch provider {
	case Azure:
		return []string{
			".blob.core.windows.net", ".blob.core.chinacloudapi.cn", ".blob.core.usgovcloudapi.net", ".blob.storage.azure.net",
			"dev.azure.com", ".visualstudio.com",
		}
	case GCP:
		return []string{"storage.googleapis.com", ".storage.googleapis.com", ".p.googleapis.com"}
	}
	return nil
}
