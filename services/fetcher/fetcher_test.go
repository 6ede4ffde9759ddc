package fetcher_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/s3server"
	"github.com/sluice-gitops/sluice/services/fetcher"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
	"github.com/sluice-gitops/sluice/test/controlplane"
)

// world is a cluster, a bus, a bucket, Git servers and a running fetcher.
type world struct {
	t       *testing.T
	cluster *controlplane.ControlPlane
	client  client.Client
	bus     *bus.Bus
	blobs   *blob.Store
	bucket  string
	storage s3server.Endpoint
	// storageDoor is what the fetcher reaches storage through.
	storageDoor *storageDoor
	root        string
	http        *gittest.Server
	// sigstore is the authority whose root the fetcher trusts where an object names none.
	sigstore sigstore
	// log and traces are what the fetcher says.
	log, traces *record
	metrics     *prometheus.Registry
	// early are deleted before the fetcher has seen them.
	early   []client.Object
	address string
	config  fetcher.Config
	// stop ends the fetcher.
	stop func()
}

// in returns the world for a test within the one that it was made for.
func (w *world) in(t *testing.T) *world {
	in := *w
	in.t = t
	return &in
}

// maxTestIndex is the limit of a Helm index in tests, maxTestBytes and maxTestEntries those of an
// artifact.
const maxTestIndex, maxTestBytes, maxTestEntries = 1 << 20, 16 << 20, 2000

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Chdir(".") // and back: the embedded S3 server goes into its own folder, which ends with the test
	w := &world{t: t, root: t.TempDir(), address: freeAddress(t), log: &record{}, traces: &record{}, metrics: prometheus.NewRegistry()}
	w.cluster = controlplane.StartT(t, controlplane.Options{NoNodes: true, NoControllerManager: true, RequestLog: true, Progress: io.Discard})
	if err := w.cluster.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	scheme, err := kube.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	if w.client, err = client.New(w.cluster.RESTConfig(), client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	exporter, err := stdouttrace.New(stdouttrace.WithWriter(w.traces))
	if err != nil {
		t.Fatal(err)
	}
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter)))
	logger := slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}),
		slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}),
	))
	w.bus, w.bucket = bustest.Connect(t, bustest.Server(t), bus.Config{Logger: logger, Registerer: w.metrics}), t.TempDir()
	w.blobs, w.storage = openBucket(t, w.bucket)
	var behind *blob.Store
	w.storageDoor, behind = newStorageDoor(t, w.storage)
	w.http = gittest.ServeHTTP(t, w.root, false, nil)
	var trusted string
	w.sigstore, trusted = newSigstore(t)
	sigstoreRoot := filepath.Join(t.TempDir(), "trusted_root.json")
	if err := os.WriteFile(sigstoreRoot, []byte(trusted), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fetcher.Config{
		REST: w.cluster.RESTConfig(), Bus: w.bus, Blob: behind, DataDir: t.TempDir(), Single: true, ArtifactAddr: w.address, MaxIndexBytes: maxTestIndex,
		MaxBytes: maxTestBytes, MaxEntries: maxTestEntries,
		SweepEvery: 300 * time.Millisecond, SigstoreRoot: sigstoreRoot,
		ExternalArtifacts: true, ServiceAccountIdentities: true, Logger: logger,
	}
	config.REST.QPS = -1
	w.config = config
	w.early = deletedEarly(t, w.client)
	w.stop = w.start(config)
	t.Cleanup(w.stop)
	return w
}

