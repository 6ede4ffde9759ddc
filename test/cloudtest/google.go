package cloudtest

import (
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Names of the tests at Google.
const (
	GCSHost           = "storage.googleapis.com"
	GCPAccount        = "fetcher@project-of-tests.iam.gserviceaccount.com"
	GCPRegistry       = "europe-docker.pkg.dev"
	GCPRegistryUser   = "oauth2accesstoken"
	GCPProvider       = "projects/42/locations/global/workloadIdentityPools/pool/providers/cluster"
	gcpKeyToken       = "google-token-of-a-key"
	gcpFederatedToken = "google-token-of-federation"
	gcpAccountToken   = "google-token-of-an-account"
	// GCPOwnToken is what the metadata server gives, and GCPAccountToken what a service account gets.
	GCPOwnToken = "google-token-of-the-machine"
	// GCPShortAccount gets another token each time, which lasts a few seconds.
	GCPShortAccount = "short@project-of-tests.iam.gserviceaccount.com"
	GCPAccountToken = gcpAccountToken
)

// Google gives tokens for the keys of service accounts and for tokens of the cluster,
// and has buckets for who shows one.
type Google struct {
	cloud  *Cloud
	review Review
	// Key is that of the service account GCPAccount.
	Key *rsa.PrivateKey
	// Subjects are those whose tokens are exchanged.
	Subjects []string
	// Buckets by name.
	Buckets map[string]*Bucket

	mu sync.Mutex
	// short are the tokens of GCPShortAccount, and when they end.
	short map[string]time.Time
}

// ServeGoogle answers for the token servers, the metadata server and Cloud Storage.
func (c *Cloud) ServeGoogle(g *Google, review Review) *Google {
	g.cloud, g.review = c, review
	for _, token := range []string{gcpKeyToken, gcpFederatedToken, gcpAccountToken, GCPOwnToken} {
		c.Secret(token, "token of Google")
	}
	handle := func(host, pattern string, f http.HandlerFunc) {
		mux := http.NewServeMux()
		mux.HandleFunc(pattern, f)
		c.Handle(host, mux)
	}
	handle("oauth2.googleapis.com", "POST /token", g.byKey)
	handle("sts.googleapis.com", "POST /v1/token", g.federate)
	handle("iamcredentials.googleapis.com", "POST /v1/projects/-/serviceAccounts/{account}", g.impersonate)
	handle(GCSHost, "GET /storage/v1/b/{bucket}/o/{object...}", g.object)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /storage/v1/b/{bucket}/o", g.list)
	mux.HandleFunc("GET /storage/v1/b/{bucket}/o/{object...}", g.object)
	c.Handle(GCSHost, mux)
	machine := http.NewServeMux()
	machine.HandleFunc("GET /computeMetadata/v1/instance/service-accounts/default/token", func(w http.ResponseWriter, _ *http.Request) {
		g.answer(w, map[string]any{"access_token": GCPOwnToken, "expires_in": 3600, "token_type": "Bearer"})
	})
	for path, value := range map[string]string{
		"project/project-id": "project-of-tests", "instance/attributes/cluster-location": "europe-west1", "instance/attributes/cluster-name": "cluster",
		"universe/universe-domain": "googleapis.com", "universe/universe_domain": "googleapis.com",
	} {
		machine.HandleFunc("GET /computeMetadata/v1/"+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(value)) })
	}
	c.Handle(metadataHost, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		if r.URL.Path != "/" && r.Header.Get("Metadata-Flavor") != "Google" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		machine.ServeHTTP(w, r)
	}))
	return g
}

func (g *Google) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (g *Google) refuse(w http.ResponseWriter, status int, reason, repeated string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": status, "message": "not this: " + repeated, "errors": []any{map[string]any{"reason": reason, "message": "not this: " + repeated}},
	}})
}

