package fetcher_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/s3server"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// storage is a bucket of a real S3 server, and a door to it that notes what is asked.
type storage struct {
	t      *testing.T
	bucket string
	client *minio.Client
	// host is the door's host:port.
	host string

	mu       sync.Mutex
	requests []string
	// hide answers requests whose path ends so as if nothing were there.
	hide string
}

func newStorage(t *testing.T, at s3server.Endpoint, bucket string, secure *tls.Config) *storage {
	t.Helper()
	c, err := minio.New(at.Addr, &minio.Options{Creds: credentials.NewStaticV4(at.AccessKey, at.SecretKey, ""), Region: at.Region})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	s := &storage{t: t, bucket: bucket, client: c}
	to := &url.URL{Scheme: "http", Host: at.Addr}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		hidden := s.hide != "" && strings.HasSuffix(r.URL.Path, s.hide)
		s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.URL.Path))
		s.mu.Unlock()
		if hidden {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	if secure != nil {
		server.TLS = secure
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	_, s.host, _ = strings.Cut(server.URL, "://")
	return s
}

func (s *storage) put(objects map[string]string) {
	s.t.Helper()
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if _, err := s.client.PutObject(s.t.Context(), s.bucket, key, strings.NewReader(objects[key]), int64(len(objects[key])), minio.PutObjectOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *storage) hiding(suffix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hide = suffix
}

// since returns the requests after the first n.
func (s *storage) since(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests[n:])
}

// spec is that of a Bucket with the Secret s3-login.
func (s *storage) spec() sourcev1.BucketSpec {
	return sourcev1.BucketSpec{BucketName: s.bucket, Endpoint: s.host, Insecure: true, Region: "us-east-1", SecretRef: local("s3-login")}
}

func (w *world) createBucket(name string, spec sourcev1.BucketSpec) *sourcev1.Bucket {
	w.t.Helper()
	spec.Interval.Duration = time.Hour
	obj := &sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	if err := w.client.Create(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
	return obj
}

func bucketReady(o *sourcev1.Bucket) bool {
	return apimeta.IsStatusConditionTrue(o.Status.Conditions, "Ready") && o.Status.ObservedGeneration == o.Generation
}

func bucketFails(kind, reason, text string) func(*sourcev1.Bucket) bool {
	return func(o *sourcev1.Bucket) bool { return fails(o.Status.Conditions, kind, reason, text) }
}

func buckets(t *testing.T, w *world) {
	w.secret("s3-login", map[string]string{"accesskey": w.storage.AccessKey, "secretkey": w.storage.SecretKey})
	for _, c := range []struct {
		name, why string
		run       func(*testing.T, *world)
	}{
		{"life", "what did not change is not downloaded, what did is, alone", bucketLife},
		{"ignore", "the root's ignore file and spec.ignore, and no default", bucketIgnore},
		{"names", "keys that cannot be files are named", bucketNames},
		{"login", "Secrets, certificates, a proxy, a token service", bucketLogin},
		{"failures", "what is wrong is told, and cured", bucketFailures},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, w.in(t)) })
	}
}

