package kubeconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/sluice-gitops/sluice/internal/yamlbound"
)

// file is the current context of a kubeconfig: the only part that is used.
type file struct {
	cluster api.Cluster
	user    api.AuthInfo
	proxy   *url.URL
}

// bound is that of a kubeconfig, which a tenant writes: no Secret has more bytes than a mebibyte.
var bound = yamlbound.Bound{Bytes: 1 << 20, Signs: 1 << 16, Expanded: 16 << 20}

// parse reads a kubeconfig; why says what is wrong with it, without quoting it. What
// the library says of text it cannot read may quote it, so it is dropped.
func parse(text []byte, o Options) (f file, why string) {
	if _, err := bound.Check(text); errors.Is(err, yamlbound.ErrLarge) {
		return f, err.Error()
	}
	config, err := clientcmd.Load(text)
	if err != nil {
		return f, "it is not a kubeconfig"
	}
	context := config.Contexts[config.CurrentContext]
	if context == nil {
		return f, "current-context names no context"
	}
	cluster, user := config.Clusters[context.Cluster], config.AuthInfos[context.AuthInfo]
	if cluster == nil {
		return f, "the current context names no cluster"
	}
	if user == nil {
		return f, "the current context names no user"
	}
	f = file{cluster: *cluster, user: *user}
	for _, check := range []func(Options) string{f.checkServer, f.checkTrust, f.checkCredentials, f.checkImpersonation} {
		if why := check(o); why != "" {
			return f, why
		}
	}
	f.proxy, why = proxyOf(cluster.ProxyURL)
	return f, why
}

func (f file) checkServer(o Options) string {
	return checkServer("cluster.server", f.cluster.Server, o)
}

// checkServer checks the address of an API server.
func checkServer(field, address string, o Options) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "":
		return field + " is not a URL with a host"
	case u.User != nil:
		return field + " holds credentials: put them into the user"
	case u.RawQuery != "" || u.Fragment != "":
		return field + " has a query or a fragment"
	case u.Scheme != "https" && (u.Scheme != "http" || !o.AllowInsecureTLS):
		return field + " is not an https URL"
	}
	return ""
}

func (f file) checkTrust(o Options) string {
	switch {
	case f.cluster.CertificateAuthority != "":
		return "cluster.certificate-authority refers to a file, which is refused: use certificate-authority-data"
	case f.cluster.InsecureSkipTLSVerify && !o.AllowInsecureTLS:
		return "cluster.insecure-skip-tls-verify is refused unless the applier runs with insecure-kubeconfig-tls: use certificate-authority-data"
	}
	return checkAuthority("cluster.certificate-authority-data", f.cluster.CertificateAuthorityData)
}

func checkAuthority(field string, pem []byte) string {
	if len(pem) > 0 && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return field + " holds no certificate in PEM form"
	}
	return ""
}

func (f file) checkCredentials(o Options) string {
	u := f.user
	switch {
	case u.AuthProvider != nil:
		return "user.auth-provider is refused: use a token or a client certificate"
	case u.Exec != nil && !o.AllowExec:
		return "user.exec is refused unless the applier runs with insecure-kubeconfig-exec: use a token or a client certificate"
	case u.TokenFile != "":
		return "user.tokenFile refers to a file, which is refused: use token"
	case u.ClientCertificate != "":
		return "user.client-certificate refers to a file, which is refused: use client-certificate-data"
	case u.ClientKey != "":
		return "user.client-key refers to a file, which is refused: use client-key-data"
	case (len(u.ClientCertificateData) > 0) != (len(u.ClientKeyData) > 0):
		return "user: client-certificate-data and client-key-data must be set together"
	case u.Exec == nil && u.Token == "" && u.Username == "" && len(u.ClientCertificateData) == 0:
		return "user holds no credentials"
	}
	if len(u.ClientCertificateData) > 0 {
		if _, err := tls.X509KeyPair(u.ClientCertificateData, u.ClientKeyData); err != nil {
			return "user: client-certificate-data and client-key-data are not a pair in PEM form"
		}
	}
	return ""
}

// checkImpersonation refuses claims without a name: they would be dropped on the way,
// and the rights of the user itself remain.
func (f file) checkImpersonation(Options) string {
	u := f.user
	if u.Impersonate == "" && (u.ImpersonateUID != "" || len(u.ImpersonateGroups) > 0 || len(u.ImpersonateUserExtra) > 0) {
		return "user: as-uid, as-groups and as-user-extra need as"
	}
	return ""
}

func proxyOf(address string) (*url.URL, string) {
	if address == "" {
		return nil, ""
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) {
		return nil, "cluster.proxy-url is not an http, https or socks5 URL with a host"
	}
	return u, ""
}

// connection takes over what is named here and nothing else.
func (f file) connection(userAgent string) (Connection, error) {
	c, u := f.cluster, f.user
	config := &rest.Config{
		Host: c.Server, UserAgent: userAgent, Timeout: timeout, DisableCompression: c.DisableCompression,
		TLSClientConfig: rest.TLSClientConfig{
			ServerName: c.TLSServerName, Insecure: c.InsecureSkipTLSVerify, CAData: c.CertificateAuthorityData,
			CertData: u.ClientCertificateData, KeyData: u.ClientKeyData,
		},
		BearerToken: u.Token,
		Impersonate: rest.ImpersonationConfig{
			UserName: u.Impersonate, UID: u.ImpersonateUID, Groups: u.ImpersonateGroups, Extra: u.ImpersonateUserExtra,
		},
	}
	if c.InsecureSkipTLSVerify {
		config.CAData = nil // the library refuses both; nothing would be checked with it
	}
	if u.Token == "" {
		config.Username, config.Password = u.Username, u.Password
	}
	if f.proxy != nil {
		config.Proxy = http.ProxyURL(f.proxy)
	}
	if u.Exec != nil {
		config.ExecProvider = u.Exec.DeepCopy()
		config.ExecProvider.InteractiveMode = api.NeverExecInteractiveMode
		config.ExecProvider.StdinUnavailable = true
	}
	key, err := keyOf("kubeconfig", c.Server, c.DisableCompression, config.TLSClientConfig, config.BearerToken, config.Username, config.Password,
		config.Impersonate, c.ProxyURL, execOf(u.Exec))
	if err != nil {
		return Connection{}, fmt.Errorf("connect to %s: %w", c.Server, err)
	}
	return Connection{Config: config, Key: key}, nil
}

// execOf is what tells programs apart.
func execOf(e *api.ExecConfig) any {
	if e == nil {
		return nil
	}
	return []any{e.APIVersion, e.Command, e.Args, e.Env}
}
