package fetcher_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
	"github.com/sluice-gitops/sluice/test/cloudtest"
)

// certificateOf is a certificate of a key, with the key, in PEM form.
func certificateOf(t *testing.T, key *rsa.PrivateKey, pemKey string) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "application"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pemKey + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// The specs of Buckets at three providers.
func azureCloud(bucket, secret, account string) sourcev1.BucketSpec {
	spec := sourcev1.BucketSpec{Provider: "azure", BucketName: bucket, Endpoint: "https://" + cloudtest.BlobHost, ServiceAccountName: account}
	if secret != "" {
		spec.SecretRef = local(secret)
	}
	return spec
}

func googleCloud(bucket, secret, account string) sourcev1.BucketSpec {
	spec := azureCloud(bucket, secret, account)
	spec.Provider, spec.Endpoint = "gcp", cloudtest.GCSHost
	return spec
}

// s3Cloud is a bucket of a real S3 server, whose keys are those that STS gives.
func s3Cloud(p *provided, account string) sourcev1.BucketSpec {
	return sourcev1.BucketSpec{
		Provider: "aws", BucketName: "test", Endpoint: p.s3, Insecure: true, Region: cloudtest.AWSRegion, Prefix: "none/", ServiceAccountName: account,
	}
}

func cloudBuckets(t *testing.T, w *world, p *provided) {
	w.secret("google-key", map[string]string{"serviceaccount": p.googleKey})
	w.secret("azure-account", map[string]string{"accountKey": p.azure.AccountKey})
	for _, c := range []struct {
		name, quote, list, get string
		spec                   func(bucket string) sourcev1.BucketSpec
		buckets                map[string]*cloudtest.Bucket
	}{
		{
			"azure", `"`, "GET " + cloudtest.BlobHost + "/azure-life", "GET " + cloudtest.BlobHost + "/azure-life/",
			func(bucket string) sourcev1.BucketSpec { return azureCloud(bucket, "azure-account", "") }, p.azure.Containers,
		},
		{
			"gcp", "", "GET " + cloudtest.GCSHost + "/storage/v1/b/gcp-life/o", "GET " + cloudtest.GCSHost + "/storage/v1/b/gcp-life/o/",
			func(bucket string) sourcev1.BucketSpec { return googleCloud(bucket, "google-key", "") }, p.google.Buckets,
		},
	} {
		b, name := &cloudtest.Bucket{}, c.name+"-life"
		c.buckets[name] = b
		b.Put(map[string]string{"apps/b.yaml": "b: 1\n", "apps/deep/c d%.yaml": "c: 1\n", "a.png": "a"})
		obj := awaitObject(w, name, w.createBucket(name, c.spec(name)), bucketReady)
		a := *obj.Status.Artifact
		if want := revisionOf(b.ETags(), c.quote); a.Revision != want {
			t.Errorf("%s: revision is %s, want %s", name, a.Revision, want)
		}
		if got, want := w.names(&a), []string{"a.png", "apps/", "apps/b.yaml", "apps/deep/", "apps/deep/c d%.yaml"}; !slices.Equal(got, want) {
			t.Errorf("%s: files are %q", name, got)
		}
		before := internet.Count(c.list)
		w.ask(obj, "1")
		awaitObject(w, "the second look", obj, func(o *sourcev1.Bucket) bool { return o.Status.LastHandledReconcileAt == "1" })
		if got := internet.Since(before, c.list); !slices.Equal(got, []string{c.list, c.list}) { // of two pages
			t.Errorf("%s: a bucket that did not change cost %q", name, got)
		}
		gets := internet.Count(c.get)
		b.Put(map[string]string{"apps/b.yaml": "b: 2\n", "apps/new.yaml": "n: 1\n"})
		w.ask(obj, "2")
		awaitObject(w, "the new revision", obj, func(o *sourcev1.Bucket) bool { return bucketReady(o) && o.Status.Artifact.Revision != a.Revision })
		got := internet.Since(gets, c.get)
		if slices.Sort(got); !slices.Equal(got, []string{c.get + "apps/b.yaml", c.get + "apps/new.yaml"}) {
			t.Errorf("%s: two changed objects cost %q", name, got)
		}
		b.Put(map[string]string{".sourceignore": "*.png\n"})
		spec := c.spec(name)
		spec.Prefix = "a"
		below := awaitObject(w, "a prefix", w.createBucket(name+"-prefix", spec), bucketReady)
		if got := w.names(below.Status.Artifact); !slices.Equal(got, []string{"apps/", "apps/b.yaml", "apps/deep/", "apps/deep/c d%.yaml", "apps/new.yaml"}) {
			t.Errorf("%s: files below the prefix are %q", name, got)
		}
		b.Put(map[string]string{"apps/lost.yaml": "l: 1\n"})
		b.Hide("apps/lost.yaml")
		lost := awaitObject(w, "an object that is gone", w.createBucket(name+"-lost", c.spec(name)),
			bucketFails("FetchFailed", "BucketOperationFailed", "fetch from bucket '"+name+"' failed: object 'apps/lost.yaml': "))
		b.Hide("")
		awaitObject(w, "the cure", lost, bucketReady)
		awaitObject(w, "no bucket", w.createBucket(name+"-absent", c.spec("absent")), bucketFails("FetchFailed", "BucketOperationFailed", "bucket 'absent' not found"))
	}
	// An account with folders lists them among the objects.
	b := &cloudtest.Bucket{}
	p.azure.Containers["folders"] = b
	b.Put(map[string]string{"apps": "", "apps/a.yaml": "a: 1\n"})
	obj := awaitObject(w, "folders", w.createBucket("azure-folders", azureCloud("folders", "azure-account", "")), bucketReady)
	if got := w.names(obj.Status.Artifact); !slices.Equal(got, []string{"apps/", "apps/a.yaml"}) {
		t.Errorf("files beside folders are %q", got)
	}
}

