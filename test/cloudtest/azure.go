package cloudtest

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Names of the tests at Azure.
const (
	AzureTenant    = "11111111-2222-3333-4444-555555555555"
	AzureClient    = "66666666-7777-8888-9999-000000000000"
	AzureOwnClient = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	AzureSecret    = "client-secret-of-the-test"
	ACRHost        = "acme.azurecr.io"
	BlobHost       = "acme.blob.core.windows.net"
	SASSignature   = "c2lnbmF0dXJlIG9mIHRoZSB0ZXN0"
	DevOpsToken    = "entra-token-of-devops"
	loginHost      = "login.microsoftonline.com"
)

// tokens of Entra by the scope that they are for.
var entraTokens = map[string]string{
	"https://storage.azure.com/.default":            "entra-token-of-storage",
	"https://containerregistry.azure.net/.default":  "entra-token-of-registries",
	"https://management.azure.com/.default":         "entra-token-of-management",
	"499b84ac-1321-427f-aa17-267ca6975798/.default": DevOpsToken,
	"https://management.core.windows.net//.default": armToken,
	aksScope: "entra-token-of-clusters",
}

// Azure gives tokens to the applications of a tenant, and has a storage account and a
// registry for who shows one.
type Azure struct {
	cloud  *Cloud
	review Review
	// Certificate is the public key that assertions of AzureClient may be signed by.
	Certificate crypto.PublicKey
	// Subjects are those whose tokens stand for AzureClient.
	Subjects []string
	// OwnToken is what the file of the pod holds; it stands for AzureOwnClient.
	OwnToken string
	// AccountKey of the storage account, in base64.
	AccountKey string
	// Containers by name.
	Containers map[string]*Bucket
	// Registry answers for the registry; RegistryKey signs its tokens.
	Registry    http.Handler
	RegistryKey crypto.Signer
	refresh     string
}

// ServeAzure answers for Entra, the storage account and the registry.
func (c *Cloud) ServeAzure(a *Azure, review Review) *Azure {
	a.cloud, a.review = c, review
	for _, token := range entraTokens {
		c.Secret(token, "token of Entra")
	}
	c.Secret(AzureSecret, "secret of an application")
	c.Secret(SASSignature, "signature of a shared access")
	c.Secret(a.AccountKey, "key of a storage account")
	c.Secret(a.OwnToken, "token of the pod")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /common/discovery/instance", func(w http.ResponseWriter, _ *http.Request) {
		a.answer(w, map[string]any{
			"tenant_discovery_endpoint": "https://" + loginHost + "/" + AzureTenant + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
			"metadata": []any{map[string]any{"preferred_network": loginHost, "preferred_cache": loginHost, "aliases": []string{loginHost}}},
		})
	})
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		base := "https://" + loginHost + "/" + r.PathValue("tenant")
		a.answer(w, map[string]any{
			"token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "issuer": base + "/v2.0",
		})
	})
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", a.token)
	c.Handle(loginHost, mux)
	c.Handle(BlobHost, http.HandlerFunc(a.blobs))
	c.Handle(ACRHost, http.HandlerFunc(a.registry))
	c.Handle(msiHost, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_id") != AzureClient || r.Header.Get("X-IDENTITY-HEADER") == "" || r.FormValue("resource") != "https://storage.azure.com" {
			http.Error(w, "no such identity", http.StatusBadRequest)
			return
		}
		a.answer(w, map[string]string{
			"access_token": entraTokens["https://storage.azure.com/.default"], "token_type": "Bearer", "resource": "https://storage.azure.com",
			"expires_on": strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10), "client_id": AzureClient,
		})
	}))
	return a
}