// start runs a fetcher until stop is called.
func (w *world) start(config fetcher.Config) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan error, 1)
	go func() { done <- fetcher.Run(ctx, config) }()
	return sync.OnceFunc(func() {
		w.http.Release()
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("fetcher: %v", err)
		}
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func openBucket(t *testing.T, dir string) (*blob.Store, s3server.Endpoint) {
	t.Helper()
	server, err := s3server.Start(context.WithoutCancel(t.Context()), s3server.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Logf("stop S3: %v", err)
		}
	})
	e := server.Endpoint()
	store, err := blob.Open(t.Context(), blob.Config{Endpoint: e.Addr, AccessKey: e.AccessKey, SecretKey: e.SecretKey, Region: e.Region, Bucket: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return store, e
}

func (w *world) create(name string, spec sourcev1.GitRepositorySpec) *sourcev1.GitRepository {
	w.t.Helper()
	if spec.Interval.Duration == 0 {
		spec.Interval.Duration = time.Hour
	}
	obj := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	if err := w.client.Create(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
	return obj
}

func branch(name string) *sourcev1.GitRepositoryRef { return &sourcev1.GitRepositoryRef{Branch: name} }

// await reads the object until ok is content with it.
func (w *world) await(what, name string, ok func(*sourcev1.GitRepository) bool) *sourcev1.GitRepository {
	w.t.Helper()
	var obj sourcev1.GitRepository
	w.eventually(what, func() bool {
		obj = sourcev1.GitRepository{}
		err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &obj)
		return err == nil && ok(&obj)
	}, func() any { return obj.Status })
	return &obj
}

// longest is how long is waited for anything: what failed before may be tried again as late as it
// has failed, and the machine may be busy.
const longest = 2 * time.Minute

func (w *world) eventually(what string, ok func() bool, state func() any) {
	w.t.Helper()
	deadline := time.Now().Add(longest)
	for tick := time.NewTicker(10 * time.Millisecond); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s did not come; have %+v", what, state())
		}
	}
}

