package kubeconfig

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/identity"
)

// The keys of a ConfigMap that spec.kubeConfig.configMapRef names.
const (
	keyProvider  = "provider"
	keyCluster   = "cluster"
	keyAddress   = "address"
	keyAuthority = "ca.crt"
	keyAudiences = "audiences"
	keyAccount   = "serviceAccountName"
)

const providerGeneric = "generic"

// settings are what a ConfigMap says.
type settings struct {
	// name of the ConfigMap.
	name                                  types.NamespacedName
	provider, cluster, address, authority string
	audiences                             []string
	// account is the service account, in the ConfigMap's namespace; empty when neither the
	// ConfigMap nor the applier names one.
	account string
}

// refuse says what is wrong with the ConfigMap.
func (s settings) refuse(format string, args ...any) *RefusedError {
	return &RefusedError{text: fmt.Sprintf("kubeconfig of ConfigMap %q: ", s.name.Name) + fmt.Sprintf(format, args...)}
}

func (r *Reader) fromConfigMap(ctx context.Context, name types.NamespacedName) (Connection, error) {
	cm := &corev1.ConfigMap{}
	if err := r.read(ctx, name, cm, "ConfigMap"); err != nil {
		return Connection{}, err
	}
	s := settings{
		name: name, provider: cm.Data[keyProvider], cluster: cm.Data[keyCluster], address: cm.Data[keyAddress], authority: cm.Data[keyAuthority],
		audiences: strings.Fields(cm.Data[keyAudiences]), account: cm.Data[keyAccount],
	}
	if s.account == "" {
		s.account = r.options.DefaultServiceAccount
	}
	if why := checkAuthority(keyAuthority, []byte(s.authority)); why != "" {
		return Connection{}, s.refuse("%s", why)
	}
	switch s.provider {
	case providerGeneric:
		return r.generic(s)
	case identity.AWS, identity.Azure, identity.GCP:
		return r.cloud(ctx, s)
	}
	return Connection{}, s.refuse("provider is not one of aws, azure, gcp and generic")
}

// reach is how requests go to a server, but for their token.
func (r *Reader) reach(address string, authority []byte) *rest.Config {
	return &rest.Config{
		Host: address, UserAgent: r.options.UserAgent, Timeout: timeout,
		TLSClientConfig: rest.TLSClientConfig{CAData: authority},
	}
}
