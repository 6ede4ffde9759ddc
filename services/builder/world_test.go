package builder_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/natsserver"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/s3server"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/builder"
	"github.com/sluice-gitops/sluice/test/controlplane"
)

func TestMain(m *testing.M) {
	if builder.SandboxMain() {
		return
	}
	os.Exit(m.Run())
}

const (
	cluster   = "local"
	userAgent = "sluice-builder"
	patience  = 30 * time.Second
)

// world is a real API server, bus and bucket, and a builder on them. The tests
// are the fetcher.
type world struct {
	t     testing.TB // whole run, that what is started for all cases ends with
	plane *controlplane.ControlPlane
	client.Client
	nats  *natsserver.Server
	bus   *bus.Bus
	blobs *blob.Store
	// folder is where the bucket keeps its objects as files.
	folder string
	keys   *seal.Keyring
}

func newWorld(t testing.TB) *world {
	t.Helper()
	plane := controlplane.StartT(t, controlplane.Options{NoNodes: true, NoControllerManager: true, RequestLog: true})
	if err := plane.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	scheme, err := kube.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	admin := plane.RESTConfig()
	admin.QPS = -1
	c, err := client.New(admin, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, plane: plane, Client: c, nats: bustest.Server(t), folder: t.TempDir()}
	w.blobs = openBlobs(t, w.folder)
	w.bus = bustest.Connect(t, w.nats, bus.Config{})
	if w.keys, err = seal.ParseKeyring(seal.NewKeyringData()); err != nil {
		t.Fatal(err)
	}
	return w
}

func openBlobs(t testing.TB, dir string) *blob.Store {
	t.Helper()
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	server, err := s3server.Start(context.WithoutCancel(t.Context()), s3server.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(server.Stop(context.Background()), os.Chdir(before)); err != nil { //nolint:usetesting // the server changes it, and t.Chdir forbids parallel tests
			t.Errorf("stop S3 server: %v", err)
		}
	})
	e := server.Endpoint()
	store, err := blob.Open(t.Context(), blob.Config{Endpoint: e.Addr, Bucket: "sluice", AccessKey: e.AccessKey, SecretKey: e.SecretKey})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// start runs a builder until the test ends or stop is called.
func (w *world) start(edit func(*builder.Config)) (stop func()) {
	t := w.t
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cfg := rest.CopyConfig(w.plane.RESTConfig())
	cfg.QPS, cfg.UserAgent = -1, userAgent+"/test"
	c := builder.Config{
		Settings: builder.Settings{ConfigSelector: "reconcile.fluxcd.io/watch=Enabled"},
		REST:     cfg, Bus: w.bus, Blob: w.blobs, Keys: w.keys, ClusterName: cluster, Single: true, Concurrency: 4,
		DataDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if edit != nil {
		edit(&c)
	}
	done := make(chan error, 1)
	go func() { done <- builder.Run(ctx, c) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("builder ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// app is a Kustomization with its source and namespace.
type app struct {
	*world
	t         testing.TB
	namespace string
	name      string
	files     map[string]string
	revision  string
	digest    string
}

// manifests of a small app.
func files(value string) map[string]string {
	return map[string]string{"app/a.yaml": configMap("a", value), "other/b.yaml": configMap("b", value)}
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: x\ndata:\n  k: %s\n", name, value)
}

// newApp makes a namespace and a Kustomization of a source that has no artifact.
func (w *world) newApp(t testing.TB, edit func(*kustomizev1.Kustomization)) *app {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "app-"}}
	if err := w.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	a := &app{world: w, t: t, namespace: namespace.Name, name: "app"}
	a.must(w.Create(t.Context(), &sourcev1.GitRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "repo"},
		Spec:       sourcev1.GitRepositorySpec{URL: "https://example.com/repo.git", Interval: metav1.Duration{Duration: time.Hour}},
	}))
	a.create(edit)
	return a
}

func (a *app) create(edit func(*kustomizev1.Kustomization)) {
	a.t.Helper()
	ks := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: a.name},
		Spec: kustomizev1.KustomizationSpec{
			Interval: metav1.Duration{Duration: time.Hour}, RetryInterval: &metav1.Duration{Duration: time.Hour}, Path: "app",
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "repo"},
		},
	}
	if edit != nil {
		edit(ks)
	}
	a.must(a.Create(a.t.Context(), ks))
}

func (a *app) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// push stores files as an artifact and moves the source to it, as a fetcher does.
func (a *app) push(revision string, content map[string]string) {
	a.t.Helper()
	a.pushQuietly(revision, content)
	a.announce()
}

// pushQuietly is a push whose event is lost.
func (a *app) pushQuietly(revision string, content map[string]string) {
	a.t.Helper()
	body := pack(a.t, content)
	a.files, a.revision, a.digest = content, revision, blob.Digest(body)
	a.must(a.blobs.Put(a.t.Context(), a.artifact(), body, a.digest))
	a.moveSource()
}

func (a *app) artifact() string {
	return fmt.Sprintf("artifacts/gitrepository/%s/repo/%s.tar.gz", a.namespace, strings.TrimPrefix(a.digest, "sha256:"))
}