// request asks for a pass and waits until it is over.
func (w *world) request(name, token string) *sourcev1.GitRepository {
	w.t.Helper()
	obj := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"`+kube.RequestedAt+`":"`+token+`"}}}`))
	if err := w.client.Patch(w.t.Context(), obj, patch); err != nil {
		w.t.Fatal(err)
	}
	return w.await("the pass "+token, name, func(o *sourcev1.GitRepository) bool { return o.Status.LastHandledReconcileAt == token })
}

func key(name string) events.Key { return events.NewKey("GitRepository", "default", name) }

// last returns the newest event of a source.
func last[T events.Data](w *world, name string) (T, bool) {
	w.t.Helper()
	var none T
	log, err := w.bus.Open(w.t.Context(), events.SourceSubject(key(name)))
	if err != nil {
		w.t.Fatal(err)
	}
	e, ok := log.Last()
	if !ok {
		return none, false
	}
	data, err := events.Decode[T](e)
	return data, err == nil
}

func ready(o *sourcev1.GitRepository) bool {
	return apimeta.IsStatusConditionTrue(o.Status.Conditions, "Ready") && o.Status.ObservedGeneration == o.Generation
}

func at(revision string) func(*sourcev1.GitRepository) bool {
	return func(o *sourcev1.GitRepository) bool { return ready(o) && o.Status.Artifact.Revision == revision }
}

func TestFetcher(t *testing.T) {
	w := newWorld(t)
	for _, scenario := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"push to event", latency},
		{"life of a source", lifeOfASource},
		{"failures are told and cured", failures},
		{"a URL that is an option stalls", urlThatIsAnOption},
		{"SHA-256", sha256Repositories},
		{"storage heals", storageHeals},
		{"storage heals, of each kind", storageHealsEach},
		{"notify", notified},
		{"status of before", statusOfBefore},
		{"storage faults", storageFaults},
		{"news that storage takes not", outdated},
		{"storage is tidied", storageTidied},
		{"former artifacts", formerArtifacts},
		{"a build slower than pushes", slowBuild},
		{"storage is swept", storageSwept},
		{"suspend", suspended},
		{"deleted before the finalizer", deletedBeforeFinalizer},
		{"timeout", timesOut},
		{"no change costs one request", noChange},
		{"proxy", proxies},
		{"GitHub App", githubApp},
		{"servers that ask to wait", busyServers},
		{"a host that stalls", stalledHost},
		{"a registry of charts that stalls", stalledRegistry},
		{"packages that stall", stalledPackages},
		{"dependencies that stall", stalledDependencies},
		{"makers that stall", stalledMakers},
		{"a proxy that stalls", stalledProxy},
		{"shared GitRepository", sharedRepositories},
		{"shared OCIRepository", sharedArtifacts},
		{"shared HelmRepository", sharedCharts},
		{"shared charts of a registry", sharedRegistryCharts},
		{"shared Bucket", sharedBuckets},
		{"shared signatures", sharedSignatures},
		{"logins that are no text", loginsOfBytes},
		{"submodules", submodules},
		{"sparse checkout", sparseCheckout},
		{"verified commits and tags", verified},
		{"include", includes},
		{"include that cannot be", includesThatCannotBe},
		{"includes in a circle", includeCycle},
		{"HelmRepository", helmRepositories},
		{"HelmChart", helmCharts},
		{"OCIRepository", ociRepositories},
		{"Bucket", buckets},
		{"ArtifactGenerator", artifactGenerators},
		{"ExternalArtifact of others", foreignArtifacts},
		{"ExternalArtifact of busy servers", foreignManners},
		{"accept", accepted},
		{"hostile servers", hostileServers},
		{"clouds", clouds},                            // the last one but one: it ends the fetcher
		{"no credential is told", noCredentialIsTold}, // the last one: it looks at what the others left
	} {
		t.Run(scenario.name, func(t *testing.T) { scenario.run(t, w.in(t)) })
	}
}

func lifeOfASource(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "life")
	first := repo.Commit("main", "first commit\n\nbody", map[string]string{"a.yaml": "a: 1\n", "run.sh!": "true\n", "picture.png": "x", ".git-not/x": "y"})
	w.create("life", sourcev1.GitRepositorySpec{URL: w.http.URL + "/life", Reference: branch("main")})
	obj := w.await("the first artifact", "life", at("main@sha1:"+first))
	if got := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready"); got.Reason != "Succeeded" || got.Message != "stored artifact for revision 'main@sha1:"+first+"'" {
		t.Errorf("Ready is %+v", got)
	}
	if apimeta.FindStatusCondition(obj.Status.Conditions, "ArtifactInStorage") == nil || len(obj.Status.Conditions) != 2 {
		t.Errorf("conditions are %+v", obj.Status.Conditions)
	}
	if want := "gitrepository/default/life/" + first + ".tar.gz"; obj.Status.Artifact.Path != want || obj.Status.Artifact.URL != "http://"+w.address+"/"+want {
		t.Errorf("artifact is %+v", obj.Status.Artifact)
	}
	if !slices.Contains(obj.Finalizers, kube.Finalizer) {
		t.Errorf("finalizers are %q", obj.Finalizers)
	}
	w.eventually("the event", func() bool {
		e, ok := last[events.SourceChanged](w, "life")
		return ok && e.Digest == obj.Status.Artifact.Digest
	}, func() any { return nil })
	w.download(obj.Status.Artifact)

	second := repo.Commit("main", "second", map[string]string{"a.yaml": "a: 2\n"})
	now := w.request("life", "token-1")
	if now.Status.Artifact.Revision != "main@sha1:"+second {
		t.Errorf("after the request the revision is %s", now.Status.Artifact.Revision)
	}
	w.eventually("the second event", func() bool {
		e, ok := last[events.SourceChanged](w, "life")
		return ok && e.Revision == "main@sha1:"+second && e.PreviousRevision == "main@sha1:"+first && e.Summary == "second"
	}, func() any { return nil })
	w.download(now.Status.Artifact)
	w.download(obj.Status.Artifact) // the previous revision is still served

	if res, err := http.Get("http://" + w.address + "/gitrepository/default/life/" + strings.Repeat("0", 40) + ".tar.gz"); err != nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("unknown artifact: %v %v", res, err)
	} else {
		_ = res.Body.Close()
	}
	told := w.kubernetesEvent("life", "NewArtifact", "stored artifact for commit 'second'").Annotations
	for key, want := range map[string]string{"revision": now.Status.Artifact.Revision, "digest": now.Status.Artifact.Digest} {
		if got := told["source.toolkit.fluxcd.io/"+key]; got != want {
			t.Errorf("the event's %s is %q, want %q", key, got, want)
		}
	}

	ignore := "/*\n!/a.yaml\n"
	now.Spec.Ignore = &ignore
	if err := w.client.Update(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	changed := w.await("the ignore rules", "life", func(o *sourcev1.GitRepository) bool { return ready(o) && o.Status.ObservedIgnore != nil })
	if changed.Status.Artifact.Digest == now.Status.Artifact.Digest {
		t.Error("the ignore rules changed nothing")
	}
	w.download(changed.Status.Artifact)
	w.download(now.Status.Artifact) // who has the status of before gets what it names

	if err := w.client.Delete(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	w.eventually("the end", func() bool {
		err := w.client.Get(t.Context(), client.ObjectKeyFromObject(changed), &sourcev1.GitRepository{})
		left, lerr := w.blobs.List(t.Context(), "artifacts/gitrepository/default/life/")
		return apierrors.IsNotFound(err) && lerr == nil && len(left) == 0
	}, func() any { return nil })
}

func (w *world) download(a *meta.Artifact) {
	w.t.Helper()
	res, err := http.Get(a.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || blob.Digest(body) != a.Digest {
		w.t.Errorf("GET %s: %s, %d bytes, %v", a.URL, res.Status, len(body), err)
	}
	for _, c := range []struct {
		header, value string
		status        int
	}{{"Range", "bytes=5-9", http.StatusPartialContent}, {"If-None-Match", `"` + a.Digest + `"`, http.StatusNotModified}} {
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, a.URL, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set(c.header, c.value)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		part, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != c.status || c.status == http.StatusPartialContent && string(part) != string(body[5:10]) {
			w.t.Errorf("%s %s: %s, %v", c.header, c.value, res.Status, err)
		}
	}
}

func (w *world) kubernetesEvent(name, reason, message string) corev1.Event {
	w.t.Helper()
	var list corev1.EventList
	at := -1
	w.eventually("event "+reason, func() bool {
		if err := w.client.List(w.t.Context(), &list, client.InNamespace("default")); err != nil {
			return false
		}
		at = slices.IndexFunc(list.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Name == name && e.Reason == reason && strings.Contains(e.Message, message)
		})
		return at >= 0
	}, func() any { return list.Items })
	return list.Items[at]
}

func failures(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "failing")
	repo.Commit("main", "first", map[string]string{"a": "1"})
	private := gittest.ServeHTTP(t, w.root, false, gittest.Basic("user", "secret-pass"))
	shell := gittest.ServeSSH(t, w.root, "")
	_, stranger := gittest.NewKey(t, "")
	gittest.NewRepo(t, w.root, "empty")
	secret := func(name string, data map[string]string) *meta.LocalObjectReference {
		err := w.client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, StringData: data})
		if err != nil {
			t.Fatal(err)
		}
		return &meta.LocalObjectReference{Name: name}
	}
	wrong := secret("wrong", map[string]string{"username": "user", "password": "wrong-pass"})
	unknown := secret("unknown-host", map[string]string{"identity": string(shell.Identity), "known_hosts": "example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGIgocvFwsUQWnMNV+qmBwQnyGsWNkSBLfG9PvmdYvWl"})
	nobody := secret("nobody", map[string]string{"identity": string(stranger), "known_hosts": string(shell.KnownHosts)})
	secure, locked := gittest.ServeHTTP(t, w.root, true, nil), gittest.ServeSSH(t, w.root, "open sesame")
	pair := secret("no-pair", map[string]string{"tls.crt": "nonsense", "tls.key": "no-key-of-any-pair", "ca.crt": string(secure.CA)})
	authority := secret("no-authority", map[string]string{"ca.crt": "nonsense"})
	both := secret("both-logins", map[string]string{"username": "user", "password": "other-pass", "bearerToken": "tok3n-value"})
	half := secret("half-login", map[string]string{"username": "user"})
	closed := secret("locked-identity", map[string]string{"identity": string(locked.Identity), "known_hosts": string(locked.KnownHosts)})
	anywhere := secret("no-known-hosts", map[string]string{"identity": string(shell.Identity)})
	for name, c := range map[string]struct {
		spec            sourcev1.GitRepositorySpec
		reason, message string
	}{
		"wrong-credentials": {sourcev1.GitRepositorySpec{URL: private.URL + "/failing", SecretRef: wrong}, "GitOperationFailed", "failed to checkout and determine revision: unable to list remote: authentication required"},
		"missing-secret":    {sourcev1.GitRepositorySpec{URL: private.URL + "/failing", SecretRef: &meta.LocalObjectReference{Name: "none"}}, "AuthenticationFailed", "failed to get secret 'default/none'"},
		"missing-branch":    {sourcev1.GitRepositorySpec{URL: w.http.URL + "/failing", Reference: branch("none")}, "GitOperationFailed", `couldn't find remote ref "refs/heads/none"`},
		"unknown-host-key":  {sourcev1.GitRepositorySpec{URL: shell.URL + "/failing", SecretRef: unknown}, "GitOperationFailed", "knownhosts: key is unknown"},
		"unknown-identity":  {sourcev1.GitRepositorySpec{URL: shell.URL + "/failing", SecretRef: nobody}, "GitOperationFailed", "unable to authenticate"},
		"ssh-without-ref":   {sourcev1.GitRepositorySpec{URL: shell.URL + "/failing"}, "AuthenticationFailed", "an ssh URL needs spec.secretRef"},
		"client-key":        {sourcev1.GitRepositorySpec{URL: secure.URL + "/failing", SecretRef: pair}, "GitOperationFailed", "tls: failed to find any PEM data"},
		"authority":         {sourcev1.GitRepositorySpec{URL: secure.URL + "/failing", SecretRef: authority}, "GitOperationFailed", "x509: "},
		"two-logins":        {sourcev1.GitRepositorySpec{URL: private.URL + "/failing", SecretRef: both}, "AuthenticationFailed", "basic auth and bearer token cannot be set at the same time"},
		"half-a-login":      {sourcev1.GitRepositorySpec{URL: private.URL + "/failing", SecretRef: half}, "AuthenticationFailed", "'username' requires 'password' to be set"},
		"locked-identity":   {sourcev1.GitRepositorySpec{URL: locked.URL + "/failing", SecretRef: closed}, "AuthenticationFailed", "the private key is encrypted"},
		"no-known-hosts":    {sourcev1.GitRepositorySpec{URL: shell.URL + "/failing", SecretRef: anywhere}, "AuthenticationFailed", "'known_hosts' is required"},
		"empty":             {sourcev1.GitRepositorySpec{URL: w.http.URL + "/empty"}, "EmptyGitRepository", "git repository is empty"},
	} {
		w.create(name, c.spec)
		obj := w.await("failure", name, func(o *sourcev1.GitRepository) bool {
			return apimeta.IsStatusConditionTrue(o.Status.Conditions, "FetchFailed")
		})
		got, reconciling := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready"), apimeta.FindStatusCondition(obj.Status.Conditions, "Reconciling")
		if got.Reason != c.reason || got.Status != metav1.ConditionFalse || !strings.Contains(got.Message, c.message) {
			t.Errorf("%s: Ready is %+v", name, got)
		}
		if reconciling == nil || reconciling.Reason != "ProgressingWithRetry" || obj.Status.ObservedGeneration != -1 {
			t.Errorf("%s: observed %d, Reconciling %+v", name, obj.Status.ObservedGeneration, reconciling)
		}
		if strings.Contains(got.Message, "-pass") {
			t.Errorf("%s: the password is in the message", name)
		}
		w.eventually("source.failed of "+name, func() bool { e, ok := last[events.SourceFailed](w, name); return ok && e.Reason == c.reason }, func() any { return nil })
		w.kubernetesEvent(name, c.reason, c.message)
	}
	repo.Git("push", "--quiet", "origin", "main:none")
	w.await("recovery by itself", "missing-branch", ready)
	w.eventually("source.changed", func() bool { _, ok := last[events.SourceChanged](w, "missing-branch"); return ok }, func() any { return nil })
}

