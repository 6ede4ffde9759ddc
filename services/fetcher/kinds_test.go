package fetcher_test

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	generatorv1 "github.com/fluxcd/source-watcher/api/v2/v1beta1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
)

// sourceKinds are those that a fetcher writes the status of. A HelmRepository comes before the HelmChart of it.
var sourceKinds = []string{"GitRepository", "HelmRepository", "OCIRepository", "Bucket", "HelmChart"}

// eachKind returns an object of each kind whose upstream nobody serves.
func eachKind(name, host string, suspend bool) []sourceObject {
	named, hour := metav1.ObjectMeta{Namespace: "default", Name: name}, metav1.Duration{Duration: time.Hour}
	chart := inRepository("app", "*", name)
	chart.Interval, chart.Suspend = hour, suspend
	return []sourceObject{
		&sourcev1.GitRepository{ObjectMeta: named, Spec: sourcev1.GitRepositorySpec{URL: "http://" + host + "/x", Interval: hour, Suspend: suspend}},
		&sourcev1.HelmRepository{ObjectMeta: named, Spec: sourcev1.HelmRepositorySpec{URL: "http://" + host, Interval: hour, Suspend: suspend}},
		&sourcev1.OCIRepository{ObjectMeta: named, Spec: sourcev1.OCIRepositorySpec{URL: "oci://" + host + "/x", Interval: hour, Suspend: suspend}},
		&sourcev1.Bucket{ObjectMeta: named, Spec: sourcev1.BucketSpec{BucketName: "x", Endpoint: host, Insecure: true, Interval: hour, Suspend: suspend}},
		&sourcev1.HelmChart{ObjectMeta: named, Spec: chart},
	}
}

const foreignFinalizer = "example.com/foreign"

// deletedEarly makes an object of each kind, an ArtifactGenerator too, and deletes it, which another's finalizer
// holds up.
func deletedEarly(t *testing.T, c client.Client) []client.Object {
	t.Helper()
	all := []client.Object{&generatorv1.ArtifactGenerator{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "early"}, Spec: generatorv1.ArtifactGeneratorSpec{
		Sources:         []generatorv1.SourceReference{{Alias: "repo", Kind: "GitRepository", Name: "early"}},
		OutputArtifacts: []generatorv1.OutputArtifact{{Name: "early", Copy: copies("@repo/**", "@artifact/")}},
	}}}
	for _, o := range eachKind("early", freeAddress(t), false) {
		all = append(all, o)
	}
	for _, o := range all {
		o.SetFinalizers([]string{foreignFinalizer})
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// deletedBeforeFinalizer looks at what was deleted before the fetcher began: it has got no finalizer of ours, which
// the API server would have refused, and goes.
func deletedBeforeFinalizer(t *testing.T, w *world) {
	for _, o := range w.early {
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			t.Fatal(err)
		}
		if got := o.GetFinalizers(); !slices.Equal(got, []string{foreignFinalizer}) {
			t.Errorf("%T has the finalizers %q", o, got)
		}
		o.SetFinalizers(nil)
		if err := w.client.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		w.eventually("the end", func() bool {
			return apierrors.IsNotFound(w.client.Get(t.Context(), client.ObjectKeyFromObject(o), o))
		}, func() any { return o })
	}
	for line := range bytes.Lines(w.log.bytes()) {
		if text := string(line); strings.Contains(text, "level=ERROR") && strings.Contains(text, "name=early") {
			t.Errorf("logged as a failure: %s", text)
		}
	}
}