func bucketLife(t *testing.T, w *world) {
	s := newStorage(t, w.storage, "life", nil)
	s.put(map[string]string{"apps/b.yaml": "b: 1\n", "apps/deep/er/c.yaml": "c: 1\n", "a.png": "a", "apps.yaml": "x: 1\n"})
	obj := awaitObject(w, "the artifact", w.createBucket("bucket-life", s.spec()), bucketReady)
	a := *obj.Status.Artifact
	var lines strings.Builder
	for info := range s.client.ListObjects(t.Context(), "life", minio.ListObjectsOptions{Recursive: true}) {
		fmt.Fprintf(&lines, "%s %s\n", info.Key, info.ETag)
	}
	if want := blob.Digest([]byte(lines.String())); a.Revision != want || a.Path != "bucket/default/bucket-life/"+strings.TrimPrefix(want, "sha256:")+".tar.gz" {
		t.Errorf("artifact is %+v, want revision %s", a, want)
	}
	if got, want := w.names(&a), []string{"a.png", "apps/", "apps/b.yaml", "apps/deep/", "apps/deep/er/", "apps/deep/er/c.yaml", "apps.yaml"}; !slices.Equal(got, want) {
		t.Errorf("files are %q", got)
	}
	if got := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready"); got.Message != "stored artifact: revision '"+a.Revision+"'" || !strings.HasSuffix(obj.Status.URL, "/bucket/default/bucket-life/latest.tar.gz") {
		t.Errorf("Ready is %+v, url %s", got, obj.Status.URL)
	}
	w.kubernetesEvent("bucket-life", "NewArtifact", "stored artifact with 4 fetched files from 'life' bucket")

	before := len(s.since(0))
	w.ask(obj, "1")
	awaitObject(w, "the second look", obj, func(o *sourcev1.Bucket) bool { return o.Status.LastHandledReconcileAt == "1" })
	if got := s.since(before); !slices.Equal(got, []string{"GET /life/"}) {
		t.Errorf("a bucket that did not change cost %q", got)
	}
	s.put(map[string]string{"apps/b.yaml": "b: 2\n", "apps/new.yaml": "n: 1\n"})
	w.ask(obj, "2")
	awaitObject(w, "the new revision", obj, func(o *sourcev1.Bucket) bool { return bucketReady(o) && o.Status.Artifact.Revision != a.Revision })
	got := s.since(before + 2)
	if slices.Sort(got); !slices.Equal(got, []string{"GET /life/apps/b.yaml", "GET /life/apps/new.yaml"}) {
		t.Errorf("two changed objects cost %q", got)
	}
	spec := s.spec()
	spec.Prefix = "apps/deep"
	below := awaitObject(w, "a prefix", w.createBucket("bucket-prefix", spec), bucketReady)
	if got := w.names(below.Status.Artifact); !slices.Equal(got, []string{"apps/", "apps/deep/", "apps/deep/er/", "apps/deep/er/c.yaml"}) {
		t.Errorf("files below the prefix are %q", got)
	}
}

func bucketIgnore(t *testing.T, w *world) {
	s := newStorage(t, w.storage, "ignore", nil)
	s.put(map[string]string{".sourceignore": "*.txt\n", "a.txt": "x", "a.yaml": "x", "dir/.sourceignore": "*\n", "dir/b.yaml": "x", ".github/c.yaml": "x"})
	obj := awaitObject(w, "the artifact", w.createBucket("bucket-ignore", s.spec()), bucketReady)
	if got := w.names(obj.Status.Artifact); !slices.Equal(got, []string{".github/", ".github/c.yaml", "a.yaml", "dir/", "dir/.sourceignore", "dir/b.yaml"}) {
		t.Errorf("files are %q", got)
	}
	ignore := "!a.txt\ndir/\n.github/\n"
	obj.Spec.Ignore = &ignore
	if err := w.client.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	awaitObject(w, "the rules of the object", obj, func(o *sourcev1.Bucket) bool { return bucketReady(o) && o.Status.ObservedIgnore != nil })
	if got := w.names(obj.Status.Artifact); !slices.Equal(got, []string{"a.txt", "a.yaml"}) {
		t.Errorf("files are %q", got)
	}
	spec := s.spec()
	spec.Prefix = "a" // the ignore file is not below it, and counts
	below := awaitObject(w, "a prefix", w.createBucket("bucket-ignore-prefix", spec), bucketReady)
	if got := w.names(below.Status.Artifact); !slices.Equal(got, []string{"a.yaml"}) {
		t.Errorf("files below the prefix are %q", got)
	}
}

