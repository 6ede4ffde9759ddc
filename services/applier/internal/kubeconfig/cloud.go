package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-gitops/sluice/internal/identity"
)

// clouds admit identities to clusters of their providers.
type clouds interface {
	Session(ctx context.Context, id identity.Identity, cluster identity.Cluster) (*identity.Session, error)
}

// cloud makes a connection that authenticates as the service account at its provider, or as
// the applier itself. Where the cluster is, and who vouches for it, the provider says where
// the ConfigMap does not: that is for Locate.
func (r *Reader) cloud(ctx context.Context, s settings) (Connection, error) {
	if s.address != "" && !strings.Contains(s.address, "://") {
		s.address = "https://" + s.address
	}
	if s.address != "" {
		if why := checkServer(keyAddress, s.address, Options{}); why != "" {
			return Connection{}, s.refuse("%s", why)
		}
	}
	if s.cluster == "" && (s.address == "" || s.authority == "" || s.account == "" || s.provider == identity.AWS) {
		return Connection{}, s.refuse("cluster is empty: name the cluster as provider %s does", s.provider)
	}
	session, err := r.clouds.Session(ctx,
		identity.Identity{Provider: s.provider, Namespace: s.name.Namespace, Account: s.account},
		identity.Cluster{Resource: s.cluster, Address: s.address, Authority: s.authority, Audiences: s.audiences})
	switch {
	case errors.Is(err, identity.ErrDisabled), errors.Is(err, identity.ErrRefused), apierrors.IsNotFound(err):
		return Connection{}, s.unadmitted(err)
	case err != nil: // no provider was asked yet: it is the service account that could not be read
		return Connection{}, s.failed(err)
	}
	return Connection{
		Key:       Key(session.Key()),
		Locate:    func(ctx context.Context) (Connection, error) { return r.locate(ctx, session) },
		Located:   func() (Connection, bool) { return r.located(session) },
		Unlocated: s.unadmitted,
	}, nil
}

// locate makes the connection of what the provider says, located of what it said.
func (r *Reader) locate(ctx context.Context, session *identity.Session) (Connection, error) {
	found, err := session.Admission(ctx)
	if err != nil {
		return Connection{}, err
	}
	return r.to(found, session)
}

func (r *Reader) located(session *identity.Session) (Connection, bool) {
	found, ok := session.Admitted()
	if !ok {
		return Connection{}, false
	}
	c, err := r.to(found, session)
	return c, err == nil
}

func (r *Reader) to(found identity.Admission, session *identity.Session) (Connection, error) {
	key, err := keyOf(session.Key(), found.Address, found.Authority)
	if err != nil {
		return Connection{}, err
	}
	config := r.reach(found.Address, found.Authority)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return bearer{next: next, tokens: admissions{session}, found: true}
	})
	return Connection{Config: config, Key: key}, nil
}

// unadmitted says why an identity has no way into a cluster. A failure of the own cluster's
// API server, which makes the service account's token, is no fault of the ConfigMap.
func (s settings) unadmitted(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) && (status.Status().Code >= http.StatusInternalServerError || apierrors.IsTooManyRequests(err)) {
		return s.failed(err)
	}
	refused := s.refuse("provider %s: %s", s.provider, err)
	refused.Disabled = errors.Is(err, identity.ErrDisabled)
	refused.Missing = s.account != "" && apierrors.IsNotFound(err)
	return refused
}

func (s settings) failed(err error) error {
	return fmt.Errorf("authenticate by ConfigMap %s of spec.kubeConfig: %w", s.name, err)
}

// admissions are the tokens of a session.
type admissions struct{ session *identity.Session }

func (a admissions) get(ctx context.Context) (string, error) {
	found, err := a.session.Admission(ctx)
	return found.Token, err
}

func (a admissions) drop(refused string) { a.session.Drop(refused) }