// suspended leaves suspended sources alone, those that were never looked at and one that has an artifact, until they
// are resumed or deleted.
func suspended(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "suspend")
	sha := repo.Commit("main", "first", map[string]string{"a": "1"})
	all := eachKind("suspended", freeAddress(t), true)
	for _, o := range all {
		if err := w.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	obj := w.create("suspend", sourcev1.GitRepositorySpec{URL: w.http.URL + "/suspend", Reference: branch("main"), Suspend: true})
	obj = w.await("the finalizer", obj.Name, func(o *sourcev1.GitRepository) bool { return len(o.Finalizers) == 1 })
	if len(obj.Status.Conditions) != 0 || obj.Status.ObservedGeneration != -1 {
		t.Errorf("a suspended source has %+v", obj.Status)
	}
	w.edit(obj, func(s *sourcev1.GitRepositorySpec) { s.Suspend = false })
	obj = w.await("the artifact", "suspend", at("main@sha1:"+sha))
	w.edit(obj, func(s *sourcev1.GitRepositorySpec) { s.Suspend = true })
	repo.Commit("main", "second", map[string]string{"a": "2"})
	w.ask(obj, "while suspended")
	w.push(key("suspend"))
	gittest.NewRepo(t, w.root, "not-suspended").Commit("main", "first", map[string]string{"a": "1"})
	w.create("not-suspended", sourcev1.GitRepositorySpec{URL: w.http.URL + "/not-suspended", Reference: branch("main")})
	w.await("another, which was asked for later", "not-suspended", ready)
	for _, o := range all {
		awaitObject(w, "the finalizer", o, func(o sourceObject) bool { return slices.Contains(o.GetFinalizers(), kube.Finalizer) })
		if c := o.GetConditions(); len(c) != 0 {
			t.Errorf("%T is suspended and has %+v", o, c)
		}
	}
	now := w.await("the suspended one", "suspend", func(*sourcev1.GitRepository) bool { return true })
	if diff := cmp.Diff(obj.Status, now.Status); diff != "" {
		t.Errorf("the status of a suspended source (-before +after): %s", diff)
	}
	if err := w.client.Delete(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	w.eventually("the end of a suspended source and of its artifact", func() bool {
		left, err := w.blobs.List(t.Context(), "artifacts/gitrepository/default/suspend/")
		return err == nil && len(left) == 0 && apierrors.IsNotFound(w.client.Get(t.Context(), client.ObjectKeyFromObject(now), now))
	}, func() any { return now })
}

// sourceNamed reads an object of a kind.
func (w *world) sourceNamed(kind, name string) *unstructured.Unstructured {
	w.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(sourcev1.GroupVersion.WithKind(kind))
	if err := w.client.Get(w.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, u); err != nil {
		w.t.Fatal(err)
	}
	return u
}

// sees follows an object from the version that it is given until ok is content with one: no version is missed.
func (w *world) sees(what string, from *unstructured.Unstructured, ok func(*unstructured.Unstructured) bool) {
	w.t.Helper()
	follower, err := client.NewWithWatch(w.cluster.RESTConfig(), client.Options{Scheme: w.client.Scheme()})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), longest)
	defer cancel()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(from.GroupVersionKind())
	versions, err := follower.Watch(ctx, list, client.InNamespace(from.GetNamespace()), client.MatchingFields{"metadata.name": from.GetName()},
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: from.GetResourceVersion()}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer versions.Stop()
	last := from
	for e := range versions.ResultChan() {
		if u, is := e.Object.(*unstructured.Unstructured); is {
			if last = u; ok(u) {
				return
			}
		}
	}
	w.t.Fatalf("%s did not come; have %+v", what, last.Object["status"])
}

// condition returns "<status> <reason>: <message>" of a condition, "" when there is none.
func condition(u *unstructured.Unstructured, kind string) string {
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range all {
		if c, ok := c.(map[string]any); ok && c["type"] == kind {
			return strings.Join([]string{c["status"].(string), c["reason"].(string) + ":", c["message"].(string)}, " ")
		}
	}
	return ""
}

func artifactOf(u *unstructured.Unstructured) map[string]any {
	artifact, _, _ := unstructured.NestedMap(u.Object, "status", "artifact")
	return artifact
}

