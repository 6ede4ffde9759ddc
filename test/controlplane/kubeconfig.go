package controlplane

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig issues a client certificate for a user and groups and writes a kubeconfig
// with it. RBAC decides what the user may do; the group system:masters may do everything.
func (c *ControlPlane) Kubeconfig(path, user string, groups ...string) error {
	id, err := c.authority.Client(user, groups...)
	if err != nil {
		return err
	}
	config := api.NewConfig()
	config.Clusters["controlplane"] = &api.Cluster{Server: c.URL, CertificateAuthorityData: c.authority.Certificate}
	config.AuthInfos[user] = &api.AuthInfo{ClientCertificateData: id.Certificate, ClientKeyData: id.Key}
	config.Contexts["controlplane"] = &api.Context{Cluster: "controlplane", AuthInfo: user}
	config.CurrentContext = "controlplane"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("write kubeconfig of %s: %w", user, err)
	}
	return nil
}

// RESTConfig returns a new configuration of an administrator's client without a rate limit.
func (c *ControlPlane) RESTConfig() *rest.Config {
	return rest.CopyConfig(c.admin)
}