func bucketNames(t *testing.T, w *world) {
	// A server may list such keys, though the one of the tests keeps none of them.
	listing := func(keys ...string) http.HandlerFunc {
		var body bytes.Buffer
		body.WriteString(`<?xml version="1.0"?><ListBucketResult><Name>names</Name>`)
		for _, key := range keys {
			fmt.Fprintf(&body, "<Contents><Key>%s</Key><ETag>&quot;e&quot;</ETag><Size>1</Size><LastModified>2026-01-02T03:04:05Z</LastModified></Contents>", key)
		}
		body.WriteString(`</ListBucketResult>`)
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body.Bytes()) }
	}
	for name, c := range map[string]struct {
		keys []string
		want string
	}{
		"outside":  {[]string{"../a"}, `object "../a" of bucket 'names' cannot be a file of an artifact`},
		"inside":   {[]string{"a/../../b"}, `object "a/../../b" of bucket 'names' cannot be a file of an artifact`},
		"twice":    {[]string{"a/b", "/a/b"}, "of bucket 'names' need one path to be a file and more"},
		"folder":   {[]string{"a", "a/b"}, `objects "a" and "a/b" of bucket 'names' need one path to be a file and more`},
		"backward": {[]string{`a\b`}, "cannot be a file of an artifact"},
	} {
		server := httptest.NewServer(listing(c.keys...))
		t.Cleanup(server.Close)
		spec := sourcev1.BucketSpec{BucketName: "names", Endpoint: strings.TrimPrefix(server.URL, "http://"), Insecure: true, Region: "us-east-1"}
		awaitObject(w, name, w.createBucket("bucket-name-"+name, spec), bucketFails("FetchFailed", "BucketOperationFailed", c.want))
	}
}