// storageHealsEach has the status of a source of each kind name another host, and then an artifact that storage lost:
// while storage takes no other, the status names none and says what is made, and why.
func storageHealsEach(t *testing.T, w *world) {
	const name = "healed"
	movingSources(t, w, name)
	before := map[string]*unstructured.Unstructured{}
	for _, kind := range sourceKinds {
		w.eventually(kind, func() bool { return strings.HasPrefix(condition(w.sourceNamed(kind, name), "Ready"), "True") }, func() any { return kind })
		u := w.sourceNamed(kind, name)
		before[kind] = u.DeepCopy()
		patch := client.RawPatch(types.MergePatchType, []byte(`{"status":{"url":"http://elsewhere.example.com/y","artifact":{"url":"http://elsewhere.example.com/x"}}}`))
		if err := w.client.Status().Patch(t.Context(), u, patch); err != nil {
			t.Fatal(err)
		}
		w.ask(u, "the host")
		w.sees(kind+" follows the host", u, func(u *unstructured.Unstructured) bool {
			handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
			return handled == "the host"
		})
		after := w.sourceNamed(kind, name)
		wanted, _, _ := unstructured.NestedString(before[kind].Object, "status", "url")
		url, _, _ := unstructured.NestedString(after.Object, "status", "url")
		if diff := cmp.Diff(artifactOf(before[kind]), artifactOf(after)); diff != "" || url != wanted {
			t.Errorf("%s: status.url is %s, want %s, artifact (-want +got): %s", kind, url, wanted, diff)
		}
	}
	w.storageDoor.while(func(rw http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/default/"+name+"/") && hangUp(rw, r)
	}, func() {
		for _, kind := range sourceKinds {
			w.losesArtifact(kind, name)
		}
	})
	for _, kind := range sourceKinds {
		w.eventually("the cure of "+kind, func() bool { return strings.HasPrefix(condition(w.sourceNamed(kind, name), "Ready"), "True") }, func() any { return w.sourceNamed(kind, name) })
		after := artifactOf(w.sourceNamed(kind, name))
		if was := artifactOf(before[kind]); after["digest"] != was["digest"] || after["revision"] != was["revision"] {
			t.Errorf("%s: the artifact is %v, and was %v", kind, after, was)
		}
		if _, err := w.blobs.Stat(t.Context(), shelf.BlobName(events.NewKey(kind, "default", name), after["digest"].(string))); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// losesArtifact takes an artifact out of storage, which takes no other, and checks what the status says then. A chart
// does not lose what it knows of a source that has no artifact.
func (w *world) losesArtifact(kind, name string) {
	w.t.Helper()
	u := w.sourceNamed(kind, name)
	if err := w.blobs.Delete(w.t.Context(), shelf.BlobName(events.NewKey(kind, "default", name), artifactOf(u)["digest"].(string))); err != nil {
		w.t.Fatal(err)
	}
	observed, _, _ := unstructured.NestedString(u.Object, "status", "observedSourceArtifactRevision")
	w.ask(u, "lost")
	w.sees(kind+" has lost its artifact", u, func(u *unstructured.Unstructured) bool {
		return artifactOf(u) == nil && condition(u, "ArtifactInStorage") == "" && strings.HasPrefix(condition(u, "Ready"), "False") &&
			condition(u, "Reconciling") == "True ProgressingWithRetry: building artifact: disappeared from storage"
	})
	if kind != "HelmChart" {
		return
	}
	now := w.sourceNamed(kind, name)
	if still, _, _ := unstructured.NestedString(now.Object, "status", "observedSourceArtifactRevision"); still != observed || observed == "" {
		w.t.Errorf("the chart knew source revision %q and knows %q", observed, still)
	}
	if got := condition(now, "FetchFailed"); got != "True NoSourceArtifact: no artifact available for HelmRepository source '"+name+"'" {
		w.t.Errorf("the chart of a repository without artifact says %q", got)
	}
}

// told counts the Kubernetes Events about an object by type and reason.
func (w *world) told(name string) map[string]int32 {
	w.t.Helper()
	var list corev1.EventList
	if err := w.client.List(w.t.Context(), &list, client.InNamespace("default")); err != nil {
		w.t.Fatal(err)
	}
	counts := map[string]int32{}
	for _, e := range list.Items {
		if e.InvolvedObject.Name == name {
			counts[e.Type+" "+e.Reason] += max(e.Count, 1)
		}
	}
	return counts
}

// notified tells of an artifact that is new and of a recovery that brings none, each once, and of nothing else that
// went well.
func notified(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "notify")
	repo.Commit("main", "first", map[string]string{"a": "1"})
	login := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "notify"}}
	failsAgain := func(token string) {
		t.Helper()
		if err := w.client.Delete(t.Context(), login.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		w.request("notify", token)
		w.await("the failure", "notify", broken("FetchFailed", "AuthenticationFailed", "failed to get secret 'default/notify'"))
	}
	recovers := func() {
		t.Helper()
		w.secret("notify", map[string]string{"username": "user", "password": "any-pass"})
		w.await("the recovery", "notify", ready)
	}
	tells := func(why string, want map[string]int32) {
		t.Helper()
		var have map[string]int32
		w.eventually(why, func() bool {
			have = w.told("notify")
			warned := have["Warning AuthenticationFailed"] > 0
			maps.DeleteFunc(have, func(what string, _ int32) bool { return strings.HasPrefix(what, "Warning ") })
			return warned && maps.Equal(have, want)
		}, func() any { return have })
	}
	w.create("notify", sourcev1.GitRepositorySpec{URL: w.http.URL + "/notify", Reference: branch("main"), SecretRef: local("notify")})
	w.await("the failure", "notify", broken("FetchFailed", "AuthenticationFailed", "failed to get secret 'default/notify'"))
	tells("an error, and no artifact", map[string]int32{})
	recovers()
	tells("the first artifact, which is a recovery too", map[string]int32{"Normal NewArtifact": 1})
	w.request("notify", "no change")
	failsAgain("same")
	recovers()
	tells("a recovery, and no change before it", map[string]int32{"Normal NewArtifact": 1, "Normal Succeeded": 1})
	failsAgain("other")
	sha := repo.Commit("main", "second", map[string]string{"a": "2"})
	recovers()
	w.await("the second artifact", "notify", at("main@sha1:"+sha))
	tells("a recovery with another artifact", map[string]int32{"Normal NewArtifact": 2, "Normal Succeeded": 1})
	if c := apimeta.FindStatusCondition(w.await("the object", "notify", ready).Status.Conditions, "FetchFailed"); c != nil {
		t.Errorf("after the recovery there is %+v", c)
	}
}
