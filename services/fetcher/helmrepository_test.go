package fetcher_test

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/test/pki"
)

// chartServer is a Helm repository of files.
type chartServer struct {
	*httptest.Server

	mu    sync.Mutex
	files map[string][]byte
	// user and password are asked for when set.
	user, password string
	requests       []string
	// sent counts the bytes of answers with a body.
	sent int
}

func newChartServer(t *testing.T, files map[string][]byte) *chartServer {
	t.Helper()
	s := &chartServer{files: files}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// ServeHTTP implements http.Handler.
func (s *chartServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, password, _ := r.BasicAuth()
	s.requests = append(s.requests, strings.TrimSpace(r.URL.RequestURI()+" "+user))
	body, ok := s.files[r.URL.Path]
	etag := `"` + blob.Digest(body) + `"`
	switch {
	case s.user != "" && (user != s.user || password != s.password):
		w.WriteHeader(http.StatusUnauthorized)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case r.Header.Get("If-None-Match") == etag:
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("ETag", etag)
		s.sent += len(body)
		_, _ = w.Write(body) // the client may be gone
	}
}

func (s *chartServer) put(path string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = body
}

// since returns the requests after the first n, and the bytes of all answers.
func (s *chartServer) since(n int) ([]string, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests[n:]...), s.sent
}

// awaitObject reads an object until ok is content with it.
func awaitObject[T client.Object](w *world, what string, obj T, ok func(T) bool) T {
	w.t.Helper()
	w.eventually(what, func() bool {
		return w.client.Get(w.t.Context(), client.ObjectKeyFromObject(obj), obj) == nil && ok(obj)
	}, func() any {
		text, err := json.Marshal(obj)
		if err != nil {
			return err
		}
		return string(text)
	})
	return obj
}

