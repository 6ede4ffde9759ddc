package kubeconfig

import (
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/internal/credential"
)

// generic makes a connection that authenticates with tokens of a service account
// of the object's namespace. The applier's own identity is never used: the ConfigMap
// names the server, and whoever wrote it could send our token anywhere.
func (r *Reader) generic(s settings) (Connection, error) {
	if why := checkServer(keyAddress, s.address, r.options); why != "" {
		return Connection{}, s.refuse("%s", why)
	}
	if s.account == "" {
		return Connection{}, s.refuse("serviceAccountName is empty and default-kubeconfig-service-account is not set: name a service account of the namespace")
	}
	if len(s.audiences) == 0 {
		s.audiences = []string{s.address}
	}
	account := types.NamespacedName{Namespace: s.name.Namespace, Name: s.account}
	key, err := keyOf(providerGeneric, s.address, s.authority, s.audiences, account)
	if err != nil {
		return Connection{}, fmt.Errorf("connect to %s: %w", s.address, err)
	}
	source := tokens{kept: &r.kept, key: credential.Key(key), requester: r.tokens, account: account, audiences: s.audiences}
	config := r.reach(s.address, []byte(s.authority))
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return bearer{next: next, tokens: source} })
	return Connection{Config: config, Key: key}, nil
}
