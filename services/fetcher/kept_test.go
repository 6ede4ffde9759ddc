package fetcher_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
	told "github.com/sluice-gitops/sluice/services/fetcher/internal/publish"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
)

// moving is a source of which a test says what it has.
type moving struct {
	key events.Key
	// have gives the upstream the content of a number.
	have func(n int)
}

// newest returns what the newest event says of a source's artifact, nothing when it tells a failure.
func (w *world) newest(of events.Key) events.SourceChanged {
	w.t.Helper()
	log, err := w.bus.Open(w.t.Context(), events.SourceSubject(of))
	if err != nil {
		w.t.Fatal(err)
	}
	changed, _ := told.Last[events.SourceChanged](log)
	return changed
}

// What a status named until a moment ago stays for who has just read it, however old it is: of each
// kind. Content comes back that is older than all that is kept, and then goes again.
func formerArtifacts(t *testing.T, w *world) {
	all := movingSources(t, w, "kept")
	before, oldest := map[events.Key]string{}, map[events.Key]events.SourceChanged{}
	for step, n := range []int{1, 2, 3, 1, 4} {
		for _, s := range all {
			s.have(n)
			w.push(s.key)
		}
		for _, s := range all {
			var now events.SourceChanged
			w.eventually(fmt.Sprintf("content %d of %s", n, s.key), func() bool {
				now = w.newest(s.key)
				return now.Digest != "" && now.Digest != before[s.key]
			}, func() any { return now })
			before[s.key] = now.Digest
			if n != 1 {
				continue
			}
			if step > 0 && now.Digest != oldest[s.key].Digest {
				t.Fatalf("%s: what came back has another digest", s.key)
			}
			oldest[s.key] = now
			then := time.Now().Add(-time.Hour)
			if err := os.Chtimes(filepath.Join(w.bucket, "data", "test", now.Artifact), then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, s := range all {
		var left []blob.Object
		w.eventually("two older artifacts of "+s.key.String(), func() (ok bool) {
			var err error
			left, err = w.blobs.List(t.Context(), shelf.Prefix(s.key))
			return err == nil && len(left) == 3
		}, func() any { return left })
		res, err := http.Get("http://" + w.address + "/" + oldest[s.key].Path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if _ = res.Body.Close(); err != nil || res.StatusCode != http.StatusOK || blob.Digest(body) != oldest[s.key].Digest {
			t.Errorf("%s: the artifact of the last status is answered with %s, %d bytes, %v", s.key, res.Status, len(body), err)
		}
	}
}

// movingSources are one of each kind, and of each maker of ExternalArtifacts.
func movingSources(t *testing.T, w *world, name string) []moving {
	of := func(kind string) events.Key { return events.NewKey(kind, "default", name) }
	named, hour := metav1.ObjectMeta{Namespace: "default", Name: name}, metav1.Duration{Duration: time.Hour}
	repo, charts := gittest.NewRepo(t, w.root, name), chartRepository(t, "app@1.0.0")
	commit := func(n int) { repo.Commit("main", fmt.Sprint(n), map[string]string{"a.yaml": fmt.Sprint(n)}) }
	index := func(n int) { publish(t, charts, fmt.Sprintf("app@1.0.%d", n)) }
	registry := newRegistry(t, false, nil)
	push := func(n int) {
		registry.push(t, name, "v1", nil, layer{fluxLayer, tarred(t, map[string]string{"a.yaml": fmt.Sprint(n)}), nil})
	}
	bucket := newStorage(t, w.storage, name, nil)
	put := func(n int) { bucket.put(map[string]string{"a.yaml": fmt.Sprint(n)}) }
	for _, have := range []func(int){commit, index, push, put} {
		have(1)
	}
	w.secret(name+"-keys", map[string]string{"accesskey": w.storage.AccessKey, "secretkey": w.storage.SecretKey})
	chart := inRepository("app", "*", name)
	chart.Interval = hour
	store := bucket.spec()
	store.SecretRef, store.Interval = local(name+"-keys"), hour
	w.createAll([]client.Object{
		&sourcev1.GitRepository{ObjectMeta: named, Spec: sourcev1.GitRepositorySpec{URL: w.http.URL + "/" + name, Reference: branch("main"), Interval: hour}},
		&sourcev1.HelmRepository{ObjectMeta: named, Spec: sourcev1.HelmRepositorySpec{URL: charts.URL, Interval: hour}},
		&sourcev1.HelmChart{ObjectMeta: named, Spec: chart},
		&sourcev1.OCIRepository{ObjectMeta: named, Spec: sourcev1.OCIRepositorySpec{
			URL: "oci://" + registry.host + "/" + name, Reference: &sourcev1.OCIRepositoryRef{Tag: "v1"}, Interval: hour,
		}},
		&sourcev1.Bucket{ObjectMeta: named, Spec: store},
		&generatorv1.ArtifactGenerator{ObjectMeta: named, Spec: generatorv1.ArtifactGeneratorSpec{
			Sources:         []generatorv1.SourceReference{{Alias: "repo", Kind: "GitRepository", Name: name}},
			OutputArtifacts: []generatorv1.OutputArtifact{{Name: name, Copy: copies("@repo/**", "@artifact/")}},
		}},
	})
	theirs := events.NewKey("ExternalArtifact", "default", name+"-theirs")
	return []moving{
		{of("GitRepository"), commit}, {of("HelmRepository"), index}, {of("OCIRepository"), push}, {of("Bucket"), put},
		{of("HelmChart"), func(int) { w.push(of("HelmRepository")) }}, {of("ExternalArtifact"), func(int) { w.push(of("GitRepository")) }},
		{theirs, w.servedElsewhere(theirs)},
	}
}

// servedElsewhere makes an ExternalArtifact whose artifacts another server has.
func (w *world) servedElsewhere(of events.Key) (have func(n int)) {
	packed := map[string][]byte{}
	for n := range 5 {
		packed[fmt.Sprintf("/%d.tar.gz", n)] = tarred(w.t, map[string]string{"a.yaml": fmt.Sprint(n)})
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = rw.Write(packed[r.URL.Path]) // the client may be gone
	}))
	w.t.Cleanup(server.Close)
	obj := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: of.Namespace, Name: of.Name}}
	w.createAll([]client.Object{obj})
	return func(n int) {
		before, file := obj.DeepCopy(), fmt.Sprintf("/%d.tar.gz", n)
		digest := blob.Digest(packed[file])
		obj.Status.Artifact = &meta.Artifact{
			Path: shelf.Path(of, path.Base(file)), URL: server.URL + file, Revision: strings.TrimPrefix(file, "/") + "@" + digest, Digest: digest,
			LastUpdateTime: metav1.NewTime(time.Now()),
		}
		if err := w.client.Status().Patch(w.t.Context(), obj, client.MergeFrom(before)); err != nil {
			w.t.Fatal(err)
		}
	}
}
