package fetcher_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
)

func (w *world) createGenerator(name string, spec generatorv1.ArtifactGeneratorSpec) *generatorv1.ArtifactGenerator {
	w.t.Helper()
	obj := &generatorv1.ArtifactGenerator{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	if err := w.client.Create(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
	return obj
}

// generated waits until the Ready condition of a generator says something.
func (w *world) generated(name, reason, message string) *generatorv1.ArtifactGenerator {
	w.t.Helper()
	var obj generatorv1.ArtifactGenerator
	w.eventually(name+" says "+message, func() bool {
		obj = generatorv1.ArtifactGenerator{}
		err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &obj)
		c := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready")
		return err == nil && c != nil && c.ObservedGeneration == obj.Generation && c.Reason == reason && strings.Contains(c.Message, message)
	}, func() any { return obj.Status })
	return &obj
}

// externalArtifact waits until an ExternalArtifact is as it is wanted.
func (w *world) externalArtifact(name string, ok func(*sourcev1.ExternalArtifact) bool) *sourcev1.ExternalArtifact {
	w.t.Helper()
	var obj sourcev1.ExternalArtifact
	w.eventually("ExternalArtifact "+name, func() bool {
		obj = sourcev1.ExternalArtifact{}
		err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &obj)
		return err == nil && obj.Status.Artifact != nil && apimeta.IsStatusConditionTrue(obj.Status.Conditions, "Ready") && ok(&obj)
	}, func() any { return obj })
	return &obj
}

func whatever(*sourcev1.ExternalArtifact) bool { return true }

func copies(pairs ...string) []generatorv1.CopyOperation {
	var all []generatorv1.CopyOperation
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, generatorv1.CopyOperation{From: pairs[i], To: pairs[i+1]})
	}
	return all
}

