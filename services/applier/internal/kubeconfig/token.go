package kubeconfig

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

// tokens keeps the token of a service account and renews it before it expires.
type tokens struct {
	requester tokenRequester
	account   types.NamespacedName
	audiences []string

	mu    sync.Mutex
	token string
	renew time.Time
}

func (t *tokens) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.token != "" && now.Before(t.renew) {
		return t.token, nil
	}
	token, expires, err := t.requester.request(ctx, t.account, t.audiences)
	if err != nil {
		return "", err
	}
	t.token, t.renew = token, now.Add(expires.Sub(now)*4/5)
	return token, nil
}

// drop forgets a token that a server refused, as after its service account was made anew.
func (t *tokens) drop(refused string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == refused {
		t.token = ""
	}
}

// bearer sends a token with every request.
type bearer struct {
	next   http.RoundTripper
	tokens *tokens
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
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		b.tokens.drop(token)
	}
	return resp, err
}