// byKey serves the grant of an assertion that the key has signed (RFC 7523).
func (g *Google) byKey(w http.ResponseWriter, r *http.Request) {
	assertion := r.FormValue("assertion")
	g.cloud.Secret(assertion, "assertion of a key")
	var claims struct {
		jwt.RegisteredClaims
		Scope string `json:"scope"`
	}
	_, err := jwt.ParseWithClaims(assertion, &claims, func(*jwt.Token) (any, error) { return g.Key.Public(), nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(GCPAccount), jwt.WithAudience("https://oauth2.googleapis.com/token"), jwt.WithExpirationRequired())
	if err != nil || r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || !strings.Contains(claims.Scope, "devstorage.read_only") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": "not this: " + assertion})
		return
	}
	g.answer(w, map[string]any{"access_token": gcpKeyToken, "expires_in": 3600, "token_type": "Bearer"})
}

// federate exchanges a token of the cluster (RFC 8693).
func (g *Google) federate(w http.ResponseWriter, r *http.Request) {
	token, audience := r.FormValue("subject_token"), r.FormValue("audience")
	g.cloud.Secret(token, "token of a service account")
	inside := "//iam.googleapis.com/" + GCPProvider
	if audience != inside {
		inside = "project-of-tests.svc.id.goog"
		if audience != "identitynamespace:"+inside+":https://container.googleapis.com/v1/projects/project-of-tests/locations/europe-west1/clusters/cluster" {
			inside = "none"
		}
	}
	fits := r.FormValue("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange" &&
		r.FormValue("subject_token_type") == "urn:ietf:params:oauth:token-type:jwt"
	subject := g.review(token, inside)
	if !fits || !slices.Contains(g.Subjects, subject) {
		g.refuse(w, http.StatusBadRequest, "invalid_grant", token)
		return
	}
	g.cloud.granted("google", subject)
	g.answer(w, map[string]any{
		"access_token": gcpFederatedToken, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600,
	})
}

// impersonate serves generateAccessToken.
func (g *Google) impersonate(w http.ResponseWriter, r *http.Request) {
	account, _ := strings.CutSuffix(r.PathValue("account"), ":generateAccessToken")
	if r.Header.Get("Authorization") != "Bearer "+gcpFederatedToken || account != GCPAccount && account != GCPShortAccount {
		g.refuse(w, http.StatusForbidden, "forbidden", r.Header.Get("Authorization"))
		return
	}
	token, ends := gcpAccountToken, time.Now().Add(time.Hour)
	if account == GCPShortAccount {
		token, ends = g.newShort()
	}
	g.answer(w, map[string]any{"accessToken": token, "expireTime": ends.UTC().Format(time.RFC3339)})
}

// bucket returns the one that is asked for, if the request shows a token.
func (g *Google) bucket(w http.ResponseWriter, r *http.Request) *Bucket {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !slices.Contains([]string{gcpKeyToken, gcpFederatedToken, gcpAccountToken, GCPOwnToken}, token) {
		g.refuse(w, http.StatusUnauthorized, "authError", token)
		return nil
	}
	b := g.Buckets[r.PathValue("bucket")]
	if b == nil {
		g.refuse(w, http.StatusNotFound, "notFound", r.PathValue("bucket"))
		return nil
	}
	if b.Elsewhere != "" {
		http.Redirect(w, r, b.Elsewhere, http.StatusTemporaryRedirect)
		return nil
	}
	return b
}

func (g *Google) list(w http.ResponseWriter, r *http.Request) {
	b := g.bucket(w, r)
	if b == nil {
		return
	}
	found, next := b.page(r.FormValue("prefix"), r.FormValue("pageToken"))
	items := []any{}
	for _, s := range found {
		items = append(items, map[string]string{
			"name": s.key, "etag": s.etag(), "generation": strconv.FormatInt(s.generation, 10), "size": strconv.Itoa(len(s.content)),
		})
	}
	g.answer(w, map[string]any{"items": items, "nextPageToken": next})
}

func (g *Google) object(w http.ResponseWriter, r *http.Request) {
	b := g.bucket(w, r)
	if b == nil {
		return
	}
	s, ok := b.get(r.PathValue("object"))
	want := r.FormValue("ifGenerationMatch")
	switch {
	case !ok || r.FormValue("alt") != "media":
		g.refuse(w, http.StatusNotFound, "notFound", "")
	case want != "" && want != strconv.FormatInt(s.generation, 10):
		g.refuse(w, http.StatusPreconditionFailed, "conditionNotMet", "")
	default:
		_, _ = w.Write([]byte(s.content))
	}
}
