package fetcher_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/token" // the registry's login by tokens
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-containerregistry/pkg/authn"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
	"github.com/sluice-gitops/sluice/test/cloudtest"
	"github.com/sluice-gitops/sluice/test/pki"
)

// provided is what cloud providers have for the tests.
type provided struct {
	aws    *cloudtest.AWS
	azure  *cloudtest.Azure
	google *cloudtest.Google
	// googleKey is the key of a service account in JSON, and certificate one of an application
	// with its private key in PEM.
	googleKey, certificate string
	ecr, acr, gar          *ociRegistry
	// s3 is host:port of the real S3 server, for who has keys and a session.
	s3 string
}

const teamRole = "arn:aws:iam::" + cloudtest.AWSAccount + ":role/team"

// provide makes the providers answer, and the service accounts that they know.
func provide(t *testing.T, w *world) *provided {
	t.Helper()
	p := &provided{}
	team := "system:serviceaccount:default:team"
	p.aws = internet.ServeAWS(&cloudtest.AWS{
		OwnToken: cloudtest.OwnAWSToken, OwnRole: cloudtest.OwnAWSRole,
		Keys: aws.Credentials{AccessKeyID: w.storage.AccessKey, SecretAccessKey: w.storage.SecretKey, SessionToken: "session-token-of-the-test"},
	}, w.review)
	p.aws.Allow(teamRole, team)
	p.aws.Live(time.Hour)
	to := &url.URL{Scheme: "http", Host: w.storage.Addr}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}}
	door := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !p.aws.Resign(r) {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		forward.ServeHTTP(rw, r)
	}))
	t.Cleanup(door.Close)
	p.s3 = door.Listener.Addr().String()
	key, pemKey := newRSA(t)
	p.google = internet.ServeGoogle(&cloudtest.Google{Key: key, Subjects: []string{team, "system:serviceaccount:default:team-gke"}, Buckets: map[string]*cloudtest.Bucket{}}, w.review)
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": cloudtest.GCPAccount, "private_key": pemKey, "private_key_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	p.googleKey = string(text)
	internet.Secret(strings.Split(pemKey, "\n")[3], "key of Google")
	p.certificate, p.azure = certificateOf(t, key, pemKey), &cloudtest.Azure{
		Certificate: key.Public(), Subjects: []string{team}, OwnToken: cloudtest.OwnAzureToken,
		AccountKey: base64.StdEncoding.EncodeToString([]byte("key of the storage account of the test")), Containers: map[string]*cloudtest.Bucket{},
	}
	if p.azure.RegistryKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	p.azure.Registry = registryApp(t, configuration.Auth{"token": configuration.Parameters{
		"realm": "https://" + cloudtest.ACRHost + "/oauth2/token", "service": cloudtest.ACRHost, "issuer": "tests", "jwks": keySet(t, p.azure.RegistryKey.Public().(*ecdsa.PublicKey)),
	}})
	internet.ServeAzure(p.azure, w.review)
	p.acr = &ociRegistry{host: cloudtest.ACRHost, via: http.DefaultTransport, login: authn.FromConfig(authn.AuthConfig{RegistryToken: p.azure.RepositoryToken("repository:team/app:pull,push")})}
	p.ecr = behindPassword(t, cloudtest.ECRHost, cloudtest.ECRUser, cloudtest.ECRPassword)
	p.gar = behindPassword(t, cloudtest.GCPRegistry, cloudtest.GCPRegistryUser, cloudtest.GCPOwnToken, cloudtest.GCPAccountToken)
	for name, annotations := range map[string]map[string]string{
		"team": {
			"eks.amazonaws.com/role-arn": teamRole, "azure.workload.identity/tenant-id": cloudtest.AzureTenant, "azure.workload.identity/client-id": cloudtest.AzureClient,
			"gcp.auth.fluxcd.io/workload-identity-provider": cloudtest.GCPProvider, "iam.gke.io/gcp-service-account": cloudtest.GCPAccount,
		},
		"team-gke": {"iam.gke.io/gcp-service-account": cloudtest.GCPAccount},
		"stranger": {
			"eks.amazonaws.com/role-arn": teamRole, "azure.workload.identity/tenant-id": cloudtest.AzureTenant, "azure.workload.identity/client-id": cloudtest.AzureClient,
			"gcp.auth.fluxcd.io/workload-identity-provider": cloudtest.GCPProvider,
		},
		"nobody": nil,
	} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: annotations}}
		if err := w.client.Create(t.Context(), account); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// review asks the cluster whose a token is, as a provider does by the cluster's keys.
