package applier_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/natsserver"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/s3server"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier"
	"github.com/sluice-gitops/sluice/test/controlplane"
)

const (
	clusterName = "local"
	userAgent   = "sluice-applier"
	patience    = 30 * time.Second
)

// world is a real API server, bus and bucket, and an applier on them. The tests
// are the fetcher and the builder.
type world struct {
	t     *testing.T // whole run, that what is started for all cases ends with
	plane *controlplane.ControlPlane
	client.Client
	nats  *natsserver.Server
	bus   *bus.Bus
	blobs *blob.Store
	keys  *seal.Keyring
	// concurrency of appliers whose Config says none; the default when zero.
	concurrency int
	// stop ends the applier that newWorld started.
	stop func()
	logs *logbook
}

// logbook keeps what appliers log.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// about returns the lines that hold all the words.
func (l *logbook) about(words ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(strings.Split(l.text.String(), "\n"), func(line string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
	})
}

// logged waits until an applier logged a failure of the app as an error, which
// names the app and says what is wrong.
func (a *app) logged(message string) {
	a.t.Helper()
	words := []string{"level=ERROR", "namespace=" + a.namespace, "name=" + a.name, message}
	a.until("a line in the log", func() error {
		if len(a.logs.about(words...)) == 0 {
			return fmt.Errorf("no line with %q; have %q", words, a.logs.about("namespace="+a.namespace))
		}
		return nil
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Chdir(".") // and back: the embedded S3 server goes into its own folder, which ends with the test
	plane := controlplane.StartT(t, controlplane.Options{RequestLog: true})
	if err := plane.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	scheme, err := kube.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := client.New(plane.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, plane: plane, Client: admin, nats: bustest.Server(t), blobs: openBlobs(t), logs: &logbook{}}
	w.bus = bustest.Connect(t, w.nats, bus.Config{})
	if w.keys, err = seal.ParseKeyring(seal.NewKeyringData()); err != nil {
		t.Fatal(err)
	}
	w.stop = w.start(applier.Settings{})
	return w
}

func openBlobs(t *testing.T) *blob.Store {
	t.Helper()
	server, err := s3server.Start(context.WithoutCancel(t.Context()), s3server.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
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

// start runs an applier until the test ends or stop is called.
func (w *world) start(s applier.Settings) (stop func()) { return w.startAs("", s) }

// startAs runs an applier with the rights of a user; an empty one is the administrator.
func (w *world) startAs(user string, s applier.Settings) (stop func()) {
	return w.run(user, applier.Config{Settings: s, Single: true})
}

func (w *world) run(user string, c applier.Config) (stop func()) {
	t := w.t
	t.Helper()
	if user == "" { // others may not watch them
		c.ConfigSelector = "reconcile.fluxcd.io/watch=Enabled"
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cfg := rest.CopyConfig(w.plane.RESTConfig())
	cfg.QPS, cfg.UserAgent, cfg.Impersonate.UserName = -1, userAgent+"/test", user
	b := bustest.Connect(t, w.nats, bus.Config{Name: "applier"}) // a replica has its own
	done := make(chan error, 1)
	go func() {
		c.REST, c.Bus, c.Blob, c.Keys, c.ClusterName = cfg, b, w.blobs, w.keys, clusterName
		c.Concurrency = cmp.Or(c.Concurrency, w.concurrency)
		c.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), w.logs), &slog.HandlerOptions{Level: slog.LevelWarn}))
		done <- applier.Run(ctx, c)
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("applier ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// with runs f beside an applier with other settings, instead of the one that
// newWorld started.
func (w *world) with(s applier.Settings, f func()) {
	w.stop()
	other := w.start(s)
	defer func() {
		other()
		w.stop = w.start(applier.Settings{})
	}()
	f()
}

// app is one Kustomization of a test, with the namespace it lives in.
type app struct {
	*world
	t         *testing.T
	namespace string
	name      string
	source    sourceRef
	revision  string
}

// sourceRef names the source of an app.
type sourceRef struct{ kind, namespace, name string }

func (r sourceRef) object(spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(sourcev1.GroupVersion.WithKind(r.kind))
	u.SetNamespace(r.namespace)
	u.SetName(r.name)
	return u
}

// specs are the least that each kind of source needs.
var specs = map[string]map[string]any{
	sourcev1.GitRepositoryKind:    {"url": "https://example.com/repo.git", "interval": "1h"},
	sourcev1.OCIRepositoryKind:    {"url": "oci://example.com/repo", "interval": "1h"},
	sourcev1.BucketKind:           {"endpoint": "s3.example.com", "bucketName": "repo", "interval": "1h"},
	sourcev1.ExternalArtifactKind: {"sourceRef": map[string]any{"apiVersion": "example.com/v1", "kind": "Maker", "name": "x"}},
}

// newApp makes a namespace, a source and a Kustomization of it.
func (w *world) newApp(t *testing.T, edit func(*kustomizev1.Kustomization)) *app {
	t.Helper()
	return w.newAppOf(t, sourcev1.GitRepositoryKind, edit)
}

// newAppOf is newApp with a source of another kind.
func (w *world) newAppOf(t *testing.T, kind string, edit func(*kustomizev1.Kustomization)) *app {
	t.Helper()
	a := &app{world: w, t: t, namespace: w.newNamespace(t), name: "app"}
	a.source = sourceRef{kind: kind, namespace: a.namespace, name: "repo"}
	a.createSource()
	a.create(a.name, edit)
	return a
}

func (w *world) newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "app-"}}
	if err := w.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

func (a *app) createSource() {
	a.t.Helper()
	if err := a.Create(a.t.Context(), a.source.object(specs[a.source.kind])); err != nil {
		a.t.Fatal(err)
	}
	a.moveSource("main@sha1:1")
}

func (a *app) create(name string, edit func(*kustomizev1.Kustomization)) {
	a.t.Helper()
	ks := &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name},
		Spec: kustomizev1.KustomizationSpec{
			Interval: metav1.Duration{Duration: time.Hour}, RetryInterval: &metav1.Duration{Duration: 2 * time.Second},
			Prune: true, SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: a.source.kind, Name: a.source.name},
		},
	}
	if a.source.namespace != a.namespace {
		ks.Spec.SourceRef.Namespace = a.source.namespace
	}
	if edit != nil {
		edit(ks)
	}
	if err := a.Create(a.t.Context(), ks); err != nil {
		a.t.Fatal(err)
	}
}

