package fetcher_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/golang-jwt/jwt/v5"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// appToken is what an App gets.
const appToken = "ghs_secret-token"

// appServer gives tokens to whoever shows an assertion that the key has signed.
type appServer struct {
	url, ca string
	given   atomic.Int64
	life    time.Duration
}

func serveApp(t *testing.T, key *rsa.PrivateKey, life time.Duration) *appServer {
	t.Helper()
	s := &appServer{life: life}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v3/orgs/{owner}/installation", http.NotFound)
	mux.HandleFunc("GET /api/v3/users/{owner}/installation", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("owner") != "owner" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(`{"id": 42}`))
	})
	mux.HandleFunc("POST /api/v3/app/installations/42/access_tokens", func(w http.ResponseWriter, _ *http.Request) {
		s.given.Add(1)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"token": appToken, "expires_at": time.Now().Add(s.life)})
	})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assertion, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		token, err := jwt.Parse(assertion, func(*jwt.Token) (any, error) { return key.Public(), nil },
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer("7"), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
		if err != nil || !token.Valid {
			http.Error(w, appToken, http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/api/v3"
	s.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return s
}

func newRSA(t *testing.T) (*rsa.PrivateKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func githubApp(t *testing.T, w *world) {
	sha := gittest.NewRepo(t, w.root, "of-app").Commit("main", "first", map[string]string{"a.yaml": "a"})
	private := gittest.ServeHTTP(t, w.root, false, gittest.Basic("x-access-token", appToken))
	key, pemKey := newRSA(t)
	_, otherKey := newRSA(t)
	long, short := serveApp(t, key, time.Hour), serveApp(t, key, 0)
	data := func(s *appServer, change ...string) map[string]string {
		d := map[string]string{"githubAppID": "7", "githubAppPrivateKey": pemKey, "githubAppInstallationID": "42", "githubAppBaseURL": s.url, "ca.crt": s.ca}
		for i := 0; i < len(change); i += 2 {
			if d[change[i]] = change[i+1]; change[i+1] == "" {
				delete(d, change[i])
			}
		}
		return d
	}
	create := func(name, provider string, secret *meta.LocalObjectReference) {
		w.create(name, sourcev1.GitRepositorySpec{URL: private.URL + "/of-app", Reference: branch("main"), Provider: provider, SecretRef: secret})
	}
	for i := range 3 {
		name := fmt.Sprint("app-", i)
		create(name, "github", w.secret(name, data(long)))
		w.await("the artifact", name, at("main@sha1:"+sha))
		w.request(name, "again")
	}
	if n := long.given.Load(); n != 1 {
		t.Errorf("%d tokens were asked for by the same App", n)
	}
	proxy := gittest.ServeHTTPProxy(t)
	w.create("app-proxy", sourcev1.GitRepositorySpec{
		URL: private.URL + "/of-app", Reference: branch("main"), Provider: "github", SecretRef: w.secret("app-proxied", data(long)),
		ProxySecretRef: w.secret("app-by-proxy", map[string]string{"address": proxy.URL, "username": gittest.ProxyUser, "password": gittest.ProxyPassword}),
	})
	w.await("a proxy, whose Secret is not the App's", "app-proxy", at("main@sha1:"+sha))
	create("app-owner", "github", w.secret("app-owner", data(short, "githubAppInstallationID", "", "githubAppInstallationOwner", "owner")))
	w.await("an installation by its owner", "app-owner", at("main@sha1:"+sha))
	before := short.given.Load()
	w.request("app-owner", "again")
	if short.given.Load() == before {
		t.Error("a token that is about to end was used again")
	}
	for name, c := range map[string]struct {
		provider        string
		data            map[string]string
		reason, message string
	}{
		"app-no-data":    {"github", map[string]string{"username": "a", "password": "b"}, "InvalidProviderConfiguration", "secretRef with github app data must be specified when provider is set to github"},
		"app-generic":    {"generic", data(long), "InvalidProviderConfiguration", "secretRef 'default/app-generic' has github app data but provider is not set to github"},
		"app-other-key":  {"github", data(long, "githubAppPrivateKey", otherKey), "AuthenticationFailed", "the App was not recognised (HTTP 401)"},
		"app-no-key":     {"github", data(long, "githubAppPrivateKey", ""), "AuthenticationFailed", "parse 'githubAppPrivateKey'"},
		"app-both":       {"github", data(long, "githubAppInstallationOwner", "owner"), "AuthenticationFailed", "exactly one of 'githubAppInstallationID' and 'githubAppInstallationOwner' must be set"},
		"app-no-ca":      {"github", data(long, "ca.crt", "", "githubAppInstallationID", "", "githubAppInstallationOwner", "owner"), "AuthenticationFailed", "tls: failed to verify certificate"},
		"app-no-install": {"github", data(long, "githubAppInstallationID", "43"), "AuthenticationFailed", "not found (HTTP 404)"},
	} {
		create(name, c.provider, w.secret(name, c.data))
		obj := w.await(name, name, broken("FetchFailed", c.reason, c.message))
		if stalled := apimeta.IsStatusConditionTrue(obj.Status.Conditions, "Stalled"); stalled != (c.reason == "InvalidProviderConfiguration") {
			t.Errorf("%s: stalled is %t", name, stalled)
		}
		if text := fmt.Sprint(obj.Status.Conditions); strings.Contains(text, "secret-token") || strings.Contains(text, "eyJ") {
			t.Errorf("%s: a token is in %s", name, text)
		}
	}
	create("app-no-secret", "github", nil)
	w.await("no secret", "app-no-secret", broken("FetchFailed", "InvalidProviderConfiguration", "secretRef with github app data must be specified"))
}