func (w *world) review(token, audience string) string {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}}}
	if err := w.client.Create(w.t.Context(), review); err != nil || !review.Status.Authenticated {
		return ""
	}
	return review.Status.User.Username
}

// behindPassword is a real registry with a name of a provider, for who has one of the
// passwords.
func behindPassword(t *testing.T, host, user string, passwords ...string) *ociRegistry {
	t.Helper()
	app := registryApp(t, configuration.Auth{})
	internet.Handle(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || !slices.Contains(passwords, p) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		app.ServeHTTP(w, r)
	}))
	return &ociRegistry{host: host, via: http.DefaultTransport, login: &authn.Basic{Username: user, Password: passwords[0]}}
}

// keySet writes a public key as a file that registries read (RFC 7517).
func keySet(t *testing.T, key *ecdsa.PublicKey) string {
	t.Helper()
	point, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	text, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "kid": "test", "alg": "ES256", "use": "sig", "x": encode(point[1:33]), "y": encode(point[33:]),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func clouds(t *testing.T, w *world) {
	p := provide(t, w)
	for _, c := range []struct {
		name, why string
		run       func(*testing.T, *world, *provided)
	}{
		{"Bucket life", "containers and buckets of Azure and Google as those of S3: one listing, only what changed", cloudBuckets},
		{"Bucket login", "every Secret that Azure and Google know, and every identity", cloudBucketLogins},
		{"Bucket failures", "what is wrong is told, and nothing of the credentials", cloudBucketFailures},
		{"Bucket redirects", "a redirect is no answer, and nothing is shown to where it leads", cloudRedirects},
		{"Bucket matrix", "the API server refuses fields that do not fit each other", bucketMatrix},
		{"registries", "logins to the registries of three providers, by both identities, and none twice", cloudRegistries},
		{"credentials that end", "keys are kept as long as they last, and as long as the account says the same", credentialsThatEnd},
		{"registry failures", "accounts that are missing, unknown, or somebody else's", cloudRegistryFailures},
		{"Git", "Azure DevOps and AWS CodeCommit", cloudGit},
		{"identities of service accounts", "refused without the gate; a default for who names none", accountIdentities}, // the last one: it ends the fetcher
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, w.in(t), p) })
	}
}

// revisionOf is the one of keys and etags.
func revisionOf(etags map[string]string, quote string) string {
	hash := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(etags)) {
		fmt.Fprintf(hash, "%s %s%s%s\n", key, quote, etags[key], quote)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}

// cloudRegistries pulls artifacts and charts.
func cloudRegistries(t *testing.T, w *world, p *provided) {
	digests := map[*ociRegistry]string{}
	for _, r := range []*ociRegistry{p.ecr, p.acr, p.gar} {
		digests[r] = r.push(t, "team/app", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"host": r.host}), nil})
	}
	for _, c := range []struct {
		provider string
		registry *ociRegistry
		account  string
		// asked begins what is noted when credentials are given: once for two objects.
		asked string
	}{
		{"aws", p.ecr, "", "granted ecr"},
		{"aws", p.ecr, "team", "granted ecr"},
		{"azure", p.acr, "", "granted acr"},
		{"azure", p.acr, "team", "granted acr"},
		{"gcp", p.gar, "", "GET metadata/computeMetadata/v1/instance/service-accounts/default/token"},
		{"gcp", p.gar, "team", "POST iamcredentials.googleapis.com/"},
		{"gcp", p.gar, "team-gke", "granted google system:serviceaccount:default:team-gke"},
	} {
		before := internet.Count(c.asked)
		for n := range 2 {
			name := strings.Trim(fmt.Sprintf("registry-%s-%d-%s", c.provider, n, c.account), "-")
			obj := w.createOCI(name, inCloud(c.registry, c.provider, c.account))
			awaitObject(w, name, obj, ociAt("latest@"+digests[c.registry]))
			w.ask(obj, "again")
			awaitObject(w, name+" again", obj, func(o *sourcev1.OCIRepository) bool { return o.Status.LastHandledReconcileAt == "again" })
		}
		if got := internet.Since(before, c.asked); len(got) != 1 {
			t.Errorf("%s as %q: credentials were asked for by %q", c.provider, c.account, got)
		}
	}
	p.ecr.pushChart(t, "charts", "cloud-chart", "1.2.3")
	charts := ociCharts(p.ecr, "")
	charts.Provider = "aws"
	w.createRepository("cloud-charts", charts)
	awaitObject(w, "a chart", w.createChart("cloud-chart", inRepository("cloud-chart", "1.x", "cloud-charts")), chartAt("1.2.3"))
}