func (a *Azure) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// token serves the grant of client credentials (RFC 6749, 4.4; RFC 7523, 2.2).
func (a *Azure) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // what cannot be read is not there
	client, assertion := r.PostForm.Get("client_id"), r.PostForm.Get("client_assertion")
	known := client == AzureClient && r.PostForm.Get("client_secret") == AzureSecret
	if assertion != "" && r.PostForm.Get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		a.cloud.Secret(assertion, "assertion of an application")
		switch client {
		case AzureOwnClient:
			known = assertion == a.OwnToken
		case AzureClient:
			known = a.byCertificate(assertion) || slices.Contains(a.Subjects, a.review(assertion, "api://AzureADTokenExchange"))
		}
	}
	var token string
	for _, scope := range strings.Fields(r.PostForm.Get("scope")) {
		if found := entraTokens[scope]; found != "" {
			token = found
		}
		if scope == aksScope { // clusters see whose it is
			token = a.cloud.Secret(token+"-for-"+client, "token of Entra")
		}
	}
	if !known || token == "" || r.PathValue("tenant") != AzureTenant || r.PostForm.Get("grant_type") != "client_credentials" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"error": "invalid_client", "error_description": "AADSTS7000215: not this: " + r.PostForm.Get("client_secret") + assertion,
		})
		return
	}
	a.cloud.granted("entra", client)
	a.answer(w, map[string]any{"token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": token})
}

func (a *Azure) byCertificate(assertion string) bool {
	_, err := jwt.Parse(assertion, func(*jwt.Token) (any, error) { return a.Certificate, nil }, jwt.WithValidMethods([]string{"RS256", "PS256"}),
		jwt.WithIssuer(AzureClient), jwt.WithSubject(AzureClient), jwt.WithAudience("https://"+loginHost+"/"+AzureTenant+"/oauth2/v2.0/token"), jwt.WithExpirationRequired())
	return a.Certificate != nil && err == nil
}

// blobs serves listings and downloads.
func (a *Azure) blobs(w http.ResponseWriter, r *http.Request) {
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !a.mayRead(r) {
		a.blobError(w, http.StatusForbidden, "AuthenticationFailed", r.Header.Get("Authorization")+r.URL.RawQuery)
		return
	}
	b := a.Containers[name]
	if b == nil {
		a.blobError(w, http.StatusNotFound, "ContainerNotFound", name)
		return
	}
	if b.Elsewhere != "" {
		http.Redirect(w, r, b.Elsewhere, http.StatusTemporaryRedirect)
		return
	}
	if r.FormValue("comp") == "list" && r.FormValue("restype") == "container" {
		a.list(w, b, r.FormValue("prefix"), r.FormValue("marker"))
		return
	}
	s, ok := b.get(key)
	want := r.Header.Get("If-Match")
	switch {
	case !ok:
		a.blobError(w, http.StatusNotFound, "BlobNotFound", key)
	case want != "" && want != `"`+s.etag()+`"`:
		a.blobError(w, http.StatusPreconditionFailed, "ConditionNotMet", key)
	default:
		w.Header().Set("ETag", `"`+s.etag()+`"`)
		_, _ = w.Write([]byte(s.content))
	}
}