func artifactGenerators(t *testing.T, w *world) {
	repo, _ := w.gitSource("mono", map[string]string{
		"apps/frontend/web.yaml": "web", "apps/backend/api.yaml": "api", "apps/backend/NOTES.md": "notes", "apps/cache/redis.yaml": "redis",
		"values.yaml": "a: 1\nb: {c: 2}\n",
	})
	mono := []generatorv1.SourceReference{{Alias: "repo", Kind: "GitRepository", Name: "mono"}}
	w.createGenerator("split", generatorv1.ArtifactGeneratorSpec{
		Sources: mono, CommonMetadata: &generatorv1.CommonMetadata{Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"note": "n"}},
		OutputArtifacts: []generatorv1.OutputArtifact{
			{Name: "frontend", OriginRevision: "@repo", Copy: copies("@repo/apps/frontend/", "@artifact/")},
			{Name: "backend", Copy: copies("@repo/apps/backend/*.yaml", "@artifact/deploy/")},
			{Name: "cache", Revision: "@repo", Copy: copies("@repo/apps/cache/**", "@artifact/")},
		},
	})
	made := w.generated("split", "Succeeded", "reconciliation succeeded, generated 3 artifact(s)")
	var source sourcev1.GitRepository
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "mono"}, &source); err != nil {
		t.Fatal(err)
	}
	frontend, backend, cache := w.externalArtifact("frontend", whatever), w.externalArtifact("backend", whatever), w.externalArtifact("cache", whatever)
	first := generatorv1.ExternalArtifactReference{
		Name: "frontend", Namespace: "default", Digest: frontend.Status.Artifact.Digest, Filename: filepath.Base(frontend.Status.Artifact.Path),
	}
	if len(made.Status.Inventory) != 3 || made.Status.Inventory[0] != first {
		t.Errorf("the inventory is %+v, want %+v first", made.Status.Inventory, first)
	}
	if !slices.Equal(made.Finalizers, []string{"source.extensions.fluxcd.io/finalizer"}) || made.Status.ObservedSourcesDigest == "" {
		t.Errorf("finalizers are %q, the digest of the sources %q", made.Finalizers, made.Status.ObservedSourcesDigest)
	}
	w.kubernetesEvent("split", "Succeeded", "reconciliation succeeded, generated 3 artifact(s)")
	for name, c := range map[string]struct {
		obj  *sourcev1.ExternalArtifact
		want map[string]string
	}{
		"a folder": {frontend, map[string]string{"frontend/": "", "frontend/web.yaml": "web"}}, "a glob": {backend, map[string]string{"deploy/": "", "deploy/api.yaml": "api"}},
		"what a folder holds": {cache, map[string]string{"redis.yaml": "redis"}},
	} {
		if diff := cmp.Diff(c.want, w.content(c.obj.Status.Artifact)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for what, pair := range map[string][2]string{
		"revision by content":  {frontend.Status.Artifact.Revision, "latest@" + frontend.Status.Artifact.Digest},
		"revision of a source": {cache.Status.Artifact.Revision, source.Status.Artifact.Revision},
		"origin revision":      {frontend.Status.Artifact.Metadata["org.opencontainers.image.revision"], source.Status.Artifact.Revision},
		"common label":         {frontend.Labels["team"], "a"}, "common annotation": {frontend.Annotations["note"], "n"},
		"manager": {frontend.Labels["app.kubernetes.io/managed-by"], "source-watcher"}, "generator": {frontend.Labels["source.extensions.fluxcd.io/generator"], string(made.UID)},
		"source":  {frontend.Spec.SourceRef.Kind + "/" + frontend.Spec.SourceRef.Name, "ArtifactGenerator/split"},
		"reason":  {apimeta.FindStatusCondition(frontend.Status.Conditions, "Ready").Reason, "Succeeded"},
		"message": {apimeta.FindStatusCondition(frontend.Status.Conditions, "Ready").Message, "Artifact is ready"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}

	// A commit moves what it touches and nothing else.
	repo.Commit("main", "change the frontend", map[string]string{"apps/frontend/web.yaml": "web 2"})
	w.request("mono", "generator-1")
	now := w.externalArtifact("frontend", func(o *sourcev1.ExternalArtifact) bool {
		return o.Status.Artifact.Digest != frontend.Status.Artifact.Digest
	})
	if got := w.content(now.Status.Artifact)["frontend/web.yaml"]; got != "web 2" {
		t.Errorf("the frontend holds %q", got)
	}
	w.externalArtifact("cache", func(o *sourcev1.ExternalArtifact) bool {
		return o.Status.Artifact.Revision != cache.Status.Artifact.Revision
	})
	if still := w.externalArtifact("backend", whatever); still.ResourceVersion != backend.ResourceVersion {
		t.Errorf("the backend moved: %+v", still.Status.Artifact)
	}
	w.published("frontend", now.Status.Artifact.Digest)

	// One that somebody deletes is made anew.
	if err := w.client.Delete(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	w.externalArtifact("frontend", func(o *sourcev1.ExternalArtifact) bool { return o.UID != now.UID })
	w.published("frontend", now.Status.Artifact.Digest)

	// One that storage lost comes back, whoever finds out: here a builder.
	lost := shelf.BlobName(events.NewKey("ExternalArtifact", "default", "frontend"), now.Status.Artifact.Digest)
	if err := w.blobs.Delete(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	w.corrupt("frontend")
	w.eventually("the lost artifact", func() bool {
		_, err := w.blobs.Stat(t.Context(), lost)
		return err == nil
	}, func() any { return lost })

	// An output that is left out goes, and its artifact with it.
	w.change("split", func(o *generatorv1.ArtifactGenerator) { o.Spec.OutputArtifacts = o.Spec.OutputArtifacts[:1] })
	w.generated("split", "Succeeded", "generated 1 artifact(s)")
	w.nothingLeft("backend", backend.Status.Artifact.Digest)

	composition(t, w)
	originOfOrigin(t, w)
	patterns(t, w)
	suspendedGenerator(t, w, repo.Commit)
	generatorFailures(t, w)

	if err := w.client.Delete(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft("frontend", now.Status.Artifact.Digest)
}

// damage changes what storage holds, so that only reading tells.
func (w *world) damage(name string) {
	w.t.Helper()
	path := filepath.Join(w.bucket, "data", "test", name)
	info, err := os.Stat(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Repeat([]byte("x"), int(info.Size())), 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// corrupt tells that an artifact in storage cannot be read, as builders do.
func (w *world) corrupt(name string) {
	w.t.Helper()
	target := bus.Target{Stage: events.StageFetch, Key: events.NewKey("ExternalArtifact", "default", name), Note: bus.Note{Reason: "corrupt"}}
	if err := w.bus.Check(w.t.Context(), target); err != nil {
		w.t.Fatal(err)
	}
}

// published waits until the newest event of an ExternalArtifact names a digest.
func (w *world) published(name, digest string) {
	w.t.Helper()
	var newest events.SourceChanged
	w.eventually("the event of "+name, func() bool {
		log, err := w.bus.Open(w.t.Context(), events.SourceSubject(events.NewKey("ExternalArtifact", "default", name)))
		if err != nil {
			return false
		}
		e, ok := log.Last()
		if !ok {
			return false
		}
		newest, err = events.Decode[events.SourceChanged](e)
		return err == nil && newest.Digest == digest
	}, func() any { return newest })
	if _, err := w.blobs.Stat(w.t.Context(), newest.Artifact); err != nil {
		w.t.Errorf("an event names %s: %v", newest.Artifact, err)
	}
}

// nothingLeft waits until an ExternalArtifact is gone, and its artifact.
func (w *world) nothingLeft(name, digest string) {
	w.t.Helper()
	w.eventually("the end of "+name, func() bool {
		err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &sourcev1.ExternalArtifact{})
		_, stored := w.blobs.Stat(w.t.Context(), shelf.BlobName(events.NewKey("ExternalArtifact", "default", name), digest))
		return apierrors.IsNotFound(err) && errors.Is(stored, blob.ErrNotFound)
	}, func() any { return name })
}

func (w *world) change(name string, edit func(*generatorv1.ArtifactGenerator)) {
	w.t.Helper()
	w.eventually("a change of "+name, func() bool {
		var now generatorv1.ArtifactGenerator
		err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &now)
		if err == nil {
			edit(&now)
			err = w.client.Update(w.t.Context(), &now)
		}
		if err != nil && !apierrors.IsConflict(err) {
			w.t.Fatal(err)
		}
		return err == nil
	}, func() any { return name })
}

// composition makes one artifact of two sources.
func composition(t *testing.T, w *world) {
	w.gitSource("prod", map[string]string{"values.yaml": "b: {c: 3}\n", "docs/README.md": "x", "docs/x.yaml": "y"})
	w.createGenerator("composed", generatorv1.ArtifactGeneratorSpec{
		Sources: []generatorv1.SourceReference{{Alias: "repo", Kind: "GitRepository", Name: "mono"}, {Alias: "prod", Kind: "GitRepository", Name: "prod", Namespace: "default"}},
		OutputArtifacts: []generatorv1.OutputArtifact{{Name: "composed", Copy: []generatorv1.CopyOperation{
			{From: "@repo/values.yaml", To: "@artifact/chart/"},
			{From: "@prod/values.yaml", To: "@artifact/chart/values.yaml", Strategy: generatorv1.MergeStrategy},
			{From: "@prod/docs/**", To: "@artifact/chart/", Exclude: []string{"*.md"}},
		}}},
	})
	w.generated("composed", "Succeeded", "generated 1 artifact(s)")
	want := map[string]string{"chart/": "", "chart/values.yaml": "a: 1\nb:\n  c: 3\n", "chart/x.yaml": "y"}
	if diff := cmp.Diff(want, w.content(w.externalArtifact("composed", whatever).Status.Artifact)); diff != "" {
		t.Error(diff)
	}
}

// originOfOrigin makes an artifact of one that was made: it is of the same revision of the first source.
func originOfOrigin(t *testing.T, w *world) {
	first := w.externalArtifact("frontend", whatever)
	w.createGenerator("again", generatorv1.ArtifactGeneratorSpec{
		Sources:         []generatorv1.SourceReference{{Alias: "made", Kind: "ExternalArtifact", Name: "frontend"}},
		OutputArtifacts: []generatorv1.OutputArtifact{{Name: "again", OriginRevision: "@made", Copy: copies("@made/**", "@artifact/")}},
	})
	second := w.externalArtifact("again", whatever)
	const origin = "org.opencontainers.image.revision"
	if want := first.Status.Artifact.Metadata[origin]; want == "" || second.Status.Artifact.Metadata[origin] != want {
		t.Errorf("the origin revision is %q, want %q", second.Status.Artifact.Metadata[origin], want)
	}
}

// patterns makes one artifact for each folder.
func patterns(t *testing.T, w *world) {
	w.createGenerator("each", generatorv1.ArtifactGeneratorSpec{
		Sources: []generatorv1.SourceReference{{Alias: "repo", Kind: "GitRepository", Name: "mono"}}, PathPattern: "@repo/apps/{App}",
		OutputArtifacts: []generatorv1.OutputArtifact{{Name: "app-{App}", Copy: copies("@repo/apps/{App}/**", "@artifact/")}},
	})
	w.generated("each", "Succeeded", "generated 3 artifact(s)")
	cache := w.externalArtifact("app-cache", whatever)
	if cache.Labels["app"] != "cache" {
		t.Errorf("labels are %v", cache.Labels)
	}
	if diff := cmp.Diff(map[string]string{"redis.yaml": "redis"}, w.content(cache.Status.Artifact)); diff != "" {
		t.Error(diff)
	}
}

// suspendedGenerator shows that a generator that is disabled does nothing.
func suspendedGenerator(t *testing.T, w *world, commit func(branch, message string, files map[string]string) string) {
	before := w.externalArtifact("app-cache", whatever)
	disable := func(value string) func(*generatorv1.ArtifactGenerator) {
		return func(o *generatorv1.ArtifactGenerator) {
			o.Annotations = map[string]string{generatorv1.ReconcileAnnotation: value}
		}
	}
	w.change("each", disable("Disabled"))
	commit("main", "change the cache", map[string]string{"apps/cache/redis.yaml": "redis 2"})
	w.request("mono", "generator-2")
	w.externalArtifact("frontend", whatever)
	w.change("split", func(o *generatorv1.ArtifactGenerator) {
		o.Annotations = map[string]string{"reconcile.fluxcd.io/requestedAt": "after"}
	})
	w.eventually("a pass of another generator", func() bool {
		return w.generated("split", "Succeeded", "").Status.LastHandledReconcileAt == "after"
	}, func() any { return "split" })
	if now := w.externalArtifact("app-cache", whatever); now.ResourceVersion != before.ResourceVersion {
		t.Error("a disabled generator made an artifact")
	}
	w.change("each", disable("enabled"))
	w.externalArtifact("app-cache", func(o *sourcev1.ExternalArtifact) bool {
		return o.Status.Artifact.Digest != before.Status.Artifact.Digest
	})
}

func generatorFailures(t *testing.T, w *world) {
	foreign := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "foreign"}}
	if err := w.client.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	mono := generatorv1.SourceReference{Alias: "repo", Kind: "GitRepository", Name: "mono"}
	all := copies("@repo/**", "@artifact/")
	for name, c := range map[string]struct {
		sources         []generatorv1.SourceReference
		pattern         string
		output          generatorv1.OutputArtifact
		reason, message string
		stalled         bool
	}{
		"alias-twice":      {[]generatorv1.SourceReference{mono, mono}, "", generatorv1.OutputArtifact{Name: "x", Copy: all}, "ValidationFailed", `source alias "repo" is there twice`, true},
		"no-such-alias":    {[]generatorv1.SourceReference{mono}, "", generatorv1.OutputArtifact{Name: "x", Copy: copies("@other/**", "@artifact/")}, "ValidationFailed", `no source with the alias "other"`, true},
		"no-such-revision": {[]generatorv1.SourceReference{mono}, "", generatorv1.OutputArtifact{Name: "x", Revision: "@other", Copy: all}, "ValidationFailed", `revision of artifact "x": there is no source`, true},
		"no-such-source":   {[]generatorv1.SourceReference{{Alias: "repo", Kind: "Bucket", Name: "none"}}, "", generatorv1.OutputArtifact{Name: "x", Copy: all}, "SourceFetchFailed", "source 'Bucket/default/none': ", false},
		"no-artifact":      {[]generatorv1.SourceReference{{Alias: "repo", Kind: "ExternalArtifact", Name: "foreign"}}, "", generatorv1.OutputArtifact{Name: "x", Copy: all}, "SourceFetchFailed", "has no artifact yet", false},
		"no-such-file":     {[]generatorv1.SourceReference{mono}, "", generatorv1.OutputArtifact{Name: "x", Copy: copies("@repo/none.yaml", "@artifact/")}, "BuildFailed", `artifact 'x': copy from '@repo/none.yaml': nothing matches "none.yaml"`, false},
		"foreign":          {[]generatorv1.SourceReference{mono}, "", generatorv1.OutputArtifact{Name: "foreign", Copy: all}, "ReconciliationFailed", "ExternalArtifact 'default/foreign' exists and was not made by this ArtifactGenerator", false},
		"one-name-for-all": {[]generatorv1.SourceReference{mono}, "@repo/apps/{app}", generatorv1.OutputArtifact{Name: "same", Copy: all}, "ValidationFailed", `artifact name "same" is there twice`, true},
		"bad-pattern":      {[]generatorv1.SourceReference{mono}, "@repo/{a}/{a}", generatorv1.OutputArtifact{Name: "x-{a}", Copy: all}, "ValidationFailed", "{a} is there twice", true},
	} {
		w.createGenerator(name, generatorv1.ArtifactGeneratorSpec{Sources: c.sources, PathPattern: c.pattern, OutputArtifacts: []generatorv1.OutputArtifact{c.output}})
		obj := w.generated(name, c.reason, c.message)
		if got := apimeta.IsStatusConditionTrue(obj.Status.Conditions, "Stalled"); got != c.stalled {
			t.Errorf("%s: stalled is %t", name, got)
		}
		w.kubernetesEvent(name, c.reason, c.message)
	}
	// What is made belongs to the object before all is made, and goes with it.
	half := w.createGenerator("half-made", generatorv1.ArtifactGeneratorSpec{
		Sources: []generatorv1.SourceReference{mono},
		OutputArtifacts: []generatorv1.OutputArtifact{
			{Name: "half-one", Copy: all}, {Name: "foreign", Copy: all}, {Name: "half-other", Copy: all},
		},
	})
	var named []string
	for _, ref := range w.generated("half-made", "ReconciliationFailed", "was not made by this").Status.Inventory {
		named = append(named, ref.Name)
	}
	if strings.Join(named, " ") != "half-one half-other" {
		t.Errorf("the inventory of what is half made names %q", named)
	}
	one := w.externalArtifact("half-one", whatever)
	if err := w.client.Delete(t.Context(), half); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft("half-one", one.Status.Artifact.Digest)
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(foreign), &sourcev1.ExternalArtifact{}); err != nil {
		t.Errorf("what others made: %v", err)
	}

	// What was missing comes: nobody has to ask.
	w.gitSource("late", map[string]string{"a": "b"})
	w.change("no-such-source", func(o *generatorv1.ArtifactGenerator) {
		o.Spec.Sources[0].Kind, o.Spec.Sources[0].Name, o.Spec.OutputArtifacts[0].Name = "GitRepository", "late", "late"
	})
	w.generated("no-such-source", "Succeeded", "generated 1 artifact(s)")
}

// foreignManners asks who serves the artifacts of others as every other server is asked: none is
// told where a request comes from, and who asks to wait is left alone.
func foreignManners(t *testing.T, w *world) {
	var body bytes.Buffer
	packed, err := pack.Archive(t.Context(), &body, nil, nil, pack.Limits{Entries: 1, Bytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var referers atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/moved.tar.gz" {
			http.Redirect(rw, r, "/moved.tar.gz", http.StatusFound)
			return
		}
		referers.Store(r.Referer())
		_, _ = rw.Write(body.Bytes())
	}))
	defer server.Close()
	door := newBusyDoor(t, server.URL)
	names := []string{"busy-theirs", "busy-others"}
	for _, name := range names {
		obj := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		if err := w.client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
		before := obj.DeepCopy()
		obj.Status.Artifact = &meta.Artifact{
			Path: name + "/a.tar.gz", URL: "http://" + door.host + "/" + name + ".tar.gz?token=a-secret", Revision: "v1@" + packed.Digest, Digest: packed.Digest,
			LastUpdateTime: metav1.NewTime(time.Now()),
		}
		if err := w.client.Status().Patch(t.Context(), obj, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		w.kubernetesEvent(name, "FetchFailed", door.host+" asks to wait until ")
	}
	door.open()
	for _, name := range names {
		w.published(name, packed.Digest)
	}
	door.heeded(t)
	if got := referers.Load(); got != "" {
		t.Errorf("a server was told %q", got)
	}
}

// foreignArtifacts brings what somebody else makes and serves.
func foreignArtifacts(t *testing.T, w *world) {
	var body bytes.Buffer
	packed, err := pack.Archive(t.Context(), &body, nil, nil, pack.Limits{Entries: 1, Bytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var answer atomic.Int64
	answer.Store(http.StatusServiceUnavailable)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(int(answer.Load()))
		_, _ = rw.Write(body.Bytes())
	}))
	defer server.Close()
	obj := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "theirs"}}
	if err := w.client.Create(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	say := func(digest string) {
		t.Helper()
		before := obj.DeepCopy()
		obj.Status.Artifact = &meta.Artifact{Path: "theirs/a.tar.gz", URL: server.URL + "/a.tar.gz", Revision: "v1@" + digest, Digest: digest, LastUpdateTime: metav1.NewTime(time.Now())}
		if err := w.client.Status().Patch(t.Context(), obj, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	say(packed.Digest)
	w.kubernetesEvent("theirs", "FetchFailed", "503 Service Unavailable")
	answer.Store(http.StatusOK)
	w.published("theirs", packed.Digest)

	// What storage damaged is downloaded again.
	stored := shelf.BlobName(events.NewKey("ExternalArtifact", "default", "theirs"), packed.Digest)
	w.damage(stored)
	w.corrupt("theirs")
	w.eventually("the artifact whole", func() bool {
		whole, err := w.blobs.Reader(t.Context(), stored, packed.Digest)
		if err != nil {
			return false
		}
		_, err = io.Copy(io.Discard, whole)
		return errors.Join(err, whole.Close()) == nil
	}, func() any { return stored })

	wrong := "sha256:" + strings.Repeat("0", 64)
	say(wrong)
	w.kubernetesEvent("theirs", "FetchFailed", "content has digest "+packed.Digest+", not "+wrong)
	if _, err := w.blobs.Stat(t.Context(), shelf.BlobName(events.NewKey("ExternalArtifact", "default", "theirs"), wrong)); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("content with another digest is stored: %v", err)
	}
	if err := w.client.Delete(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
	w.nothingLeft("theirs", packed.Digest)
}