func inCloud(r *ociRegistry, provider, account string) sourcev1.OCIRepositorySpec {
	return sourcev1.OCIRepositorySpec{URL: "oci://" + r.host + "/team/app", Provider: provider, ServiceAccountName: account}
}

// credentialsThatEnd has keys that end at once: they are asked for in each pass. Those of
// an account whose annotations change are asked for again.
func credentialsThatEnd(t *testing.T, w *world, p *provided) {
	digest := p.ecr.push(t, "team/app", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"a": "1"}), nil})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "team"}}
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(account), account); err != nil {
		t.Fatal(err)
	}
	passes := func(name string, account string) int {
		spec := s3Cloud(p, account)
		obj := awaitObject(w, name, w.createBucket(name, spec), bucketReady)
		before := internet.Count("granted aws")
		for n := range 2 {
			token := fmt.Sprint("again-", n)
			w.ask(obj, token)
			awaitObject(w, name, obj, func(o *sourcev1.Bucket) bool { return o.Status.LastHandledReconcileAt == token && bucketReady(o) })
		}
		return internet.Count("granted aws") - before
	}
	if got := passes("keys-that-last", "team"); got != 0 {
		t.Errorf("keys that last were asked for %d times", got)
	}
	account.Annotations["eks.amazonaws.com/role-arn"] = teamRole + "-of-another-name"
	p.aws.Allow(teamRole+"-of-another-name", "system:serviceaccount:default:team")
	if err := w.client.Update(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	p.aws.Live(0)
	defer p.aws.Live(time.Hour)
	if got := passes("keys-that-end", "team"); got != 2 {
		t.Errorf("keys that end were asked for %d times in two passes", got)
	}
	awaitObject(w, "a registry", w.createOCI("keys-that-end", inCloud(p.ecr, "aws", "team")), ociAt("latest@"+digest))
}