// A repository whose objects are named by SHA-256 stalls its object, over HTTP and over SSH.
func sha256Repositories(t *testing.T, w *world) {
	gittest.NewSHA256Repo(t, w.root, "sha256").Commit("main", "first", map[string]string{"a": "1"})
	shell := gittest.ServeSSH(t, w.root, "")
	identity := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "sha256-identity"},
		StringData: map[string]string{"identity": string(shell.Identity), "known_hosts": string(shell.KnownHosts)},
	}
	if err := w.client.Create(t.Context(), identity); err != nil {
		t.Fatal(err)
	}
	for name, spec := range map[string]sourcev1.GitRepositorySpec{
		"sha256-http": {URL: w.http.URL + "/sha256"},
		"sha256-ssh":  {URL: shell.URL + "/sha256", SecretRef: &meta.LocalObjectReference{Name: "sha256-identity"}},
	} {
		w.create(name, spec)
		obj := w.await("the stall", name, func(o *sourcev1.GitRepository) bool {
			return apimeta.IsStatusConditionTrue(o.Status.Conditions, "Stalled")
		})
		got := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready")
		if got.Reason != "GitOperationFailed" || !strings.Contains(got.Message, "SHA-256") || !strings.Contains(got.Message, "spec.url") {
			t.Errorf("%s: Ready is %+v", name, got)
		}
	}
}