// ask asks for a pass over an object.
func (w *world) ask(obj client.Object, token string) {
	w.t.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"`+kube.RequestedAt+`":"`+token+`"}}}`))
	if err := w.client.Patch(w.t.Context(), obj, patch); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) createRepository(name string, spec sourcev1.HelmRepositorySpec) *sourcev1.HelmRepository {
	w.t.Helper()
	if spec.Interval.Duration == 0 && spec.Type != sourcev1.HelmRepositoryTypeOCI {
		spec.Interval.Duration = time.Hour
	}
	obj := &sourcev1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	if err := w.client.Create(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
	return obj
}

func repositoryReady(o *sourcev1.HelmRepository) bool {
	return apimeta.IsStatusConditionTrue(o.Status.Conditions, "Ready") && o.Status.ObservedGeneration == o.Generation
}

// fails is content with an object of which a condition, and Ready, tell a failure.
func fails(conditions []metav1.Condition, kind, reason, text string) bool {
	status := metav1.ConditionTrue
	if kind == "SourceVerified" {
		status = metav1.ConditionFalse
	}
	c, r := apimeta.FindStatusCondition(conditions, kind), apimeta.FindStatusCondition(conditions, "Ready")
	return c != nil && r != nil && c.Status == status && c.Reason == reason && strings.Contains(c.Message, text) &&
		r.Status == metav1.ConditionFalse && r.Reason == reason && r.Message == c.Message
}

func local(name string) *meta.LocalObjectReference { return &meta.LocalObjectReference{Name: name} }

const oneChart = "apiVersion: v1\nentries:\n  app:\n  - name: app\n    version: 1.0.0\n    urls: [app-1.0.0.tgz]\n"

func helmRepositories(t *testing.T, w *world) {
	for _, c := range []struct {
		name, why string
		run       func(*testing.T, *world)
	}{
		{"life", "the index is an artifact, an unchanged one costs one request without a body, a new one moves the revision", repositoryLife},
		{"login", "credentials are sent, and not to another host", repositoryLogin},
		{"TLS", "a certificate of an own authority, by certSecretRef and by the legacy keys", repositoryTLS},
		{"failures", "what is wrong is told, and cured", repositoryFailures},
		{"to oci", "one that becomes static loses artifact, conditions and finalizer", repositoryToOCI},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, w.in(t)) })
	}
}

func repositoryLife(t *testing.T, w *world) {
	s := newChartServer(t, map[string][]byte{"/charts/index.yaml": []byte(oneChart)})
	obj := awaitObject(w, "the first index", w.createRepository("helm-life", sourcev1.HelmRepositorySpec{URL: s.URL + "/charts"}), repositoryReady)
	first := *obj.Status.Artifact
	if got := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready"); got.Reason != "Succeeded" || got.Message != "stored artifact: revision '"+first.Revision+"'" {
		t.Errorf("Ready is %+v", got)
	}
	if first.Revision != first.Digest || first.Path != "helmrepository/default/helm-life/index-"+strings.TrimPrefix(first.Digest, "sha256:")+".yaml" {
		t.Errorf("artifact is %+v", first)
	}
	w.download(&first)
	if stored, err := w.blobs.Get(t.Context(), shelf.BlobName(events.NewKey("HelmRepository", "default", "helm-life"), first.Digest), first.Digest, 1<<20); err != nil || !json.Valid(stored) {
		t.Errorf("the index is stored as %q, %v, which is no JSON", stored, err)
	}
	latest := first
	latest.URL = obj.Status.URL
	w.download(&latest)
	if !strings.HasSuffix(latest.URL, "/helmrepository/default/helm-life/index.yaml") {
		t.Errorf("status.url is %s", latest.URL)
	}
	w.kubernetesEvent("helm-life", "NewArtifact", "stored fetched index of size ")

	_, sent := s.since(0)
	w.ask(obj, "1")
	awaitObject(w, "the second look", obj, func(o *sourcev1.HelmRepository) bool { return o.Status.LastHandledReconcileAt == "1" })
	if requests, now := s.since(1); len(requests) != 1 || now != sent {
		t.Errorf("an unchanged index cost %q and %d bytes", requests, now-sent)
	}

	s.put("/charts/index.yaml", []byte(strings.ReplaceAll(oneChart, "1.0.0", "1.1.0")))
	w.ask(obj, "2")
	awaitObject(w, "the new index", obj, func(o *sourcev1.HelmRepository) bool {
		return repositoryReady(o) && o.Status.LastHandledReconcileAt == "2" && o.Status.Artifact.Revision != first.Revision
	})
	if err := w.client.Delete(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	w.eventually("the end", func() bool {
		left, err := w.blobs.List(t.Context(), "artifacts/helmrepository/default/helm-life/")
		return err == nil && len(left) == 0 && client.IgnoreNotFound(w.client.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)) == nil
	}, func() any { return nil })
}

func repositoryLogin(t *testing.T, w *world) {
	other := newChartServer(t, map[string][]byte{"/index.yaml": []byte(oneChart)})
	s := newChartServer(t, map[string][]byte{"/index.yaml": []byte(oneChart)})
	s.user, s.password = "someone", "pass-phrase"
	w.secret("helm-login", map[string]string{"username": s.user, "password": s.password})
	w.secret("helm-half", map[string]string{"username": s.user})
	awaitObject(w, "the index", w.createRepository("helm-login", sourcev1.HelmRepositorySpec{URL: s.URL, SecretRef: local("helm-login")}), repositoryReady)

	in := newChartServer(t, map[string][]byte{"/index.yaml": []byte(oneChart)})
	in.user, in.password = "someone", "word-of-a-url"
	within := strings.Replace(in.URL, "http://", "http://"+in.user+":"+in.password+"@", 1)
	awaitObject(w, "the index by a login in the URL", w.createRepository("helm-within", sourcev1.HelmRepositorySpec{URL: within}), repositoryReady)
	if told := w.kubernetesEvent("helm-within", "NewArtifact", "stored fetched index of size ").Message; strings.Contains(told, in.password) {
		t.Errorf("the event tells the password: %s", told)
	}

	away := httptest.NewServer(http.RedirectHandler(other.URL+"/index.yaml", http.StatusFound))
	t.Cleanup(away.Close)
	awaitObject(w, "the redirected index", w.createRepository("helm-away", sourcev1.HelmRepositorySpec{URL: away.URL, SecretRef: local("helm-login")}), repositoryReady)
	if got, _ := other.since(0); len(got) != 1 || got[0] != "/index.yaml" {
		t.Errorf("the other host got %q", got)
	}
	for _, c := range []struct{ name, secret, condition, reason, text string }{
		{"helm-anonymous", "", "FetchFailed", "Failed", "failed to fetch Helm repository index: failed to fetch " + s.URL + "/index.yaml : 401 Unauthorized"},
		{"helm-none", "helm-missing", "FetchFailed", "AuthenticationFailed", "failed to get secret 'default/helm-missing'"},
		{"helm-half", "helm-half", "FetchFailed", "AuthenticationFailed", "'username' and 'password' go together"},
	} {
		spec := sourcev1.HelmRepositorySpec{URL: s.URL}
		if c.secret != "" {
			spec.SecretRef = local(c.secret)
		}
		obj := w.createRepository(c.name, spec)
		awaitObject(w, c.reason, obj, func(o *sourcev1.HelmRepository) bool {
			return fails(o.Status.Conditions, c.condition, c.reason, c.text)
		})
	}
	w.secret("helm-missing", map[string]string{"username": s.user, "password": s.password})
	awaitObject(w, "the cure", &sourcev1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "helm-none"}}, repositoryReady)
}

func repositoryTLS(t *testing.T, w *world) {
	authority, err := pki.NewAuthority("charts")
	if err != nil {
		t.Fatal(err)
	}
	s := &chartServer{files: map[string][]byte{"/index.yaml": []byte(oneChart)}}
	s.Server = httptest.NewUnstartedServer(s)
	identity, err := authority.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(identity.Certificate, identity.Key)
	if err != nil {
		t.Fatal(err)
	}
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	w.secret("helm-ca", map[string]string{"ca.crt": string(authority.Certificate)})
	w.secret("helm-legacy", map[string]string{"caFile": string(authority.Certificate)})
	w.secret("helm-bad-ca", map[string]string{"ca.crt": "nonsense"})
	awaitObject(w, "certSecretRef", w.createRepository("helm-ca", sourcev1.HelmRepositorySpec{URL: s.URL, CertSecretRef: local("helm-ca")}), repositoryReady)
	awaitObject(w, "legacy keys", w.createRepository("helm-legacy", sourcev1.HelmRepositorySpec{URL: s.URL, SecretRef: local("helm-legacy")}), repositoryReady)
	for name, c := range map[string]struct {
		secret *meta.LocalObjectReference
		reason string
		text   string
	}{
		"helm-no-ca":  {nil, "Failed", "x509: certificate signed by unknown authority"},
		"helm-bad-ca": {local("helm-bad-ca"), "AuthenticationFailed", "failed to parse CA certificate"},
	} {
		awaitObject(w, name, w.createRepository(name, sourcev1.HelmRepositorySpec{URL: s.URL, CertSecretRef: c.secret}), func(o *sourcev1.HelmRepository) bool {
			return fails(o.Status.Conditions, "FetchFailed", c.reason, c.text)
		})
	}
}

func repositoryFailures(t *testing.T, w *world) {
	s := newChartServer(t, map[string][]byte{
		"/page/index.yaml": []byte("<html><body>hello</body></html>"), "/empty/index.yaml": {},
		"/large/index.yaml": []byte("apiVersion: v1\nentries: {}\n#" + strings.Repeat("x", maxTestIndex)),
	})
	for _, c := range []struct {
		name, url, reason, text string
		stalled                 bool
	}{
		{"helm-page", s.URL + "/page", "IndexationFailed", "failed to load Helm repository from index YAML: ", false},
		{"helm-empty", s.URL + "/empty", "IndexationFailed", "empty index.yaml file", false},
		{"helm-large", s.URL + "/large", "Failed", "it has more than the ", false},
		{"helm-absent", s.URL + "/absent", "Failed", "failed to fetch Helm repository index: failed to fetch " + s.URL + "/absent/index.yaml : 404 Not Found", false},
		{"helm-scheme", "oci://registry.example.com/charts", "Failed", `scheme "oci" not supported`, true},
		{"helm-url", "http://", "URLInvalid", "invalid Helm repository URL", true},
	} {
		obj := awaitObject(w, c.name, w.createRepository(c.name, sourcev1.HelmRepositorySpec{URL: c.url}), func(o *sourcev1.HelmRepository) bool {
			return fails(o.Status.Conditions, "FetchFailed", c.reason, c.text)
		})
		if stalled := apimeta.IsStatusConditionTrue(obj.Status.Conditions, "Stalled"); stalled != c.stalled {
			t.Errorf("%s: stalled is %t", c.name, stalled)
		}
	}
	s.put("/absent/index.yaml", []byte(oneChart))
	awaitObject(w, "the cure", &sourcev1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "helm-absent"}}, repositoryReady)
}

func repositoryToOCI(t *testing.T, w *world) {
	s := newChartServer(t, map[string][]byte{"/index.yaml": []byte(oneChart)})
	obj := awaitObject(w, "the index", w.createRepository("helm-oci", sourcev1.HelmRepositorySpec{URL: s.URL}), repositoryReady)
	obj.Spec.Type, obj.Spec.URL = sourcev1.HelmRepositoryTypeOCI, "oci://registry.example.com/charts"
	if err := w.client.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	awaitObject(w, "a static object", obj, func(o *sourcev1.HelmRepository) bool {
		left, err := w.blobs.List(t.Context(), "artifacts/helmrepository/default/helm-oci/")
		return o.Status.Artifact == nil && o.Status.URL == "" && len(o.Status.Conditions) == 0 && len(o.Finalizers) == 0 && err == nil && len(left) == 0
	})
}
