package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/credential"
)

// lifetime is how long a token is asked to be valid.
const lifetime = time.Hour

// tokenRequester asks for a token of a service account.
type tokenRequester interface {
	request(ctx context.Context, account types.NamespacedName, audiences []string) (token string, expires time.Time, err error)
}

type tokenClient struct{ client client.Client }

func (c tokenClient) request(ctx context.Context, account types.NamespacedName, audiences []string) (string, time.Time, error) {
	seconds := int64(lifetime.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds}}
	owner := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}}
	if err := c.client.SubResource("token").Create(ctx, owner, request); err != nil {
		return "", time.Time{}, fmt.Errorf("request a token of service account %s: %w", account, err)
	}
	return request.Status.Token, request.Status.ExpirationTimestamp.Time, nil
}

// tokens of a service account.
type tokens struct {
	kept      *credential.Cache[string]
	key       credential.Key
	requester tokenRequester
	account   types.NamespacedName
	audiences []string
}

func (t tokens) get(ctx context.Context) (string, error) {
	return t.kept.Get(ctx, t.key, func(ctx context.Context) (string, time.Time, error) {
		return t.requester.request(ctx, t.account, t.audiences)
	})
}

// drop forgets a token that a server refused, as after its service account was made anew.
func (t tokens) drop(refused string) {
	t.kept.Drop(t.key, func(token string) bool { return token == refused })
}

// source has the token for requests, and renews it before it ends.
type source interface {
	get(ctx context.Context) (string, error)
	// drop forgets a token that did not let a request in.
	drop(refused string)
}

// bearer sends a token with every request.
type bearer struct {
	next   http.RoundTripper
	tokens source
	// found says that the server was found together with the token, and may have moved
	// when it does not answer.
	found bool
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.tokens.get(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := b.next.RoundTrip(r)
	switch {
	case err == nil && resp.StatusCode == http.StatusUnauthorized:
		b.tokens.drop(token)
	case err != nil && b.found && !errors.Is(err, context.Canceled):
		b.tokens.drop(token)
	}
	return resp, err
}
