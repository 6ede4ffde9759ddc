package fetcher_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// stalledHost has more sources on a host that answers nothing than there are workers, and
// then a source on another host.
func stalledHost(t *testing.T, w *world) {
	stalls(t, w, "stalled", func(url, name string) client.Object {
		return &sourcev1.GitRepository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: sourcev1.GitRepositorySpec{
				URL: url + "/" + name, Reference: branch("main"), Timeout: &metav1.Duration{Duration: time.Minute}, Interval: metav1.Duration{Duration: time.Hour},
			},
		}
	})
}

// stalledRegistry is the same of charts, which name the host by a HelmRepository of type oci.
func stalledRegistry(t *testing.T, w *world) {
	stalls(t, w, "stalled-chart", func(url, name string) client.Object {
		if name == "stalled-chart-00" {
			w.createRepository("stalled", sourcev1.HelmRepositorySpec{
				URL: strings.Replace(url, "http", "oci", 1), Type: sourcev1.HelmRepositoryTypeOCI, Insecure: true, Timeout: &metav1.Duration{Duration: time.Minute},
			})
		}
		spec := inRepository(name, "*", "stalled")
		spec.Interval.Duration = time.Hour
		return &sourcev1.HelmChart{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	})
}

// stalledPackages is the same of charts whose packages are not on the host of their index.
func stalledPackages(t *testing.T, w *world) {
	stalls(t, w, "stalled-package", func(url, name string) client.Object {
		if name == "stalled-package-00" {
			index := "apiVersion: v1\nentries:\n"
			for n := range 16 {
				index += fmt.Sprintf("  stalled-package-%02d:\n  - {name: stalled-package-%02d, version: 1.0.0, urls: [%s/%d.tgz]}\n", n, n, url, n)
			}
			served := newChartServer(t, map[string][]byte{"/index.yaml": []byte(index)})
			awaitObject(w, "the index", w.createRepository("stalled-packages", sourcev1.HelmRepositorySpec{URL: served.URL}), repositoryReady)
		}
		spec := inRepository(name, "*", "stalled-packages")
		spec.Interval.Duration = time.Hour
		return &sourcev1.HelmChart{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	})
}

// stalledDependencies is the same of charts in Git, whose dependencies are of repositories of the host.
func stalledDependencies(t *testing.T, w *world) {
	stalls(t, w, "stalled-dependency", func(url, name string) client.Object {
		if name == "stalled-dependency-00" {
			files := map[string]string{}
			for n := range 16 {
				files[fmt.Sprintf("stalled-dependency-%02d/Chart.yaml", n)] = fmt.Sprintf(
					"apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies:\n- {name: lib, version: 1.0.0, repository: '%s/%d'}\n", url, n)
			}
			w.gitSource("stalled-dependencies", files)
		}
		spec := inGit(name, "stalled-dependencies")
		spec.Interval.Duration = time.Hour
		return &sourcev1.HelmChart{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	})
}

// stalledMakers is the same of artifacts that the host serves for others.
func stalledMakers(t *testing.T, w *world) {
	stalls(t, w, "stalled-theirs", func(url, name string) client.Object {
		obj := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		w.createAll([]client.Object{obj})
		before, digest := obj.DeepCopy(), blob.Digest([]byte(name))
		obj.Status.Artifact = &meta.Artifact{
			Path: name + "/a.tar.gz", URL: url + "/" + name, Revision: "v1@" + digest, Digest: digest, LastUpdateTime: metav1.NewTime(time.Now()),
		}
		if err := w.client.Status().Patch(t.Context(), obj, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		return obj
	})
}

func stalls(t *testing.T, w *world, prefix string, of func(url, name string) client.Object) {
	release := make(chan struct{})
	var open, most atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		now := open.Add(1)
		defer open.Add(-1)
		for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	const workers = 8 // of one namespace
	var stalled []client.Object
	for n := range 2 * workers {
		stalled = append(stalled, of(server.URL, fmt.Sprintf("%s-%02d", prefix, n)))
	}
	w.createAll(slices.DeleteFunc(slices.Clone(stalled), func(o client.Object) bool { return o.GetUID() != "" }))
	w.eventually("the stall", func() bool { return open.Load() == workers/2 }, func() any { return open.Load() })
	beside := "beside-" + prefix
	sha := gittest.NewRepo(t, w.root, beside).Commit("main", "first", map[string]string{"a.yaml": "a"})
	began := time.Now()
	w.create(beside, sourcev1.GitRepositorySpec{URL: w.http.URL + "/" + beside, Reference: branch("main")})
	w.await("the artifact", beside, at("main@sha1:"+sha))
	t.Logf("live after %s beside a host that stalls", time.Since(began).Round(time.Millisecond))
	if got := most.Load(); got != workers/2 {
		t.Errorf("%d requests at once went to the host that stalls, want %d", got, workers/2)
	}
	for _, obj := range stalled {
		if err := w.client.Delete(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
}

// stalledProxy has more sources behind a proxy that answers nothing than there are workers,
// and then sources on the same host without it: of the same namespace and of another one.
func stalledProxy(t *testing.T, w *world) {
	release := make(chan struct{})
	var open atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		open.Add(1)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(proxy.Close)
	t.Cleanup(func() { close(release) })
	sha := gittest.NewRepo(t, w.root, "beside-proxy").Commit("main", "first", map[string]string{"a.yaml": "a"})
	secret := w.secret("stalled-proxy", map[string]string{"address": proxy.URL})
	var stalled []*sourcev1.GitRepository
	for n := range 16 {
		stalled = append(stalled, w.create(fmt.Sprintf("stalled-proxy-%02d", n), sourcev1.GitRepositorySpec{
			URL: w.http.URL + "/beside-proxy", Reference: branch("main"), ProxySecretRef: secret,
			Timeout: &metav1.Duration{Duration: time.Minute},
		}))
	}
	w.eventually("the stall", func() bool { return open.Load() > 0 }, func() any { return open.Load() })
	if err := w.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "beside-proxy"}}); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"default", "beside-proxy"} {
		obj := &sourcev1.GitRepository{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "beside-proxy"},
			Spec: sourcev1.GitRepositorySpec{
				URL: w.http.URL + "/beside-proxy", Reference: branch("main"), Interval: metav1.Duration{Duration: time.Hour},
			},
		}
		if err := w.client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
		awaitObject(w, "the artifact in "+namespace, obj, at("main@sha1:"+sha))
	}
	for _, obj := range stalled {
		if err := w.client.Delete(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
}
