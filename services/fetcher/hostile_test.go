package fetcher_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/test/pki"
)

// sourceObject is an object of any kind that is fetched.
type sourceObject interface {
	client.Object
	GetConditions() []metav1.Condition
	GetArtifact() *meta.Artifact
}

// victim is a kind of source, whose real server somebody hostile stands in front of.
type victim struct {
	kind string
	// server is the URL of the real one.
	server string
	// content says which requests are for what becomes the artifact.
	content func(r *http.Request) bool
	// follows says that redirects are followed.
	follows bool
	// object is one that is read by way of a URL. It is not made yet.
	object func(name string, by approach) sourceObject
}

// approach is how a server is approached.
type approach struct {
	url     string
	timeout time.Duration
	// ca and login name Secrets; none when empty.
	ca, login string
}

func (a approach) host() string {
	_, host, _ := strings.Cut(a.url, "://")
	return host
}

func (a approach) plain() bool { return strings.HasPrefix(a.url, "http://") }

// patience is what a server is given when it stalls.
const patience = 2 * time.Second

const hostileUser, hostilePassword = "someone", "password-for-one-host"

func hostileServers(t *testing.T, w *world) {
	all := victims(t, w)
	for _, c := range []struct {
		name, why string
		run       func(*testing.T, *world, victim)
	}{
		{"expired", "an expired certificate is told by its name, with the remedy", expiredServer},
		{"truncates", "of an answer that is cut off nothing is published, and it is asked for again", truncatingServer},
		{"stalls", "a server that says no more is given up in time, and holds up nobody else", stallingServer},
		{"redirects", "another host gets no credentials, though the index names one, and is not told where the request comes from", redirectingServer},
	} {
		for _, v := range all {
			t.Run(v.kind+"/"+c.name, func(t *testing.T) { c.run(t, w.in(t), v) })
		}
	}
	t.Run("bombs", func(t *testing.T) { bombs(t, w.in(t)) })
	t.Run("login server redirects", func(t *testing.T) { redirectedLogin(t, w.in(t)) })
}

func victims(t *testing.T, w *world) []victim {
	t.Helper()
	every := metav1.Duration{Duration: time.Hour}
	optional := func(name string) *meta.LocalObjectReference {
		if name == "" {
			return nil
		}
		return local(name)
	}
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }
	gittest.NewRepo(t, w.root, "hostile").Commit("main", "first", map[string]string{"a.yaml": strings.Repeat("a: 1\n", 1000)})
	registry := newRegistry(t, false, nil)
	registry.push(t, "hostile", "v1", nil, layer{mediaType: fluxLayer, content: tarred(t, map[string]string{"a.yaml": "a: 1\n"})})
	charts := chartRepository(t, "app@1.0.0")
	store := newStorage(t, w.storage, "hostile", nil)
	store.put(map[string]string{"a.yaml": strings.Repeat("a: 1\n", 1000)})
	return []victim{
		{
			"git", w.http.URL, func(r *http.Request) bool { return r.Method == http.MethodPost }, true,
			func(name string, by approach) sourceObject {
				secret := by.login
				if secret == "" {
					secret = by.ca
				}
				return &sourcev1.GitRepository{ObjectMeta: named(name), Spec: sourcev1.GitRepositorySpec{
					URL: by.url + "/hostile", Reference: branch("main"), Interval: every, SecretRef: optional(secret), Timeout: &metav1.Duration{Duration: by.timeout},
				}}
			},
		},
		{
			"oci", "http://" + registry.host, func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }, true,
			func(name string, by approach) sourceObject {
				if by.login != "" {
					w.pullSecret(name, by.host(), hostileUser, hostilePassword)
					by.login = name
				}
				return &sourcev1.OCIRepository{ObjectMeta: named(name), Spec: sourcev1.OCIRepositorySpec{
					URL: "oci://" + by.host() + "/hostile", Reference: &sourcev1.OCIRepositoryRef{Tag: "v1"}, Interval: every, Insecure: by.plain(),
					SecretRef: optional(by.login), CertSecretRef: optional(by.ca), Timeout: &metav1.Duration{Duration: by.timeout},
				}}
			},
		},
		{
			"helm", charts.URL, func(r *http.Request) bool { return r.URL.Path == "/index.yaml" }, true,
			func(name string, by approach) sourceObject {
				return &sourcev1.HelmRepository{ObjectMeta: named(name), Spec: sourcev1.HelmRepositorySpec{
					URL: by.url, Interval: every, SecretRef: optional(by.login), CertSecretRef: optional(by.ca), Timeout: &metav1.Duration{Duration: by.timeout},
				}}
			},
		},
		{
			"chart", charts.URL, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, ".tgz") }, true,
			func(name string, by approach) sourceObject {
				// The index is on a server that is none of the hostile ones.
				index := newChartServer(t, map[string][]byte{"/index.yaml": []byte("apiVersion: v1\nentries:\n  app:\n  - {name: app, version: 1.0.0, urls: [" + by.url + "/packages/app-1.0.0.tgz]}\n")})
				spec := sourcev1.HelmRepositorySpec{URL: index.URL, CertSecretRef: optional(by.ca), Timeout: &metav1.Duration{Duration: by.timeout}}
				if by.login != "" {
					spec.SecretRef, spec.PassCredentials = local(by.login), true
				}
				w.createRepository(name, spec)
				of := inRepository("app", "1.0.0", name)
				of.Interval = every
				return &sourcev1.HelmChart{ObjectMeta: named(name), Spec: of}
			},
		},
		{
			"bucket", "http://" + store.host, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/a.yaml") }, false,
			func(name string, by approach) sourceObject {
				login := w.secret(name, map[string]string{"accesskey": w.storage.AccessKey, "secretkey": w.storage.SecretKey})
				return &sourcev1.Bucket{ObjectMeta: named(name), Spec: sourcev1.BucketSpec{
					BucketName: "hostile", Endpoint: by.host(), Insecure: by.plain(), Region: "us-east-1", Interval: every,
					SecretRef: login, CertSecretRef: optional(by.ca), Timeout: &metav1.Duration{Duration: by.timeout},
				}}
			},
		},
	}
}