func urlThatIsAnOption(t *testing.T, w *world) {
	w.create("option", sourcev1.GitRepositorySpec{URL: "ssh://-oProxyCommand=gotcha/apps"})
	obj := w.await("the stall", "option", func(o *sourcev1.GitRepository) bool {
		return apimeta.IsStatusConditionTrue(o.Status.Conditions, "Stalled")
	})
	got := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready")
	if got.Reason != sourcev1.URLInvalidReason || !strings.Contains(got.Message, "spec.url: the host begins with '-'") {
		t.Errorf("Ready is %+v", got)
	}
}

func storageHeals(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "heal")
	sha := repo.Commit("main", "first", map[string]string{"a": "1"})
	w.create("heal", sourcev1.GitRepositorySpec{URL: w.http.URL + "/heal", Reference: branch("main")})
	obj := w.await("the artifact", "heal", at("main@sha1:"+sha))
	_, hex, _ := strings.Cut(obj.Status.Artifact.Digest, ":")
	name := "artifacts/gitrepository/default/heal/" + hex + ".tar.gz"
	for what, damage := range map[string]func() error{
		"deleted": func() error { return w.blobs.Delete(t.Context(), name) },
		"replaced": func() error {
			return w.blobs.Replace(t.Context(), name, []byte("other"), blob.Digest([]byte("other")))
		},
		"corrupt, which only reading tells": func() error {
			return os.WriteFile(filepath.Join(w.bucket, "data", "test", name), bytes.Repeat([]byte("x"), int(*obj.Status.Artifact.Size)), 0o600)
		},
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		after := w.request("heal", "heal "+what)
		if body, err := w.blobs.Get(t.Context(), name, obj.Status.Artifact.Digest, 1<<20); err != nil || after.Status.Artifact.Digest != blob.Digest(body) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func timesOut(t *testing.T, w *world) {
	gittest.NewRepo(t, w.root, "slow").Commit("main", "first", map[string]string{"a.yaml": "a"})
	slow := gittest.ServeHTTP(t, w.root, false, nil)
	slow.Hold()
	w.create("slow", sourcev1.GitRepositorySpec{URL: slow.URL + "/slow", Reference: branch("main"), Timeout: &metav1.Duration{Duration: 200 * time.Millisecond}})
	obj := w.await("failure", "slow", func(o *sourcev1.GitRepository) bool {
		return apimeta.IsStatusConditionTrue(o.Status.Conditions, "FetchFailed")
	})
	if got := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready").Message; !strings.Contains(got, "timed out after 200ms") {
		t.Errorf("message is %q", got)
	}
	slow.Release()
	w.edit(obj, func(s *sourcev1.GitRepositorySpec) { s.Timeout = nil }) // which is enough on a busy machine, too
	w.await("recovery", "slow", ready)
}