func cloudRegistryFailures(t *testing.T, w *world, p *provided) {
	p.acr.push(t, "team/app", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"a": "1"}), nil})
	w.secret("cloud-ca", map[string]string{"ca.crt": string(w.anyCA(t))})
	ofFetcher := "the fetcher's own identity is shown over TLS with the authorities of the system only"
	elsewhere := sourcev1.OCIRepositorySpec{URL: "oci://registry.example.com/team/app"}
	with := func(spec sourcev1.OCIRepositorySpec, change func(*sourcev1.OCIRepositorySpec)) sourcev1.OCIRepositorySpec {
		change(&spec)
		return spec
	}
	for name, c := range map[string]struct {
		spec         sourcev1.OCIRepositorySpec
		reason, text string
	}{
		"missing":       {inCloud(p.ecr, "aws", "none"), "AuthenticationFailed", "failed to get service account 'default/none'"},
		"aws-nobody":    {inCloud(p.ecr, "aws", "nobody"), "AuthenticationFailed", "invalid eks.amazonaws.com/role-arn annotation"},
		"aws-other":     {inCloud(p.ecr, "aws", "stranger"), "AuthenticationFailed", "failed to get credential from aws: STS AssumeRoleWithWebIdentity: the answer is AccessDenied"},
		"azure-nobody":  {inCloud(p.acr, "azure", "nobody"), "AuthenticationFailed", "azure tenant ID is not set in the service account annotation"},
		"azure-other":   {inCloud(p.acr, "azure", "stranger"), "AuthenticationFailed", "failed to get credential from azure: no token was given: HTTP 401 AADSTS7000215"},
		"gcp-other":     {inCloud(p.gar, "gcp", "stranger"), "AuthenticationFailed", "oauth2/google: status code 400"},
		"aws-host":      {with(elsewhere, func(s *sourcev1.OCIRepositorySpec) { s.Provider = "aws" }), "AuthenticationFailed", "failed to get credential from aws: invalid AWS registry: 'registry.example.com'"},
		"azure-host":    {with(elsewhere, func(s *sourcev1.OCIRepositorySpec) { s.Provider = "azure" }), "AuthenticationFailed", "invalid Azure registry: 'registry.example.com'"},
		"gcp-host":      {with(elsewhere, func(s *sourcev1.OCIRepositorySpec) { s.Provider = "gcp" }), "AuthenticationFailed", "invalid GCP registry: 'registry.example.com'"},
		"own-insecure":  {with(inCloud(p.gar, "gcp", ""), func(s *sourcev1.OCIRepositorySpec) { s.Insecure = true }), "InvalidProviderConfiguration", ofFetcher},
		"own-authority": {with(inCloud(p.acr, "azure", ""), func(s *sourcev1.OCIRepositorySpec) { s.CertSecretRef = local("cloud-ca") }), "InvalidProviderConfiguration", ofFetcher},
		"bad-proxy":     {with(inCloud(p.acr, "azure", ""), func(s *sourcev1.OCIRepositorySpec) { s.ProxySecretRef = local("cloud-ca") }), "AuthenticationFailed", "key 'address' not found"},
	} {
		obj := awaitObject(w, name, w.createOCI("registry-refused-"+name, c.spec), ociFails("FetchFailed", c.reason, c.text))
		if stalled := apimeta.IsStatusConditionTrue(obj.Status.Conditions, "Stalled"); stalled != (c.reason == "InvalidProviderConfiguration") {
			t.Errorf("%s: stalled is %t", name, stalled)
		}
	}
	// The identity is asked for when no Secret says anything: a Secret goes before it.
	w.pullSecret("cloud-login", cloudtest.ECRHost, cloudtest.ECRUser, cloudtest.ECRPassword)
	before := internet.Count("granted ecr")
	digest := p.ecr.push(t, "team/app", "latest", nil, layer{fluxLayer, tarred(t, map[string]string{"a": "1"}), nil})
	awaitObject(w, "a pull secret", w.createOCI("registry-secret", with(inCloud(p.ecr, "aws", ""), func(s *sourcev1.OCIRepositorySpec) { s.SecretRef = local("cloud-login") })), ociAt("latest@"+digest))
	// As in Flux, an account's pull secrets are counted before what they say: one for another registry
	// keeps its identity from being asked for too. They count beside the object's own.
	w.pullSecret("cloud-other", "registry.example.com", cloudtest.ECRUser, cloudtest.ECRPassword)
	w.pullers(t, map[string]string{"cloud-puller": "cloud-login", "puller-elsewhere": "cloud-other"})
	own := inCloud(p.ecr, "aws", "cloud-puller")
	own.SecretRef = local("cloud-other")
	for name, spec := range map[string]sourcev1.OCIRepositorySpec{"an account's pull secret": inCloud(p.ecr, "aws", "cloud-puller"), "beside its own": own} {
		awaitObject(w, name, w.createOCI("registry-"+strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "'", ""), spec), ociAt("latest@"+digest))
	}
	awaitObject(w, "a pull secret for another registry", w.createOCI("registry-elsewhere", inCloud(p.ecr, "aws", "puller-elsewhere")),
		ociFails("FetchFailed", "OCIArtifactPullFailed", "failed to determine artifact digest"))
	if internet.Count("granted ecr") != before {
		t.Error("an identity was asked for beside a pull secret")
	}
}

// pullers makes service accounts with the annotations of "team" and a pull secret each.
func (w *world) pullers(t *testing.T, secrets map[string]string) {
	t.Helper()
	var team corev1.ServiceAccount
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "team"}, &team); err != nil {
		t.Fatal(err)
	}
	for name, secret := range secrets {
		account := &corev1.ServiceAccount{
			ObjectMeta:       metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: team.Annotations},
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: secret}},
		}
		if err := w.client.Create(t.Context(), account); err != nil {
			t.Fatal(err)
		}
	}
}