func cloudBucketLogins(t *testing.T, w *world, p *provided) {
	azure, google := &cloudtest.Bucket{}, &cloudtest.Bucket{}
	p.azure.Containers["logins"], p.google.Buckets["logins"] = azure, google
	azure.Put(map[string]string{"a.yaml": "a: 1\n"})
	google.Put(map[string]string{"a.yaml": "a: 1\n"})
	application := func(more map[string]string) map[string]string {
		maps.Copy(more, map[string]string{"tenantId": cloudtest.AzureTenant, "clientId": cloudtest.AzureClient})
		return more
	}
	w.secret("azure-secret", application(map[string]string{"clientSecret": cloudtest.AzureSecret, "authorityHost": "https://login.microsoftonline.com/"}))
	w.secret("azure-certificate", application(map[string]string{"clientCertificate": p.certificate, "clientCertificateSendChain": "true"}))
	w.secret("azure-machine", map[string]string{"clientId": cloudtest.AzureClient})
	w.secret("azure-sas", map[string]string{"sasKey": "?sp=rl&sv=2024-11-04&sr=c&sig=" + cloudtest.SASSignature})
	proxy := gittest.ServeHTTPProxy(t)
	w.secret("cloud-proxy", map[string]string{"address": proxy.URL, "username": gittest.ProxyUser, "password": gittest.ProxyPassword})
	for name, spec := range map[string]sourcev1.BucketSpec{
		"azure-secret":      azureCloud("logins", "azure-secret", ""),
		"azure-certificate": azureCloud("logins", "azure-certificate", ""),
		"azure-machine":     azureCloud("logins", "azure-machine", ""),
		"azure-account":     azureCloud("logins", "azure-account", ""),
		"azure-sas":         azureCloud("logins", "azure-sas", ""),
		"azure-own":         azureCloud("logins", "", ""),
		"azure-team":        azureCloud("logins", "", "team"),
		"gcp-key":           googleCloud("logins", "google-key", ""),
		"gcp-own":           googleCloud("logins", "", ""),
		"gcp-team":          googleCloud("logins", "", "team"),
		"gcp-gke":           googleCloud("logins", "", "team-gke"),
		"aws-own":           s3Cloud(p, ""),
		"aws-team":          s3Cloud(p, "team"),
	} {
		awaitObject(w, name, w.createBucket("cloud-login-"+name, spec), bucketReady)
	}
	// Through a proxy, which this one cannot pass: it knows the names of no cloud.
	for name, spec := range map[string]sourcev1.BucketSpec{
		"azure": azureCloud("logins", "azure-secret", ""), "gcp": googleCloud("logins", "", "team"), "aws": s3Cloud(p, "team"),
	} {
		spec.ProxySecretRef = local("cloud-proxy")
		uses := proxy.Uses.Load()
		awaitObject(w, name, w.createBucket("cloud-proxied-"+name, spec), func(o *sourcev1.Bucket) bool {
			return apimeta.IsStatusConditionTrue(o.Status.Conditions, "FetchFailed")
		})
		if proxy.Uses.Load() == uses {
			t.Errorf("%s: the proxy was not used", name)
		}
	}
}

