package kubeconfig

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// The keys of a ConfigMap that spec.kubeConfig.configMapRef names.
const (
	keyProvider  = "provider"
	keyAddress   = "address"
	keyAuthority = "ca.crt"
	keyAudiences = "audiences"
	keyAccount   = "serviceAccountName"
)

const providerGeneric = "generic"

// fromConfigMap makes a connection that authenticates with tokens of a service account
// of the object's namespace. The applier's own identity is never used: the ConfigMap
// names the server, and whoever wrote it could send our token anywhere.
func (r *Reader) fromConfigMap(ctx context.Context, name types.NamespacedName) (Connection, error) {
	cm := &corev1.ConfigMap{}
	if err := r.read(ctx, name, cm, "ConfigMap"); err != nil {
		return Connection{}, err
	}
	refuse := func(format string, args ...any) (Connection, error) {
		return Connection{}, &RefusedError{text: fmt.Sprintf("kubeconfig of ConfigMap %q: ", name.Name) + fmt.Sprintf(format, args...)}
	}
	switch provider := cm.Data[keyProvider]; {
	case slices.Contains([]string{"aws", "azure", "gcp"}, provider):
		return Connection{}, &RefusedError{Unserved: true, text: fmt.Sprintf(
			"kubeconfig of ConfigMap %q: provider %s is not supported by this version of Sluice: use provider generic, or a Secret with a kubeconfig", name.Name, provider)}
	case provider != providerGeneric:
		return refuse("provider is not one of aws, azure, gcp and generic")
	}
	address, authority := cm.Data[keyAddress], cm.Data[keyAuthority]
	if why := checkServer(keyAddress, address, r.options); why != "" {
		return refuse("%s", why)
	}
	if why := checkAuthority(keyAuthority, []byte(authority)); why != "" {
		return refuse("%s", why)
	}
	account := cm.Data[keyAccount]
	if account == "" {
		account = r.options.DefaultServiceAccount
	}
	if account == "" {
		return refuse("serviceAccountName is empty and default-kubeconfig-service-account is not set: name a service account of the namespace")
	}
	audiences := strings.Fields(cm.Data[keyAudiences])
	if len(audiences) == 0 {
		audiences = []string{address}
	}
	key, err := keyOf(providerGeneric, address, authority, audiences, name.Namespace, account)
	if err != nil {
		return Connection{}, fmt.Errorf("connect to %s: %w", address, err)
	}
	config := &rest.Config{
		Host: address, UserAgent: r.options.UserAgent, Timeout: timeout,
		TLSClientConfig: rest.TLSClientConfig{CAData: []byte(authority)},
	}
	source := &tokens{requester: r.tokens, account: types.NamespacedName{Namespace: name.Namespace, Name: account}, audiences: audiences}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return bearer{next: next, tokens: source} })
	return Connection{Config: config, Key: key}, nil
}