// hostile stands in front of a real server. What fault answers it does not get.
type hostile struct {
	url   string
	fault atomic.Pointer[fault]
}

func newHostile(t *testing.T, server string, secure *tls.Config) *hostile {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it may be signed
	}}
	h := &hostile{}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if f := h.fault.Load(); f == nil || !(*f)(rw, r) {
			forward.ServeHTTP(rw, r)
		}
	}))
	if secure != nil {
		front.TLS = secure
		front.StartTLS()
	} else {
		front.Start()
	}
	t.Cleanup(front.CloseClientConnections)
	h.url = front.URL
	return h
}

// half answers the first half of what the server would, and then calls end.
func (h *hostile) half(server string, which func(*http.Request) bool, end func(*http.Request)) {
	to, _ := url.Parse(server) // it was parsed before
	f := fault(func(rw http.ResponseWriter, r *http.Request) bool {
		if !which(r) {
			return false
		}
		whole := httptest.NewRecorder()
		(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			p.Out.Host = p.In.Host
		}}).ServeHTTP(whole, r)
		maps.Copy(rw.Header(), whole.Header())
		rw.Header().Set("Content-Length", strconv.Itoa(whole.Body.Len()))
		rw.WriteHeader(whole.Code)
		_, _ = rw.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
		_ = http.NewResponseController(rw).Flush()
		end(r)
		panic(http.ErrAbortHandler)
	})
	h.fault.Store(&f)
}

// make makes an object that is read by way of the hostile server.
func (w *world) make(v victim, name string, by approach) sourceObject {
	w.t.Helper()
	if by.timeout == 0 {
		by.timeout = time.Minute
	}
	obj := v.object(name, by)
	if err := w.client.Create(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
	return obj
}

// failsWith waits until an object tells a failure, with all the texts, and checks that it has
// published nothing.
func (w *world) failsWith(v victim, obj sourceObject, texts ...string) {
	w.t.Helper()
	awaitObject(w, v.kind+" tells "+strings.Join(texts, ", "), obj, func(o sourceObject) bool {
		c := apimeta.FindStatusCondition(o.GetConditions(), "FetchFailed")
		return c != nil && c.Status == metav1.ConditionTrue && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(c.Message, text) })
	})
	w.unpublished(obj)
}

func (w *world) unpublished(obj sourceObject) {
	w.t.Helper()
	if a := obj.GetArtifact(); a != nil {
		w.t.Errorf("published %+v", a)
	}
	kind, err := w.client.GroupVersionKindFor(obj)
	if err != nil {
		w.t.Fatal(err)
	}
	if left, err := w.blobs.List(w.t.Context(), shelf.Prefix(events.NewKey(kind.Kind, obj.GetNamespace(), obj.GetName()))); err != nil || len(left) > 0 {
		w.t.Errorf("storage has %+v, %v", left, err)
	}
}

