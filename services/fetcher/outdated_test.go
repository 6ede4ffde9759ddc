package fetcher_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// outdated has news for an object of each kind while storage takes none of it: the objects say
// what there is anew, in the words of their kind, until it is stored.
func outdated(t *testing.T, w *world) {
	named := metav1.ObjectMeta{Namespace: "default", Name: "outdated"}
	hour := metav1.Duration{Duration: time.Hour}
	lib, _ := w.gitSource("lib-of-outdated", map[string]string{"a.yaml": "1"})
	gittest.NewRepo(t, w.root, "outdated").Commit("main", "first", map[string]string{"b.yaml": "1"})
	index, charts := chartRepository(t, "app@1.0.0"), chartRepository(t, "app@1.0.0")
	w.createRepository("repository-of-outdated", sourcev1.HelmRepositorySpec{URL: charts.URL})
	registry := newRegistry(t, false, nil)
	push := func(text string) {
		registry.push(t, "outdated", "v1", nil, layer{fluxLayer, tarred(t, map[string]string{"a.yaml": text}), nil})
	}
	push("1")
	bucket := newStorage(t, w.storage, "outdated", nil)
	bucket.put(map[string]string{"a.yaml": "1"})
	w.secret("outdated-keys", map[string]string{"accesskey": w.storage.AccessKey, "secretkey": w.storage.SecretKey})

	git := &sourcev1.GitRepository{ObjectMeta: named, Spec: sourcev1.GitRepositorySpec{
		URL: w.http.URL + "/outdated", Reference: branch("main"), Interval: hour, Include: []sourcev1.GitRepositoryInclude{includeOf("lib-of-outdated", "", "lib")},
	}}
	helm := &sourcev1.HelmRepository{ObjectMeta: named, Spec: sourcev1.HelmRepositorySpec{URL: index.URL, Interval: hour}}
	chart := &sourcev1.HelmChart{ObjectMeta: named, Spec: inRepository("app", "*", "repository-of-outdated")}
	chart.Spec.Interval = hour
	oci := &sourcev1.OCIRepository{ObjectMeta: named, Spec: sourcev1.OCIRepositorySpec{
		URL: "oci://" + registry.host + "/outdated", Reference: &sourcev1.OCIRepositoryRef{Tag: "v1"}, Interval: hour,
	}}
	store := &sourcev1.Bucket{ObjectMeta: named, Spec: bucket.spec()}
	store.Spec.SecretRef, store.Spec.Interval = local("outdated-keys"), hour

	cases := []struct {
		kind   string
		object client.Object
		status func() ([]metav1.Condition, *meta.Artifact)
		// change brings the news, and wake is what is told of it then.
		change func()
		wake   events.Key
		reason string
		// message may hold REVISION, which is that of the next artifact.
		message string
	}{
		{"GitRepository", git, func() ([]metav1.Condition, *meta.Artifact) { return git.Status.Conditions, git.Status.Artifact }, func() {
			lib.Commit("main", "second", map[string]string{"a.yaml": "2"})
		}, key("lib-of-outdated"), "IncludeChange", "included artifacts differ from last observed includes"},
		{"HelmRepository", helm, func() ([]metav1.Condition, *meta.Artifact) { return helm.Status.Conditions, helm.Status.Artifact }, func() {
			publish(t, index, "app@1.0.0", "app@1.1.0")
		}, events.NewKey("HelmRepository", "default", "outdated"), "NewRevision", "new index revision 'REVISION'"},
		{"HelmChart", chart, func() ([]metav1.Condition, *meta.Artifact) { return chart.Status.Conditions, chart.Status.Artifact }, func() {
			publish(t, charts, "app@1.0.0", "app@1.1.0")
		}, events.NewKey("HelmRepository", "default", "repository-of-outdated"), "NewChart", "new 'app' chart with version 'REVISION'"},
		{"OCIRepository", oci, func() ([]metav1.Condition, *meta.Artifact) { return oci.Status.Conditions, oci.Status.Artifact }, func() {
			push("2")
		}, events.NewKey("OCIRepository", "default", "outdated"), "NewRevision", "new revision 'REVISION' for '" + oci.Spec.URL + "'"},
		{"Bucket", store, func() ([]metav1.Condition, *meta.Artifact) { return store.Status.Conditions, store.Status.Artifact }, func() {
			bucket.put(map[string]string{"a.yaml": "2"})
		}, events.NewKey("Bucket", "default", "outdated"), "NewRevision", "new upstream revision 'REVISION'"},
	}
	is := func(conditions []metav1.Condition, kind string) bool {
		return apimeta.IsStatusConditionTrue(conditions, kind)
	}
	for _, c := range cases {
		if err := w.client.Create(t.Context(), c.object); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range cases {
		awaitObject(w, "the artifact of the "+c.kind, c.object, func(client.Object) bool {
			conditions, _ := c.status()
			return is(conditions, "Ready")
		})
	}
	said := map[string]*metav1.Condition{}
	w.storageDoor.while(func(rw http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/default/outdated/") && hangUp(rw, r)
	}, func() {
		for _, c := range cases {
			c.change()
			w.push(c.wake)
		}
		for _, c := range cases {
			awaitObject(w, "the failure of the "+c.kind, c.object, func(client.Object) bool {
				conditions, _ := c.status()
				return is(conditions, "StorageOperationFailed")
			})
			conditions, _ := c.status()
			said[c.kind] = apimeta.FindStatusCondition(conditions, "ArtifactOutdated")
		}
	})
	for _, c := range cases {
		awaitObject(w, "the recovery of the "+c.kind, c.object, func(client.Object) bool {
			conditions, _ := c.status()
			return is(conditions, "Ready")
		})
		conditions, artifact := c.status()
		if left := apimeta.FindStatusCondition(conditions, "ArtifactOutdated"); left != nil {
			t.Errorf("%s: after the recovery there is %+v", c.kind, left)
		}
		message := strings.Replace(c.message, "REVISION", artifact.Revision, 1)
		if got := said[c.kind]; got == nil || got.Status != metav1.ConditionTrue || got.Reason != c.reason || got.Message != message {
			t.Errorf("%s: said %+v, want reason %s and message %q", c.kind, got, c.reason, message)
		}
	}
}
