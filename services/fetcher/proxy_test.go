package fetcher_test

import (
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// secret makes a Secret and returns a reference to it.
func (w *world) secret(name string, data map[string]string) *meta.LocalObjectReference {
	w.t.Helper()
	err := w.client.Create(w.t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, StringData: data})
	if err != nil {
		w.t.Fatal(err)
	}
	return &meta.LocalObjectReference{Name: name}
}

func proxies(t *testing.T, w *world) {
	sha := gittest.NewRepo(t, w.root, "behind-proxy").Commit("main", "first", map[string]string{"a.yaml": "a"})
	secure, shell := gittest.ServeHTTP(t, w.root, true, nil), gittest.ServeSSH(t, w.root, "")
	plain, socks := gittest.ServeHTTPProxy(t), gittest.ServeSOCKS(t)
	ca := w.secret("proxied-ca", map[string]string{"ca.crt": string(secure.CA)})
	key := w.secret("proxied-key", map[string]string{"identity": string(shell.Identity), "known_hosts": string(shell.KnownHosts)})
	credentials := func(address, password string) map[string]string {
		return map[string]string{"address": address, "username": gittest.ProxyUser, "password": password}
	}
	for name, c := range map[string]struct {
		url    string
		auth   *meta.LocalObjectReference
		proxy  *gittest.Proxy
		reason string
	}{
		"proxied-http":        {w.http.URL, nil, plain, "plain HTTP is forwarded"},
		"proxied-https":       {secure.URL, ca, plain, "HTTPS is tunnelled"},
		"proxied-ssh":         {shell.URL, key, plain, "SSH is tunnelled"},
		"proxied-socks-http":  {w.http.URL, nil, socks, "SOCKS5 carries HTTP"},
		"proxied-socks-https": {secure.URL, ca, socks, "SOCKS5 carries HTTPS"},
		"proxied-socks-ssh":   {shell.URL, key, socks, "SOCKS5 carries SSH"},
	} {
		before := c.proxy.Uses.Load()
		w.create(name, sourcev1.GitRepositorySpec{
			URL: c.url + "/behind-proxy", Reference: branch("main"), SecretRef: c.auth,
			ProxySecretRef: w.secret(name, credentials(c.proxy.URL, gittest.ProxyPassword)),
		})
		w.await(c.reason, name, at("main@sha1:"+sha))
		if c.proxy.Uses.Load() == before {
			t.Errorf("%s: the proxy was not asked", name)
		}
	}
	for name, c := range map[string]struct {
		url             string
		auth            *meta.LocalObjectReference
		proxy           map[string]string
		reason, message string
	}{
		"proxy-wrong-http":  {w.http.URL, nil, credentials(plain.URL, "wrong-pass"), "GitOperationFailed", "failed to checkout and determine revision"},
		"proxy-wrong-https": {secure.URL, ca, credentials(plain.URL, "wrong-pass"), "GitOperationFailed", "Proxy Authentication Required"},
		"proxy-wrong-ssh":   {shell.URL, key, credentials(plain.URL, "wrong-pass"), "GitOperationFailed", "the proxy answers with HTTP status 407"},
		"proxy-wrong-socks": {shell.URL, key, credentials(socks.URL, "wrong-pass"), "GitOperationFailed", "username/password authentication failed"},
		"proxy-is-gone":     {w.http.URL, nil, credentials("http://127.0.0.1:1", "wrong-pass"), "GitOperationFailed", "connection refused"},
		"proxy-no-address":  {w.http.URL, nil, map[string]string{"x": "y"}, "AuthenticationFailed", "failed to configure proxy options: secret 'default/proxy-no-address': key 'address' not found"},
		"proxy-bad-address": {w.http.URL, nil, credentials("ftp://host", "wrong-pass"), "AuthenticationFailed", "'address' is no http, https or socks5 URL"},
		"proxy-long":        {w.http.URL, nil, credentials("http://"+strings.Repeat("a", 2048), "wrong-pass"), "AuthenticationFailed", "more than 2048 characters"},
	} {
		w.create(name, sourcev1.GitRepositorySpec{URL: c.url + "/behind-proxy", Reference: branch("main"), SecretRef: c.auth, ProxySecretRef: w.secret(name, c.proxy)})
		obj := w.await(name, name, broken("FetchFailed", c.reason, c.message))
		for _, condition := range obj.Status.Conditions {
			if strings.Contains(condition.Message, "wrong-pass") {
				t.Errorf("%s: the password is in %s", name, condition.Message)
			}
		}
	}
	w.create("proxy-no-secret", sourcev1.GitRepositorySpec{URL: w.http.URL + "/behind-proxy", Reference: branch("main"), ProxySecretRef: &meta.LocalObjectReference{Name: "none"}})
	w.await("no secret", "proxy-no-secret", broken("FetchFailed", "AuthenticationFailed", "failed to get secret 'default/none'"))
}