func (w *world) recovers(v victim, obj sourceObject) {
	w.t.Helper()
	awaitObject(w, "the artifact of "+v.kind, obj, func(o sourceObject) bool {
		return apimeta.IsStatusConditionTrue(o.GetConditions(), "Ready") && o.GetArtifact() != nil
	})
	w.download(obj.GetArtifact())
}

func expiredServer(t *testing.T, w *world, v victim) {
	authority, err := pki.NewAuthority("hostile")
	if err != nil {
		t.Fatal(err)
	}
	identity, err := authority.Expired("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(identity.Certificate, identity.Key)
	if err != nil {
		t.Fatal(err)
	}
	h := newHostile(t, v.server, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
	ca := "hostile-ca-" + v.kind
	w.secret(ca, map[string]string{"ca.crt": string(authority.Certificate)})
	obj := w.make(v, "hostile-expired-"+v.kind, approach{url: h.url, ca: ca})
	w.failsWith(v, obj, "certificate has expired or is not yet valid: that of '127.0.0.1' is valid from ", ": renew it on the server")
	// Each try says the same, or each would be a new event.
	first := apimeta.FindStatusCondition(obj.GetConditions(), "FetchFailed").Message
	w.ask(obj, "again")
	w.failsWith(v, obj, first)
}

func truncatingServer(t *testing.T, w *world, v victim) {
	h := newHostile(t, v.server, nil)
	h.half(v.server, v.content, func(*http.Request) {})
	obj := w.make(v, "hostile-truncated-"+v.kind, approach{url: h.url})
	w.failsWith(v, obj, "EOF")
	h.fault.Store(nil)
	w.recovers(v, obj)
}

func stallingServer(t *testing.T, w *world, v victim) {
	h := newHostile(t, v.server, nil)
	stalled := make(chan struct{}, 100)
	h.half(v.server, v.content, func(r *http.Request) {
		stalled <- struct{}{}
		<-r.Context().Done()
	})
	obj := w.make(v, "hostile-stalled-"+v.kind, approach{url: h.url, timeout: patience})
	<-stalled
	w.recovers(v, w.make(v, "hostile-beside-"+v.kind, approach{url: newHostile(t, v.server, nil).url}))
	w.failsWith(v, obj, "timed out after "+patience.String())
	h.fault.Store(nil)
	w.moreTime(v, obj)
	w.recovers(v, obj)
}

// moreTime lets an object's server answer slowly.
func (w *world) moreTime(v victim, obj sourceObject) {
	w.t.Helper()
	var of client.Object = obj
	if v.kind == "chart" {
		of = &sourcev1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: obj.GetNamespace(), Name: obj.GetName()}}
	}
	if err := w.client.Patch(w.t.Context(), of, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"timeout":"1m"}}`))); err != nil {
		w.t.Fatal(err)
	}
}

// elsewhere is another host, in front of the same server, that keeps what it is sent.
func elsewhere(t *testing.T, server string) (at string, seen func() []http.Header) {
	t.Helper()
	var mu sync.Mutex
	var all []http.Header
	h := newHostile(t, server, nil)
	f := fault(func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r.Header.Clone())
		return false
	})
	h.fault.Store(&f)
	return h.url, func() []http.Header {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func redirectingServer(t *testing.T, w *world, v victim) {
	h := newHostile(t, v.server, nil)
	at, seen := elsewhere(t, v.server)
	f := fault(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" {
			rw.Header().Set("WWW-Authenticate", `Basic realm="hostile"`)
			rw.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if r.URL.Path == "/v2/" {
			return true
		}
		http.Redirect(rw, r, at+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		return true
	})
	h.fault.Store(&f)
	login := "hostile-login-" + v.kind
	w.secret(login, map[string]string{"username": hostileUser, "password": hostilePassword})
	obj := w.make(v, "hostile-redirected-"+v.kind, approach{url: h.url, login: login})
	if v.follows {
		w.recovers(v, obj)
	} else {
		w.failsWith(v, obj)
	}
	if got := len(seen()); (got > 0) != v.follows {
		t.Errorf("the other host got %d requests", got)
	}
	for _, header := range seen() {
		for _, name := range []string{"Authorization", "Referer", "Cookie"} {
			if value := header.Get(name); value != "" {
				t.Errorf("the other host was told %s: %s", name, value)
			}
		}
	}
}

// redirectedLogin has a token service that sends the login on to another host.
func redirectedLogin(t *testing.T, w *world) {
	var got atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got.Add(1) }))
	t.Cleanup(other.Close)
	sts := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(sts.Close)
	w.secret("hostile-ldap", map[string]string{"username": hostileUser, "password": hostilePassword})
	awaitObject(w, "the refusal", w.createBucket("hostile-ldap", sourcev1.BucketSpec{
		BucketName: "hostile", Endpoint: w.storage.Addr, Insecure: true, Region: "us-east-1",
		STS: &sourcev1.BucketSTSSpec{Provider: "ldap", Endpoint: sts.URL, SecretRef: local("hostile-ldap")},
	}), bucketFails("FetchFailed", "BucketOperationFailed", "failed to confirm existence of 'hostile' bucket: "))
	if n := got.Load(); n > 0 {
		t.Errorf("the login was sent on %d times", n)
	}
}

// zeros is a tar, compressed, of one file of zeros.
func zeros(t *testing.T, name string, size int64) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	entries := tar.NewWriter(zip)
	if err := entries.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(entries, endless{}, size); err != nil {
		t.Fatal(err)
	}
	if err := entries.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// endless is all zeros.
type endless struct{}

// Read implements io.Reader.
func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// crowd is a tar, compressed, of many empty files.
func crowd(t *testing.T, name string, entries int) []byte {
	t.Helper()
	var one, out bytes.Buffer
	if err := tar.NewWriter(&one).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	for range entries {
		if _, err := zip.Write(one.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// forever answers with a beginning, and then with one piece over and over until nobody reads.
func forever(beginning, piece string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		_, err := io.WriteString(rw, beginning)
		pieces := strings.Repeat(piece, 1000)
		for err == nil && r.Context().Err() == nil {
			_, err = io.WriteString(rw, pieces)
		}
	}
}

const listed = `<Contents><Key>%s</Key><ETag>&quot;e&quot;</ETag><Size>1</Size><LastModified>2026-01-02T03:04:05Z</LastModified></Contents>`

// bombs are small to send and large to keep, or have no end.
func bombs(t *testing.T, w *world) {
	serve := func(h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.CloseClientConnections)
		return server.URL
	}
	host := func(at string) string { return strings.TrimPrefix(at, "http://") }

	large := gittest.NewRepo(t, w.root, "bomb-large")
	large.Commit("main", "first", map[string]string{"zeros": string(make([]byte, maxTestBytes+1))})
	files := map[string]string{}
	for n := range maxTestEntries {
		files[fmt.Sprintf("dir/%d", n)] = ""
	}
	gittest.NewRepo(t, w.root, "bomb-crowd").Commit("main", "first", files)
	for name, text := range map[string]string{"bomb-large": "more than 16777216 bytes in all", "bomb-crowd": "more than 2000 files and folders"} {
		w.create(name, sourcev1.GitRepositorySpec{URL: w.http.URL + "/" + name, Reference: branch("main")})
		w.await(name, name, func(o *sourcev1.GitRepository) bool {
			c := apimeta.FindStatusCondition(o.Status.Conditions, "Ready")
			return c != nil && c.Status == metav1.ConditionFalse && strings.Contains(c.Message, text)
		})
	}

	registry := newRegistry(t, false, nil)
	registry.push(t, "bombs", "large", nil, layer{mediaType: fluxLayer, content: zeros(t, "zeros", maxTestBytes+1)})
	registry.push(t, "bombs", "crowd", nil, layer{mediaType: fluxLayer, content: crowd(t, "a", maxTestEntries+1)})
	tags := make([]string, 20_000)
	for n := range tags {
		tags[n] = fmt.Sprintf(`"v%d"`, n)
	}
	page := `{"tags":[` + strings.Join(tags, ",") + `]}`
	endlessPages := serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			rw.Header().Set("Link", "</v2/bombs/tags/list?n=1>; rel=\"next\"")
			_, _ = io.WriteString(rw, page)
		}
	}))
	longPage := forever(`{"tags":["v1"`, `,"v1"`)
	endlessPage := serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			longPage(rw, r)
		}
	}))
	all := &sourcev1.OCIRepositoryRef{SemVer: "*"}
	for name, c := range map[string]struct {
		url, reason, text string
		ref               *sourcev1.OCIRepositoryRef
	}{
		"large":         {registry.host, "OCIArtifactLayerOperationFailed", "more than 16777216 bytes in all", &sourcev1.OCIRepositoryRef{Tag: "large"}},
		"crowd":         {registry.host, "OCIArtifactLayerOperationFailed", "more than 2000 entries", &sourcev1.OCIRepositoryRef{Tag: "crowd"}},
		"endless pages": {host(endlessPages), "ReadOperationFailed", "more than the 1000000 tags", all},
		"endless page":  {host(endlessPage), "ReadOperationFailed", "the server's answer has more than the 1048576 values", all},
	} {
		spec := sourcev1.OCIRepositorySpec{URL: "oci://" + c.url + "/bombs", Insecure: true, Reference: c.ref}
		w.unpublished(awaitObject(w, name, w.createOCI("bomb-"+strings.ReplaceAll(name, " ", "-"), spec), ociFails("FetchFailed", c.reason, c.text)))
	}

	var small bytes.Buffer
	zip := gzip.NewWriter(&small)
	if _, err := io.CopyN(zip, endless{}, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	laughs := "apiVersion: v1\na0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for n := 1; n < 9; n++ {
		laughs += fmt.Sprintf("a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", n, n, n-1, n-1, n-1, n-1, n-1, n-1, n-1, n-1, n-1)
	}
	for name, c := range map[string]struct {
		url, reason, text string
	}{
		"bomb-index-packed": {serve(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			_, _ = rw.Write(small.Bytes())
		})), "Failed", "it has more than the 1048576 bytes"},
		"bomb-index-endless": {serve(forever("apiVersion: v1\nentries:\n", "  app: []\n")), "Failed", "it has more than the 1048576 bytes"},
		"bomb-index-aliases": {newChartServer(t, map[string][]byte{"/index.yaml": []byte(laughs + "entries: {}\n")}).URL, "IndexationFailed", "excessive aliasing"},
	} {
		w.unpublished(awaitObject(w, name, w.createRepository(name, sourcev1.HelmRepositorySpec{URL: c.url}), func(o *sourcev1.HelmRepository) bool {
			return fails(o.Status.Conditions, "FetchFailed", c.reason, c.text)
		}))
	}

	charts := chartRepository(t, "large@1.0.0", "crowd@1.0.0")
	charts.put("/packages/large-1.0.0.tgz", zeros(t, "large/zeros", 256<<20))
	charts.put("/packages/crowd-1.0.0.tgz", crowd(t, "crowd/templates/a", 300_000))
	w.createRepository("bomb-charts", sourcev1.HelmRepositorySpec{URL: charts.URL})
	for _, name := range []string{"large", "crowd"} {
		w.unpublished(awaitObject(w, name, w.createChart("bomb-chart-"+name, inRepository(name, "*", "bomb-charts")),
			chartFails("FetchFailed", "ChartPullError", "it expands to more than 134217728 bytes")))
	}

	listing := `<?xml version="1.0"?><ListBucketResult><Name>bombs</Name>`
	var keys strings.Builder
	for n := range 1000 {
		fmt.Fprintf(&keys, listed, fmt.Sprint("a", n))
	}
	liar := newStorage(t, w.storage, "bomb-liar", nil)
	liar.put(map[string]string{"a.yaml": "a: 1\n"})
	lies := newHostile(t, "http://"+liar.host, nil)
	f := fault(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/a.yaml") {
			return false
		}
		rw.Header().Set("ETag", `"e"`)
		rw.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		forever("", "aaaa")(rw, r)
		return true
	})
	lies.fault.Store(&f)
	for name, c := range map[string]struct{ url, bucket, text string }{
		"bomb-pages": {serve(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(rw, listing+"<IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken>"+keys.String()+"</ListBucketResult>")
		})), "bombs", "lists more than 8000 objects"},
		"bomb-page":     {serve(forever(listing, fmt.Sprintf(listed, strings.Repeat("a", 1000)))), "bombs", "the server's answer has more than the 131072 objects or elements"},
		"bomb-elements": {serve(forever(listing, "<Contents/>")), "bombs", "the server's answer has more than the 131072 objects or elements"},
		"bomb-object":   {lies.url, "bomb-liar", "it has not the 5 bytes it should"},
	} {
		spec := sourcev1.BucketSpec{BucketName: c.bucket, Endpoint: host(c.url), Insecure: true, Region: "us-east-1"}
		if c.bucket == "bomb-liar" {
			spec.SecretRef = w.secret(name, map[string]string{"accesskey": w.storage.AccessKey, "secretkey": w.storage.SecretKey})
		}
		w.unpublished(awaitObject(w, name, w.createBucket(name, spec), bucketFails("FetchFailed", "BucketOperationFailed", c.text)))
	}
}