// cloudGit reads repositories of Azure DevOps and AWS CodeCommit.
func cloudGit(t *testing.T, w *world, p *provided) {
	sha := gittest.NewRepo(t, w.root, "of-cloud").Commit("main", "first", map[string]string{"a.yaml": "a"})
	const devops, commits = "/org/project/_git", "/v1/repos"
	behind := func(host, path string, access gittest.Access) {
		at, err := url.Parse(gittest.ServeHTTP(t, w.root, false, access).URL)
		if err != nil {
			t.Fatal(err)
		}
		internet.Handle(host, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(at)
			r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, path)
		}})
	}
	behind("dev.azure.com", devops, gittest.Bearer(cloudtest.DevOpsToken))
	behind(cloudtest.CodeCommit, commits, func(r *http.Request) bool { return p.aws.Commits(r, commits+"/of-cloud") })
	azure, aws := "https://dev.azure.com"+devops+"/of-cloud", "https://"+cloudtest.CodeCommit+commits+"/of-cloud"
	for name, spec := range map[string]sourcev1.GitRepositorySpec{
		"git-azure":         {URL: azure, Provider: "azure"},
		"git-azure-account": {URL: azure, Provider: "azure", ServiceAccountName: "team"},
		"git-aws":           {URL: aws, Provider: "aws"},
		"git-aws-account":   {URL: aws, Provider: "aws", ServiceAccountName: "team"},
	} {
		spec.Reference = branch("main")
		w.create(name, spec)
		w.await(name, name, at("main@sha1:"+sha))
		w.request(name, "again")
	}
	behindTenant(t, w, aws, sha)
	w.secret("git-ca", map[string]string{"ca.crt": string(w.anyCA(t))})
	for name, c := range map[string]struct {
		spec         sourcev1.GitRepositorySpec
		reason, text string
	}{
		"plain":    {sourcev1.GitRepositorySpec{URL: w.http.URL + "/life", Provider: "azure"}, "InvalidProviderConfiguration", "provider azure reads over https: change spec.url"},
		"shell":    {sourcev1.GitRepositorySpec{URL: "ssh://git@dev.azure.com/x", Provider: "azure"}, "InvalidProviderConfiguration", "provider azure reads over https: change spec.url"},
		"host":     {sourcev1.GitRepositorySpec{URL: "https://git.example.com/x", Provider: "azure"}, "InvalidProviderConfiguration", `the fetcher's own identity is not shown to "git.example.com"`},
		"ca":       {sourcev1.GitRepositorySpec{URL: azure, Provider: "azure", SecretRef: local("git-ca")}, "InvalidProviderConfiguration", "the fetcher's own identity is shown over TLS with the authorities of the system only"},
		"aws-ca":   {sourcev1.GitRepositorySpec{URL: aws, Provider: "aws", SecretRef: local("git-ca")}, "InvalidProviderConfiguration", "the fetcher's own identity is shown over TLS with the authorities of the system only"},
		"aws-host": {sourcev1.GitRepositorySpec{URL: "https://git.example.com/x", Provider: "aws"}, "AuthenticationFailed", "failed to get credential from aws: "},
		"other":    {sourcev1.GitRepositorySpec{URL: azure, Provider: "azure", ServiceAccountName: "stranger"}, "AuthenticationFailed", "failed to get credential from azure: no token was given: HTTP 401 AADSTS7000215"},
		"missing":  {sourcev1.GitRepositorySpec{URL: aws, Provider: "aws", ServiceAccountName: "none"}, "AuthenticationFailed", "failed to get service account 'default/none'"},
	} {
		w.create("git-refused-"+name, c.spec)
		w.await(name, "git-refused-"+name, broken("FetchFailed", c.reason, c.text))
	}
	err := w.client.Create(t.Context(), &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "git-matrix"},
		Spec:       sourcev1.GitRepositorySpec{URL: azure, ServiceAccountName: "team", Interval: metav1.Duration{Duration: time.Hour}},
	})
	if err == nil || !strings.Contains(err.Error(), "serviceAccountName can only be set when provider is") {
		t.Errorf("an account without a provider: %v", err)
	}
}

// behindTenant has CodeCommit behind a server of the tenant's, whose authority is the tenant's: the
// identity of a service account goes there, as it is theirs.
func behindTenant(t *testing.T, w *world, aws, sha string) {
	authority, err := pki.NewAuthority("tenant")
	if err != nil {
		t.Fatal(err)
	}
	identity, err := authority.Server(cloudtest.CodeCommit)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(identity.Certificate, identity.Key)
	if err != nil {
		t.Fatal(err)
	}
	end := internet.Behind(cloudtest.CodeCommit, pair)
	defer end()
	w.secret("git-tenant", map[string]string{"ca.crt": string(authority.Certificate)})
	w.create("git-tenant", sourcev1.GitRepositorySpec{URL: aws, Provider: "aws", ServiceAccountName: "team", SecretRef: local("git-tenant"), Reference: branch("main")})
	w.await("a tenant's authority", "git-tenant", at("main@sha1:"+sha))
}

// anyCA is an authority that vouches for none of the servers.
func (w *world) anyCA(t *testing.T) []byte {
	t.Helper()
	authority, err := pki.NewAuthority("somebody")
	if err != nil {
		t.Fatal(err)
	}
	return authority.Certificate
}