func (a *app) moveSource() {
	a.t.Helper()
	source := &sourcev1.GitRepository{}
	a.must(a.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "repo"}, source))
	source.Status.Artifact = &fluxmeta.Artifact{
		Revision: a.revision, Digest: a.digest, Path: "p", URL: "http://example.com/p",
		LastUpdateTime: metav1.Now(), Metadata: map[string]string{"org.opencontainers.image.revision": "origin-" + a.revision},
	}
	a.must(a.Status().Update(a.t.Context(), source))
}

func (a *app) announce() {
	a.t.Helper()
	source := events.NewKey("GitRepository", a.namespace, "repo")
	log, err := a.bus.Open(a.t.Context(), events.SourceSubject(source))
	a.must(err)
	e, err := events.New("fetcher", source, events.SourceChanged{Source: source, Revision: a.revision, Digest: a.digest}, time.Now())
	a.must(err)
	a.must(log.Append(a.t.Context(), e))
}

func pack(t testing.TB, content map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, name := range slices.Sorted(maps.Keys(content)) {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(content[name]))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (a *app) get() *kustomizev1.Kustomization {
	a.t.Helper()
	ks := &kustomizev1.Kustomization{}
	a.must(a.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: a.name}, ks))
	return ks
}

func (a *app) edit(change func(*kustomizev1.Kustomization)) {
	a.t.Helper()
	ks := a.get()
	change(ks)
	a.must(a.Update(a.t.Context(), ks))
}

// ask requests a reconciliation by the annotation.
func (a *app) ask() {
	a.t.Helper()
	a.edit(func(ks *kustomizev1.Kustomization) {
		ks.Annotations = map[string]string{kube.RequestedAt: time.Now().Format(time.RFC3339Nano)}
	})
}

func (a *app) key() events.Key {
	return events.NewKey(kustomizev1.KustomizationKind, a.namespace, a.name)
}

func (a *app) history() []event.Event {
	a.t.Helper()
	all, err := a.bus.History(a.t.Context(), events.BuildSubject(cluster, a.key()))
	a.must(err)
	return all
}

// await waits for the newest event to be of T and to satisfy what.
func await[T events.Data](a *app, reason string, ok func(T) bool) T {
	a.t.Helper()
	var found T
	a.until(reason, func() error {
		log, err := a.bus.Open(a.t.Context(), events.BuildSubject(cluster, a.key()))
		if err != nil {
			return err
		}
		e, some := log.Last()
		if !some {
			return errors.New("no event yet")
		}
		data, err := events.Decode[T](e)
		if err != nil {
			return fmt.Errorf("%w: %s", err, e.Data())
		}
		if !ok(data) {
			return fmt.Errorf("not yet: %s", e.Data())
		}
		found = data
		return nil
	})
	return found
}

func (a *app) rendered(reason string) events.BuildRendered {
	a.t.Helper()
	return await(a, reason, func(d events.BuildRendered) bool { return d.Revision == a.revision })
}

func (a *app) unchanged(reason string) events.BuildUnchanged {
	a.t.Helper()
	return await(a, reason, func(d events.BuildUnchanged) bool { return d.Revision == a.revision })
}

func (a *app) failed(reason, text string) events.BuildFailed {
	a.t.Helper()
	return await(a, reason, func(d events.BuildFailed) bool { return strings.Contains(d.Message, text) })
}

func (a *app) until(what string, check func() error) {
	a.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// open returns the objects of a build as an applier gets them.
func (a *app) open(d events.BuildRendered) []render.Object {
	a.t.Helper()
	ks := a.get()
	id := seal.Identity{Cluster: cluster, Kind: "Kustomization", Namespace: a.namespace, Name: a.name, UID: string(ks.UID)}
	head, err := a.keys.VerifyHead(d.Head, id)
	a.must(err)
	spec, err := kube.SpecDigest(ks.Spec)
	a.must(err)
	if head.SpecDigest != spec || head.SourceDigest != a.digest || head.Revision != a.revision || head.OriginRevision != "origin-"+a.revision ||
		head.RenderID != d.RenderID || head.RenderName != d.Render || head.Generation != ks.Generation {
		a.t.Fatalf("the head does not say what was built: %+v", head)
	}
	sealed, err := a.blobs.Get(a.t.Context(), d.Render, "", seal.MaxPlain)
	a.must(err)
	plain, err := a.keys.Open(id, d.RenderID, sealed)
	a.must(err)
	objects, err := render.Decode(plain)
	a.must(err)
	return objects
}

// damage changes bytes of an object behind the back of the bucket.
func (a *app) damage(name string) error {
	file, err := os.OpenFile(filepath.Join(a.folder, "data", "sluice", name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte("damaged"), 3)
	return errors.Join(err, file.Close())
}

// age makes an object older than it is.
func (a *app) age(name string, by time.Duration) {
	a.t.Helper()
	then := time.Now().Add(-by)
	a.must(os.Chtimes(filepath.Join(a.folder, "data", "sluice", name), then, then))
}

func (a *app) value(d events.BuildRendered, field string) any {
	a.t.Helper()
	for _, o := range a.open(d) {
		if o.GetKind() == "ConfigMap" {
			data, _ := o.Object["data"].(map[string]any)
			return data[field]
		}
	}
	return nil
}

func (a *app) renders() []string {
	a.t.Helper()
	list, err := a.blobs.List(a.t.Context(), fmt.Sprintf("renders/%s/kustomization/%s/%s/", cluster, a.namespace, a.name))
	a.must(err)
	var names []string
	for _, o := range list {
		names = append(names, o.Name)
	}
	return names
}
