package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/fluxcd/pkg/auth/azure"
	"github.com/fluxcd/pkg/auth/gcp"

	"github.com/sluice-gitops/sluice/internal/credential"
)

// patience is how long the token servers and the provider's API may take together.
const patience = 30 * time.Second

// Cluster is what is known of a Kubernetes cluster of a provider (EKS, AKS, GKE).
type Cluster struct {
	// Resource is its name at the provider: an ARN, a resource id, or
	// projects/<project>/locations/<location>/clusters/<name>. It may be empty when Address
	// and Authority are not, but for AWS, which has the region there.
	Resource string
	// Address of its API server, an https URL, and the authorities that vouch for it, in
	// PEM form. The provider is asked for what is empty; where it has several addresses,
	// Address chooses one.
	Address, Authority string
	// Audiences of the service account's token; those that the provider wants when empty.
	Audiences []string
}

// Admission is what a cluster lets requests in with.
type Admission struct {
	// Address of the API server, an https URL.
	Address string
	// Authority vouches for it, in PEM form.
	Authority []byte
	// Token of the bearer.
	Token string
}

// Session is an identity on its way into a cluster. It lasts as long as the service account
// says the same.
type Session struct {
	client  *Client
	key     credential.Key
	own     bool
	options []auth.Option
	to      auth.RESTConfigProvider
	cluster Cluster
}

// Session prepares admissions to a cluster. It asks the provider for nothing yet.
func (c *Client) Session(ctx context.Context, id Identity, cluster Cluster) (*Session, error) {
	s := &Session{client: c, own: c.own(id), cluster: cluster}
	switch id.Provider {
	case AWS:
		s.to = aws.Provider{}
		if err := checkRegion(cluster.Resource); err != nil {
			return nil, err
		}
	case Azure:
		s.to = azure.Provider{}
	case GCP:
		s.to = gcp.Provider{}
	default:
		return nil, fmt.Errorf("%w: there is no provider %q", ErrRefused, id.Provider)
	}
	scope, options, err := c.resolve(ctx, id)
	if err != nil {
		return nil, err
	}
	s.key = credential.KeyOf(append(scope, append([]string{cluster.Resource, cluster.Address, cluster.Authority}, cluster.Audiences...)...)...)
	s.options = append(options, auth.WithClusterResource(cluster.Resource), auth.WithAudiences(cluster.Audiences...))
	return s, nil
}

// region is what AWS calls one, in no more than a label of a host.
var region = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// checkRegion refuses an ARN whose region makes another host of the provider's: the library
// sends tokens and signed requests to the region's hosts, and takes any text for one. What
// is no ARN has none, and is for the library to refuse.
func checkRegion(arn string) error {
	if parts := strings.Split(arn, ":"); len(parts) > 3 && !region.MatchString(parts[3]) {
		return fmt.Errorf("%w: the region of the EKS cluster ARN is not 1 to 40 lower-case letters, digits and hyphens", ErrRefused)
	}
	return nil
}

// Key is the same for sessions that are the same.
func (s *Session) Key() credential.Key { return s.key }

// Admission returns one that lasts, which is asked for when there is none.
func (s *Session) Admission(ctx context.Context) (Admission, error) {
	found, err := s.client.clusters.Get(ctx, s.key, func(ctx context.Context) (Admission, time.Time, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %s", patience))
		defer cancel()
		found, ends, err := s.ask(ctx)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return found, ends, err
	})
	return found, Brief(err)
}

// Admitted returns the admission that Admission would return without asking, if there is one.
func (s *Session) Admitted() (Admission, bool) { return s.client.clusters.Kept(s.key) }

// Drop forgets the admission with a token: a cluster has refused it, or did not answer at
// its address.
func (s *Session) Drop(token string) {
	s.client.clusters.Drop(s.key, func(a Admission) bool { return a.Token == token })
}

// ask exchanges tokens, and asks the provider for what is not known of the cluster.
func (s *Session) ask(ctx context.Context) (Admission, time.Time, error) {
	known := s.cluster
	if s.own {
		known = s.trusted()
	}
	options := append([]auth.Option{auth.WithClusterAddress(known.Address), auth.WithCAData(known.Authority)}, s.options...)
	found, err := restConfig(ctx, s.to, options)
	if err != nil {
		return Admission{}, time.Time{}, err
	}
	a := Admission{Address: known.Address, Authority: found.CAData, Token: found.BearerToken}
	if a.Address == "" || s.own {
		if a.Address, err = auth.ParseClusterAddress(found.Host); err != nil {
			return Admission{}, time.Time{}, errors.New("the provider's answer has no https address of the cluster")
		}
	}
	if s.own {
		if err := s.answered(a); err != nil {
			return Admission{}, time.Time{}, err
		}
	}
	return a, found.ExpiresAt, nil
}

// trusted is what the service's own identity goes by: whoever may write an object names a
// server and an authority, so the provider itself must say where the cluster is. Azure has
// several addresses for one, among which the object's chooses.
func (s *Session) trusted() Cluster {
	known := Cluster{}
	if s.to.GetName() == Azure {
		known.Address = s.cluster.Address
	}
	return known
}

// answered compares what the object says of the cluster with what its provider says.
func (s *Session) answered(a Admission) error {
	if s.cluster.Address != "" {
		if named, err := auth.ParseClusterAddress(s.cluster.Address); err != nil || named != a.Address {
			return s.refused("address")
		}
	}
	if s.cluster.Authority != "" && !poolOf(s.cluster.Authority).Equal(poolOf(string(a.Authority))) {
		return s.refused("ca.crt")
	}
	return nil
}

func (s *Session) refused(field string) error {
	return fmt.Errorf("%w: the %s's own identity is shown to a cluster as its provider knows it only, and %s is not what %s says of the cluster: remove %s, or set a service account",
		ErrRefused, s.client.config.Service, field, s.to.GetName(), field)
}

func poolOf(pem string) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(pem)) // what is none makes an empty one
	return pool
}

// restConfig asks by the library, which takes for granted that an answer about a cluster is
// whole: it is not while the cluster is being made. What it says of kubeconfigs that it
// cannot read may quote them.
func restConfig(ctx context.Context, provider auth.RESTConfigProvider, options []auth.Option) (found *auth.RESTConfig, err error) {
	defer func() {
		cause := recover()
		if _, ok := cause.(runtime.Error); ok {
			found, err = nil, errors.New("the provider's answer leaves out the address or the authority of the cluster: it may not be ready yet")
		} else if cause != nil {
			panic(cause)
		}
	}()
	found, err = auth.GetRESTConfig(ctx, provider, options...)
	if err != nil && strings.HasPrefix(err.Error(), "failed to parse kubeconfig[") {
		err = errors.New("the provider's answer has a kubeconfig that cannot be read")
	}
	return found, err
}