func cloudBucketFailures(t *testing.T, w *world, p *provided) {
	b := &cloudtest.Bucket{}
	p.azure.Containers["failures"], p.google.Buckets["failures"] = b, b
	b.Put(map[string]string{"a.yaml": "a: 1\n"})
	_, otherKey := newRSA(t)
	replace := func(old, by string) string { return strings.Replace(p.googleKey, old, by, 1) }
	w.secret("azure-wrong", map[string]string{"tenantId": cloudtest.AzureTenant, "clientId": cloudtest.AzureClient, "clientSecret": "wrong-client-secret"})
	w.secret("azure-nothing", map[string]string{"tenantId": cloudtest.AzureTenant, "password": "unused-password"})
	w.secret("azure-bad-certificate", map[string]string{"tenantId": cloudtest.AzureTenant, "clientId": cloudtest.AzureClient, "clientCertificate": otherKey})
	w.secret("azure-bad-key", map[string]string{"accountKey": "no base64 of the test!"})
	w.secret("azure-wrong-key", map[string]string{"accountKey": "d3Jvbmcga2V5IG9mIHRoZSB0ZXN0"})
	w.secret("azure-wrong-sas", map[string]string{"sasKey": "sp=rl&sig=d3Jvbmcgc2lnbmF0dXJl"})
	w.secret("azure-other-machine", map[string]string{"clientId": cloudtest.AzureTenant})
	w.secret("google-nothing", map[string]string{"accesskey": "x"})
	w.secret("google-no-json", map[string]string{"serviceaccount": "{not-json-of-the-test"})
	w.secret("google-program", map[string]string{"serviceaccount": replace(`"service_account"`, `"external_account"`)})
	w.secret("google-bad-key", map[string]string{"serviceaccount": replace("BEGIN RSA", "BEGIN BAD")})
	w.secret("google-other", map[string]string{"serviceaccount": replace(cloudtest.GCPAccount, "other@project-of-tests.iam.gserviceaccount.com")})
	w.secret("bucket-ca", map[string]string{"ca.crt": string(w.anyCA(t))})
	with := func(spec sourcev1.BucketSpec, change func(*sourcev1.BucketSpec)) sourcev1.BucketSpec {
		change(&spec)
		return spec
	}
	elsewhere := func(s *sourcev1.BucketSpec) { s.Endpoint = "https://storage.example.com" }
	const refused = "failed to confirm existence of 'failures' bucket: "
	for name, c := range map[string]struct {
		spec         sourcev1.BucketSpec
		reason, text string
	}{
		"azure-wrong":           {azureCloud("failures", "azure-wrong", ""), "BucketOperationFailed", refused + "no token was given: HTTP 401 AADSTS7000215"},
		"azure-nothing":         {azureCloud("failures", "azure-nothing", ""), "AuthenticationFailed", "invalid 'azure-nothing' secret data: requires a 'clientId' or 'accountKey' field"},
		"azure-bad-certificate": {azureCloud("failures", "azure-bad-certificate", ""), "AuthenticationFailed", "'clientCertificate' holds no certificate and private key"},
		"azure-bad-key":         {azureCloud("failures", "azure-bad-key", ""), "AuthenticationFailed", "'accountKey' is not encoded in base64"},
		"azure-wrong-key":       {azureCloud("failures", "azure-wrong-key", ""), "BucketOperationFailed", refused + "the bucket may not exist, or the credentials may not read it: HTTP 403 AuthenticationFailed"},
		"azure-wrong-sas":       {azureCloud("failures", "azure-wrong-sas", ""), "BucketOperationFailed", "HTTP 403 AuthenticationFailed"},
		"azure-other-machine":   {azureCloud("failures", "azure-other-machine", ""), "BucketOperationFailed", refused},
		"azure-short-host":      {with(azureCloud("failures", "azure-account", ""), func(s *sourcev1.BucketSpec) { s.Endpoint = "https://localhost" }), "AuthenticationFailed", "'accountKey' needs a spec.endpoint whose host begins with the account's name"},
		"azure-missing":         {azureCloud("failures", "azure-none", ""), "AuthenticationFailed", "failed to get secret 'default/azure-none'"},
		"azure-stranger":        {azureCloud("failures", "", "stranger"), "AuthenticationFailed", "failed to get credential from azure: no token was given: HTTP 401 AADSTS7000215"},
		"azure-elsewhere":       {with(azureCloud("failures", "", ""), elsewhere), "InvalidProviderConfiguration", `the fetcher's own identity is not shown to "storage.example.com"`},
		"azure-machine-there":   {with(azureCloud("failures", "azure-machine", ""), elsewhere), "InvalidProviderConfiguration", `the fetcher's own identity is not shown to "storage.example.com"`},
		"azure-ca":              {with(azureCloud("failures", "", ""), func(s *sourcev1.BucketSpec) { s.CertSecretRef = local("bucket-ca") }), "InvalidProviderConfiguration", "over TLS with the authorities of the system only"},
		"azure-endpoint":        {with(azureCloud("failures", "azure-account", ""), func(s *sourcev1.BucketSpec) { s.Endpoint = "ftp://x" }), "AuthenticationFailed", "spec.endpoint is no host and no http or https URL"},
		"azure-gone":            {with(azureCloud("failures", "azure-account", ""), func(s *sourcev1.BucketSpec) { s.Endpoint = "https://acme.blob.example.com" }), "BucketOperationFailed", refused},
		"gcp-nothing":           {googleCloud("failures", "google-nothing", ""), "AuthenticationFailed", "invalid 'google-nothing' secret data: required fields 'serviceaccount'"},
		"gcp-no-json":           {googleCloud("failures", "google-no-json", ""), "AuthenticationFailed", "failed to parse 'serviceaccount' as JSON"},
		"gcp-program":           {googleCloud("failures", "google-program", ""), "AuthenticationFailed", "'serviceaccount' must contain a service account key with 'type' set to 'service_account'"},
		"gcp-bad-key":           {googleCloud("failures", "google-bad-key", ""), "BucketOperationFailed", refused},
		"gcp-other":             {googleCloud("failures", "google-other", ""), "BucketOperationFailed", refused + "no token was given: HTTP 400 invalid_grant"},
		"gcp-stranger":          {googleCloud("failures", "", "stranger"), "AuthenticationFailed", "failed to get credential from gcp: "},
		"gcp-elsewhere":         {with(googleCloud("failures", "", ""), elsewhere), "InvalidProviderConfiguration", `the fetcher's own identity is not shown to "storage.example.com"`},
		"aws-stranger":          {s3Cloud(p, "stranger"), "AuthenticationFailed", "failed to get credential from aws: STS AssumeRoleWithWebIdentity: the answer is AccessDenied"},
		"aws-region":            {with(s3Cloud(p, "team"), func(s *sourcev1.BucketSpec) { s.Region = "" }), "AuthenticationFailed", "an AWS region is required for authenticating with a service account"},
		"aws-sts": {with(s3Cloud(p, "team"), func(s *sourcev1.BucketSpec) {
			s.STS = &sourcev1.BucketSTSSpec{Provider: "aws", Endpoint: "https://sts.example.com"}
		}), "InvalidProviderConfiguration", "correct spec.sts.endpoint"},
		"aws-own-sts": {with(s3Cloud(p, ""), func(s *sourcev1.BucketSpec) {
			s.STS = &sourcev1.BucketSTSSpec{Provider: "aws", Endpoint: "https://storage.example.com/x.sts.amazonaws.com"}
		}), "InvalidProviderConfiguration", "correct spec.sts.endpoint"},
	} {
		obj := awaitObject(w, name, w.createBucket("cloud-refused-"+name, c.spec), bucketFails("FetchFailed", c.reason, c.text))
		if text := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready").Message; strings.Contains(text, "\n") || strings.Contains(text, "not this") {
			t.Errorf("%s: an answer is repeated in %q", name, text)
		}
	}
}