// as returns the same app under another Kustomization of its namespace.
func (a *app) as(name string) *app {
	other := *a
	other.name = name
	return &other
}

func (a *app) sourceDigest() string { return blob.Digest([]byte(a.revision)) }

// moveSource gives the source an artifact of a revision, as a fetcher does.
func (a *app) moveSource(revision string) {
	a.t.Helper()
	a.revision = revision
	source := a.source.object(nil)
	if err := a.Get(a.t.Context(), client.ObjectKeyFromObject(source), source); err != nil {
		a.t.Fatal(err)
	}
	source.Object["status"] = map[string]any{"artifact": map[string]any{
		"revision": revision, "digest": a.sourceDigest(), "path": "p", "url": "http://example.com/p",
		"lastUpdateTime": time.Now().UTC().Format(time.RFC3339),
		"metadata":       map[string]any{"org.opencontainers.image.revision": "origin-" + revision},
	}}
	if err := a.Status().Update(a.t.Context(), source); err != nil {
		a.t.Fatal(err)
	}
}

func (a *app) get() *kustomizev1.Kustomization {
	a.t.Helper()
	ks := &kustomizev1.Kustomization{}
	if err := a.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: a.name}, ks); err != nil {
		a.t.Fatal(err)
	}
	return ks
}

func (a *app) key() events.Key {
	return events.NewKey(kustomizev1.KustomizationKind, a.namespace, a.name)
}

func (a *app) input(ks *kustomizev1.Kustomization) events.BuildInput {
	a.t.Helper()
	spec, err := kube.SpecDigest(ks.Spec)
	if err != nil {
		a.t.Fatal(err)
	}
	return events.BuildInput{
		Cluster: clusterName, Object: a.key(), UID: string(ks.UID), Revision: a.revision,
		SourceDigest: a.sourceDigest(), OriginRevision: "origin-" + a.revision, SpecDigest: spec,
	}
}

// build publishes a render of the newest spec and revision, as a builder does.
func (a *app) build(manifests ...string) events.BuildRendered {
	a.t.Helper()
	data := a.seal(a.keys, manifests...)
	a.publish(data)
	return data
}