func (a *Azure) blobError(w http.ResponseWriter, status int, code, repeated string) {
	w.Header().Set("x-ms-error-code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	text := xml.NewEncoder(w)
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>not this: ", code)
	_ = text.EncodeToken(xml.CharData(repeated))
	_ = text.Flush()
	_, _ = fmt.Fprint(w, "</Message></Error>")
}

func (a *Azure) list(w http.ResponseWriter, b *Bucket, prefix, marker string) {
	type properties struct {
		ETag          string `xml:"Etag"`
		ContentLength int    `xml:"Content-Length"`
		ResourceType  string `xml:"ResourceType,omitempty"`
	}
	type item struct {
		Name       string
		Properties properties
	}
	found, next := b.page(prefix, marker)
	var items []item
	for _, s := range found {
		kind := ""
		if s.content == "" {
			kind = "directory" // as accounts with folders list them
		}
		items = append(items, item{s.key, properties{s.etag(), len(s.content), kind}})
	}
	text, err := xml.Marshal(struct {
		XMLName    xml.Name `xml:"EnumerationResults"`
		Blobs      []item   `xml:"Blobs>Blob"`
		NextMarker string
	}{Blobs: items, NextMarker: next})
	if err != nil {
		a.blobError(w, http.StatusInternalServerError, "InternalError", "")
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	_, _ = w.Write(text)
}

// mayRead takes a token, a signature of the account's key, or a shared access.
func (a *Azure) mayRead(r *http.Request) bool {
	if r.FormValue("sig") != "" {
		return r.FormValue("sig") == SASSignature && r.FormValue("sp") == "rl"
	}
	kind, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch kind {
	case "Bearer":
		return value == entraTokens["https://storage.azure.com/.default"]
	case "SharedKey":
		return value == "acme:"+a.sign(r)
	}
	return false
}

// sign makes the signature of the account's key over a request without a body, as the
// documentation of the service has it ("Authorize with Shared Key").
func (a *Azure) sign(r *http.Request) string {
	lines := []string{r.Method, "", "", "", "", "", "", r.Header.Get("If-Modified-Since"), r.Header.Get("If-Match"), r.Header.Get("If-None-Match"), "", r.Header.Get("Range")}
	headers := map[string]string{}
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-ms-") {
			headers[lower] = r.Header.Get(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		lines = append(lines, name+":"+headers[name])
	}
	resource := "/acme" + r.URL.EscapedPath()
	query := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		resource += "\n" + name + ":" + strings.Join(query[name], ",")
	}
	key, err := base64.StdEncoding.DecodeString(a.AccountKey)
	if err != nil {
		return ""
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.Join(append(lines, resource), "\n")))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// registry exchanges Entra's tokens for those of the registry, and these for the ones
// that its repositories ask for.
func (a *Azure) registry(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/oauth2/exchange":
		token := r.FormValue("access_token")
		if r.FormValue("grant_type") != "access_token" || r.FormValue("service") != ACRHost ||
			token != entraTokens["https://containerregistry.azure.net/.default"] {
			http.Error(w, "not this: "+token, http.StatusUnauthorized)
			return
		}
		var err error
		if a.refresh, err = jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
			Issuer: ACRHost, ExpiresAt: jwt.NewNumericDate(time.Now().Add(3 * time.Hour)),
		}).SignedString([]byte("of the test")); err != nil {
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		a.cloud.Secret(a.refresh, "refresh token of a registry")
		a.cloud.granted("acr", ACRHost)
		a.answer(w, map[string]string{"refresh_token": a.refresh})
	case "/oauth2/token":
		user, password, _ := r.BasicAuth()
		if r.Method == http.MethodPost {
			user, password = "00000000-0000-0000-0000-000000000000", r.FormValue("refresh_token")
		}
		if user != "00000000-0000-0000-0000-000000000000" || password != a.refresh || a.refresh == "" {
			http.Error(w, "not this: "+password, http.StatusUnauthorized)
			return
		}
		a.answer(w, map[string]string{"access_token": a.RepositoryToken(r.FormValue("scope"))})
	default:
		a.Registry.ServeHTTP(w, r)
	}
}

// RepositoryToken lets its bearer do what a scope of the form repository:<name>:<actions>
// says (the token specification of the distribution project).
func (a *Azure) RepositoryToken(scope string) string {
	parts := strings.Split(scope, ":")
	access := []any{}
	if len(parts) == 3 {
		access = append(access, map[string]any{"type": parts[0], "name": parts[1], "actions": strings.Split(parts[2], ",")})
	}
	now := time.Now()
	made := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "tests", "sub": "fetcher", "aud": ACRHost, "exp": now.Add(time.Hour).Unix(), "nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(),
		"jti": "1", "access": access,
	})
	made.Header["kid"] = "test"
	text, err := made.SignedString(a.RegistryKey)
	if err != nil {
		return ""
	}
	return a.cloud.Secret(text, "token of a repository")
}