// cloudRedirects has storage that sends requests on to a server of somebody else.
func cloudRedirects(t *testing.T, w *world, p *provided) {
	var got atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
	t.Cleanup(other.Close)
	away := &cloudtest.Bucket{Elsewhere: other.URL}
	away.Put(map[string]string{"a.yaml": "a: 1\n"})
	p.google.Buckets["away"], p.azure.Containers["away"] = away, away
	for name, spec := range map[string]sourcev1.BucketSpec{
		"gcp": googleCloud("away", "google-key", ""), "gcp-own": googleCloud("away", "", ""), "azure": azureCloud("away", "azure-account", ""), "azure-own": azureCloud("away", "", ""),
	} {
		awaitObject(w, name, w.createBucket("redirected-"+name, spec), bucketFails("FetchFailed", "BucketOperationFailed", "HTTP 307"))
	}
	if n := got.Load(); n > 0 {
		t.Errorf("another host got %d requests", n)
	}
}

// bucketMatrix creates Buckets that the API server must refuse.
func bucketMatrix(t *testing.T, w *world, _ *provided) {
	sts := func(provider string, change func(*sourcev1.BucketSTSSpec)) *sourcev1.BucketSTSSpec {
		s := &sourcev1.BucketSTSSpec{Provider: provider, Endpoint: "https://sts.example.com"}
		if change != nil {
			change(s)
		}
		return s
	}
	for n, c := range []struct {
		provider, account, secret string
		sts                       *sourcev1.BucketSTSSpec
		text                      string
	}{
		{"gcp", "", "", sts("aws", nil), "STS configuration is only supported for the 'aws' and 'generic' Bucket providers"},
		{"azure", "", "", sts("ldap", nil), "STS configuration is only supported for the 'aws' and 'generic' Bucket providers"},
		{"generic", "", "", sts("aws", nil), "'ldap' is the only supported STS provider for the 'generic' Bucket provider"},
		{"aws", "", "", sts("ldap", nil), "'aws' is the only supported STS provider for the 'aws' Bucket provider"},
		{"aws", "", "", sts("aws", func(s *sourcev1.BucketSTSSpec) { s.SecretRef = local("x") }), "spec.sts.secretRef is not required for the 'aws' STS provider"},
		{"aws", "", "", sts("aws", func(s *sourcev1.BucketSTSSpec) { s.CertSecretRef = local("x") }), "spec.sts.certSecretRef is not required for the 'aws' STS provider"},
		{"generic", "team", "", nil, "ServiceAccountName is not supported for the 'generic' Bucket provider"},
		{"gcp", "team", "x", nil, "cannot set both .spec.secretRef and .spec.serviceAccountName"},
	} {
		spec := sourcev1.BucketSpec{
			Provider: c.provider, BucketName: "x", Endpoint: "x", ServiceAccountName: c.account, STS: c.sts, Interval: metav1.Duration{Duration: time.Hour},
		}
		if c.secret != "" {
			spec.SecretRef = local(c.secret)
		}
		err := w.client.Create(t.Context(), &sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("matrix-", n)}, Spec: spec})
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %q", c.provider, err, c.text)
		}
	}
}