func bucketLogin(t *testing.T, w *world) {
	authority, secured := issuing(t, "storage")
	secure := newStorage(t, w.storage, "login", secured)
	secure.put(map[string]string{"a.yaml": "a: 1\n"})
	plain := newStorage(t, w.storage, "plain", nil)
	plain.put(map[string]string{"a.yaml": "a: 1\n"})
	proxy := gittest.ServeHTTPProxy(t)
	w.secret("s3-ca", map[string]string{"ca.crt": string(authority.Certificate)})
	w.secret("s3-wrong", map[string]string{"accesskey": w.storage.AccessKey, "secretkey": "wrong-key-of-the-test"})
	w.secret("s3-half", map[string]string{"accesskey": w.storage.AccessKey})
	w.secret("s3-proxy", map[string]string{"address": proxy.URL, "username": gittest.ProxyUser, "password": gittest.ProxyPassword})
	w.secret("s3-bad-ca", map[string]string{"ca.crt": "nonsense"})
	w.secret("s3-bad-proxy", map[string]string{"address": "ftp://x"})
	w.secret("s3-ldap", map[string]string{"username": "someone", "password": "pass-phrase"})
	sts := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithLDAPIdentity" || r.FormValue("LDAPUsername") != "someone" || r.FormValue("LDAPPassword") != "pass-phrase" {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprintf(rw, `<AssumeRoleWithLDAPIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithLDAPIdentityResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><Expiration>%s</Expiration></Credentials></AssumeRoleWithLDAPIdentityResult></AssumeRoleWithLDAPIdentityResponse>`,
			w.storage.AccessKey, w.storage.SecretKey, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(sts.Close)

	with := func(s *storage, change func(*sourcev1.BucketSpec)) sourcev1.BucketSpec {
		spec := s.spec()
		change(&spec)
		return spec
	}
	for name, spec := range map[string]sourcev1.BucketSpec{
		"tls":   with(secure, func(s *sourcev1.BucketSpec) { s.Insecure, s.CertSecretRef = false, local("s3-ca") }),
		"proxy": with(plain, func(s *sourcev1.BucketSpec) { s.ProxySecretRef = local("s3-proxy") }),
		"aws":   with(plain, func(s *sourcev1.BucketSpec) { s.Provider = "aws" }),
		"ldap": with(plain, func(s *sourcev1.BucketSpec) {
			s.SecretRef, s.STS = nil, &sourcev1.BucketSTSSpec{Provider: "ldap", Endpoint: sts.URL, SecretRef: local("s3-ldap")}
		}),
	} {
		awaitObject(w, name, w.createBucket("bucket-login-"+name, spec), bucketReady)
	}
	for name, c := range map[string]struct {
		spec         sourcev1.BucketSpec
		reason, text string
	}{
		"wrong":     {with(plain, func(s *sourcev1.BucketSpec) { s.SecretRef = local("s3-wrong") }), "BucketOperationFailed", "failed to confirm existence of 'plain' bucket: "},
		"anonymous": {with(plain, func(s *sourcev1.BucketSpec) { s.SecretRef = nil }), "BucketOperationFailed", "failed to confirm existence of 'plain' bucket: "},
		"half":      {with(plain, func(s *sourcev1.BucketSpec) { s.SecretRef = local("s3-half") }), "AuthenticationFailed", "invalid 's3-half' secret data: required fields 'accesskey' and 'secretkey'"},
		"missing":   {with(plain, func(s *sourcev1.BucketSpec) { s.SecretRef = local("s3-none") }), "AuthenticationFailed", "failed to get secret 'default/s3-none'"},
		"no-ca":     {with(secure, func(s *sourcev1.BucketSpec) { s.Insecure = false }), "BucketOperationFailed", "x509: certificate signed by unknown authority"},
		"bad-proxy": {with(plain, func(s *sourcev1.BucketSpec) { s.ProxySecretRef = local("s3-bad-proxy") }), "AuthenticationFailed", "'address' is no http, https or socks5 URL"},
		"no-ldap": {with(plain, func(s *sourcev1.BucketSpec) {
			s.SecretRef, s.STS = nil, &sourcev1.BucketSTSSpec{Provider: "ldap", Endpoint: sts.URL, SecretRef: local("s3-login")}
		}), "AuthenticationFailed", "the ldap provider needs a secretRef with 'username' and 'password'"},
		"no-cert":  {with(secure, func(s *sourcev1.BucketSpec) { s.CertSecretRef = local("s3-none") }), "AuthenticationFailed", "failed to get secret 'default/s3-none'"},
		"bad-cert": {with(secure, func(s *sourcev1.BucketSpec) { s.CertSecretRef = local("s3-bad-ca") }), "AuthenticationFailed", "failed to parse CA certificate"},
		"no-proxy": {with(plain, func(s *sourcev1.BucketSpec) { s.ProxySecretRef = local("s3-none") }), "AuthenticationFailed", "failed to get secret 'default/s3-none'"},
		"no-sts": {with(plain, func(s *sourcev1.BucketSpec) {
			s.SecretRef, s.STS = nil, &sourcev1.BucketSTSSpec{Provider: "ldap", Endpoint: sts.URL, SecretRef: local("s3-none")}
		}), "AuthenticationFailed", "failed to get secret 'default/s3-none'"},
		"no-sts-cert": {with(plain, func(s *sourcev1.BucketSpec) {
			s.SecretRef, s.STS = nil, &sourcev1.BucketSTSSpec{Provider: "ldap", Endpoint: sts.URL, SecretRef: local("s3-ldap"), CertSecretRef: local("s3-none")}
		}), "AuthenticationFailed", "failed to get secret 'default/s3-none'"},
		"bad-sts-cert": {with(plain, func(s *sourcev1.BucketSpec) {
			s.SecretRef, s.STS = nil, &sourcev1.BucketSTSSpec{Provider: "ldap", Endpoint: sts.URL, SecretRef: local("s3-ldap"), CertSecretRef: local("s3-bad-ca")}
		}), "AuthenticationFailed", "failed to parse CA certificate"},
		"gcp": {with(plain, func(s *sourcev1.BucketSpec) { s.Provider = "gcp" }), "AuthenticationFailed", "invalid 's3-login' secret data: required fields 'serviceaccount'"},
	} {
		awaitObject(w, name, w.createBucket("bucket-refused-"+name, c.spec), bucketFails("FetchFailed", c.reason, c.text))
	}
}

func bucketFailures(t *testing.T, w *world) {
	s := newStorage(t, w.storage, "failures", nil)
	s.put(map[string]string{"a.yaml": "a: 1\n", "b.yaml": "b: 1\n"})
	absent := s.spec()
	absent.BucketName = "absent"
	awaitObject(w, "no bucket", w.createBucket("bucket-absent", absent), bucketFails("FetchFailed", "BucketOperationFailed", "bucket 'absent' not found"))
	s.hiding("/b.yaml")
	obj := awaitObject(w, "an object that cannot be read", w.createBucket("bucket-object", s.spec()),
		bucketFails("FetchFailed", "BucketOperationFailed", "fetch from bucket 'failures' failed: object 'b.yaml': "))
	if obj.Status.Artifact != nil {
		t.Error("half a bucket was stored")
	}
	s.hiding("")
	awaitObject(w, "the cure", obj, bucketReady)
	if err := s.client.MakeBucket(t.Context(), "absent", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitObject(w, "the bucket", &sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bucket-absent"}}, bucketReady)
}