func (a *app) seal(keys *seal.Keyring, manifests ...string) events.BuildRendered {
	a.t.Helper()
	ks := a.get()
	var objects []render.Object
	for _, m := range manifests {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(strings.ReplaceAll(m, "NS", a.namespace)), &u.Object); err != nil {
			a.t.Fatal(err)
		}
		objects = append(objects, render.Object{Unstructured: u})
	}
	plain, err := render.Encode(objects)
	if err != nil {
		a.t.Fatal(err)
	}
	id := seal.Identity{Cluster: clusterName, Kind: "Kustomization", Namespace: a.namespace, Name: a.name, UID: string(ks.UID)}
	in := a.input(ks)
	renderID := keys.ContentID(plain)
	name := fmt.Sprintf("renders/%s/kustomization/%s/%s/%s", clusterName, a.namespace, a.name, renderID)
	sealed, err := keys.Seal(id, renderID, plain)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.blobs.Put(a.t.Context(), name, sealed, blob.Digest(sealed)); err != nil && !errors.Is(err, blob.ErrExists) {
		a.t.Fatal(err)
	}
	head, err := keys.SignHead(seal.Head{
		Identity: id, Generation: ks.Generation, Revision: in.Revision, OriginRevision: in.OriginRevision,
		SourceDigest: in.SourceDigest, SpecDigest: in.SpecDigest, RenderID: renderID, RenderName: name, Objects: len(objects),
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return events.BuildRendered{BuildInput: in, RenderID: renderID, Render: name, Head: head, Objects: len(objects)}
}

func (a *app) publish(data events.Data) {
	a.t.Helper()
	if err := a.tryPublish(data); err != nil {
		a.t.Fatal(err)
	}
}

func (a *app) tryPublish(data events.Data) error {
	return a.tryAppend(events.BuildSubject(clusterName, a.key()), data)
}

func (a *app) tryAppend(subject string, data events.Data) error {
	log, err := a.bus.Open(a.t.Context(), subject)
	if err != nil {
		return err
	}
	e, err := events.New("builder", a.key(), data, time.Now())
	if err != nil {
		return err
	}
	return log.Append(a.t.Context(), e)
}

// journal returns the types of what the applier said, oldest first.
func (a *app) journal() []string {
	a.t.Helper()
	var types []string
	for _, e := range a.history() {
		types = append(types, e.Type())
	}
	return types
}

func (a *app) history() []event.Event {
	a.t.Helper()
	all, err := a.bus.History(a.t.Context(), events.ApplySubject(clusterName, a.key()))
	if err != nil {
		a.t.Fatal(err)
	}
	return all
}

// until waits for a condition that a failed check describes.
func (a *app) until(what string, check func() error) {
	a.t.Helper()
	a.untilWithin(patience, what, check)
}

func (a *app) untilWithin(limit time.Duration, what string, check func() error) {
	a.t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: %v\nstatus: %s\njournal: %v", what, err, a.describe(), a.journal())
		}
		<-tick.C
	}
}

func (a *app) describe() string {
	ks := &kustomizev1.Kustomization{}
	if err := a.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: a.name}, ks); err != nil {
		return err.Error()
	}
	out, err := yaml.Marshal(ks.Status)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// ready waits until the app is Ready at its newest revision and generation.
func (a *app) ready() *kustomizev1.Kustomization {
	a.t.Helper()
	return a.condition(kube.ConditionReady, metav1.ConditionTrue, "ReconciliationSucceeded", "Applied revision: "+a.revision)
}

// condition waits for a condition at the newest generation.
func (a *app) condition(kind string, status metav1.ConditionStatus, reason, message string) *kustomizev1.Kustomization {
	a.t.Helper()
	var ks *kustomizev1.Kustomization
	a.until(fmt.Sprintf("%s %s %s", kind, status, reason), func() error {
		ks = a.get()
		c := meta.FindStatusCondition(ks.Status.Conditions, kind)
		if c == nil || c.Status != status || c.Reason != reason || !strings.Contains(c.Message, message) || c.ObservedGeneration != ks.Generation {
			return fmt.Errorf("condition is %+v", c)
		}
		return nil
	})
	return ks
}

func (a *app) configMap(name string) (*corev1.ConfigMap, error) {
	cm := &corev1.ConfigMap{}
	return cm, a.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: name}, cm)
}

// holds waits until a ConfigMap holds a value under key v.
func (a *app) holds(name, value string) {
	a.t.Helper()
	a.until("ConfigMap "+name+" holds "+value, func() error { return a.valued(name, value) })
}

// valued returns why a ConfigMap does not hold a value under key v.
func (a *app) valued(name, value string) error {
	cm, err := a.configMap(name)
	if err == nil && cm.Data["v"] != value {
		err = fmt.Errorf("holds %q", cm.Data["v"])
	}
	return err
}

// absent waits until a ConfigMap is gone.
func (a *app) absent(name string) {
	a.t.Helper()
	a.until("ConfigMap "+name+" is gone", func() error {
		_, err := a.configMap(name)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there: %w", err)
	})
}

func (a *app) edit(change func(*kustomizev1.Kustomization)) {
	a.t.Helper()
	ks := a.get()
	before := ks.DeepCopy()
	change(ks)
	if err := a.Patch(a.t.Context(), ks, client.MergeFrom(before)); err != nil {
		a.t.Fatal(err)
	}
}

// settled waits until nothing is written any more: the journal and the object
// stay as they are for a moment.
func (a *app) settled() {
	a.t.Helper()
	last, since := "", time.Now()
	a.until("settled", func() error {
		now := fmt.Sprint(a.get().ResourceVersion, len(a.history()))
		if now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 300*time.Millisecond {
			return errors.New("still moving")
		}
		return nil
	})
}

// configMap is a manifest of a ConfigMap in the app's namespace.
func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: NS}\ndata: {v: %q}\n", name, value)
}

// jetstream is a connection behind the back of everybody.
func (w *world) jetstream(t *testing.T) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect("", nats.InProcessServer(w.nats))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// wipe deletes a stream.
func (w *world) wipe(t *testing.T, stream string) {
	t.Helper()
	if err := w.jetstream(t).DeleteStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
}
