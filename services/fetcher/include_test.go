package fetcher_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// content returns what an artifact holds; folders end in a slash.
func (w *world) content(a *meta.Artifact) map[string]string {
	w.t.Helper()
	var body []byte
	// Another artifact of the same commit has the same path: for a moment it may be the
	// one before that is served, as a consumer sees by its digest.
	w.eventually("the artifact with digest "+a.Digest, func() bool {
		res, err := http.Get(a.URL)
		if err != nil {
			w.t.Fatal(err)
		}
		defer res.Body.Close()
		if body, err = io.ReadAll(res.Body); err != nil {
			w.t.Fatal(err)
		}
		return blob.Digest(body) == a.Digest
	}, func() any { return len(body) })
	zip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]string{}
	for entries := tar.NewReader(zip); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			w.t.Fatal(err)
		}
		body, err := io.ReadAll(entries)
		if err != nil {
			w.t.Fatal(err)
		}
		found[header.Name] = string(body)
	}
}

func (w *world) expect(obj *sourcev1.GitRepository, want map[string]string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.content(obj.Status.Artifact)); diff != "" {
		w.t.Errorf("%s: %s", obj.Name, diff)
	}
}

// edit changes the spec.
func (w *world) edit(obj *sourcev1.GitRepository, change func(*sourcev1.GitRepositorySpec)) {
	w.t.Helper()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		var now sourcev1.GitRepository
		if err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(obj), &now); err != nil {
			return err
		}
		change(&now.Spec)
		return w.client.Update(w.t.Context(), &now)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// broken says that a condition of a failure has a reason and a message.
func broken(kind, reason, message string) func(*sourcev1.GitRepository) bool {
	return func(o *sourcev1.GitRepository) bool {
		c, r := apimeta.FindStatusCondition(o.Status.Conditions, kind), apimeta.FindStatusCondition(o.Status.Conditions, "Ready")
		return c != nil && c.Reason == reason && strings.Contains(c.Message, message) &&
			r != nil && r.Status == metav1.ConditionFalse && r.Reason == reason
	}
}

func sparseCheckout(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "sparse")
	sha := repo.Commit("main", "first", map[string]string{
		"root.yaml": "r", "apps/a/one.yaml": "1", "apps/b/two.yaml": "2", "apps/b.yaml": "x", "base/three.yaml": "3",
	})
	obj := w.create("sparse", sourcev1.GitRepositorySpec{
		URL: w.http.URL + "/sparse", Reference: branch("main"), SparseCheckout: []string{"./apps/b", "/base/"},
	})
	obj = w.await("the artifact", obj.Name, at("main@sha1:"+sha))
	w.expect(obj, map[string]string{"apps/": "", "apps/b/": "", "apps/b/two.yaml": "2", "base/": "", "base/three.yaml": "3"})
	if diff := cmp.Diff([]string{"./apps/b", "/base/"}, obj.Status.ObservedSparseCheckout); diff != "" {
		t.Error(diff)
	}
	for reason, c := range map[string]struct{ dir, message string }{
		"missing":          {"none", "failed to sparse checkout directories : lstat none: no such file or directory"},
		"other case":       {"Base", "failed to sparse checkout directories : lstat Base: no such file or directory"},
		"a file":           {"apps/b.yaml", "failed to sparse checkout directories : lstat apps/b.yaml: not a directory"},
		"leads out of it":  {"../x", "failed to sparse checkout directories : "},
		"below what is no": {"root.yaml/x", "failed to sparse checkout directories : lstat root.yaml/x: no such file or directory"},
	} {
		w.edit(obj, func(s *sourcev1.GitRepositorySpec) { s.SparseCheckout = []string{c.dir} })
		w.await(reason, obj.Name, broken("FetchFailed", "GitOperationFailed", c.message))
	}
	w.edit(obj, func(s *sourcev1.GitRepositorySpec) { s.SparseCheckout = nil })
	obj = w.await("all of it", obj.Name, func(o *sourcev1.GitRepository) bool { return ready(o) && o.Status.ObservedSparseCheckout == nil })
	if len(w.content(obj.Status.Artifact)) != 9 {
		t.Errorf("without the field: %v", w.content(obj.Status.Artifact))
	}
}

func includeOf(name, from, to string) sourcev1.GitRepositoryInclude {
	return sourcev1.GitRepositoryInclude{GitRepositoryRef: meta.LocalObjectReference{Name: name}, FromPath: from, ToPath: to}
}

func includes(t *testing.T, w *world) {
	lib := gittest.NewRepo(t, w.root, "lib")
	lib.Commit("main", "lib", map[string]string{"base/run.sh!": "1", "other.yaml": "o"})
	main := gittest.NewRepo(t, w.root, "including")
	sha := main.Commit("main", "main", map[string]string{"app.yaml": "a", "vendor/own.yaml": "own"})
	obj := w.create("including", sourcev1.GitRepositorySpec{
		URL: w.http.URL + "/including", Reference: branch("main"),
		Include: []sourcev1.GitRepositoryInclude{includeOf("lib", "base", "vendor"), includeOf("lib", "", "")},
	})
	w.await("the wait", obj.Name, broken("IncludeUnavailable", "NotFound", "could not get resource for include 'lib'"))
	w.kubernetesEvent("including", "NotFound", "could not get resource for include 'lib'")

	// The artifact of the included source wakes the one that waits, long before its 30 seconds.
	waits := time.Now()
	w.create("lib", sourcev1.GitRepositorySpec{URL: w.http.URL + "/lib", Reference: branch("main")})
	obj = w.await("the artifact", obj.Name, at("main@sha1:"+sha))
	if took := time.Since(waits); took > 25*time.Second {
		t.Errorf("the artifact of the included source was noticed after %s", took)
	}
	w.expect(obj, map[string]string{
		"app.yaml": "a", "vendor/": "", "vendor/own.yaml": "own", "vendor/run.sh": "1",
		"lib/": "", "lib/base/": "", "lib/base/run.sh": "1", "lib/other.yaml": "o",
	})
	included := w.await("lib", "lib", ready)
	if len(obj.Status.IncludedArtifacts) != 2 || obj.Status.IncludedArtifacts[0].Digest != included.Status.Artifact.Digest || len(obj.Status.ObservedInclude) != 2 {
		t.Errorf("status is %+v", obj.Status)
	}
	if apimeta.FindStatusCondition(obj.Status.Conditions, "IncludeUnavailable") != nil {
		t.Errorf("conditions are %+v", obj.Status.Conditions)
	}

	lib.Commit("main", "lib two", map[string]string{"base/run.sh!": "2"})
	w.request("lib", "two")
	obj = w.await("the include's change", obj.Name, func(o *sourcev1.GitRepository) bool {
		return ready(o) && o.Status.Artifact.Digest != obj.Status.Artifact.Digest
	})
	if got := w.content(obj.Status.Artifact); got["vendor/run.sh"] != "2" || obj.Status.Artifact.Revision != "main@sha1:"+sha {
		t.Errorf("after the include's change: %v", got)
	}
	digest := obj.Status.Artifact.Digest
	if now := w.request("including", "again"); now.Status.Artifact.Digest != digest || !now.Status.Artifact.LastUpdateTime.Equal(&obj.Status.Artifact.LastUpdateTime) {
		t.Error("an artifact was made although nothing changed")
	}
	w.edit(obj, func(s *sourcev1.GitRepositorySpec) { s.Include = nil })
	obj = w.await("no include", obj.Name, func(o *sourcev1.GitRepository) bool { return ready(o) && o.Status.ObservedInclude == nil })
	w.expect(obj, map[string]string{"app.yaml": "a", "vendor/": "", "vendor/own.yaml": "own"})
	if obj.Status.IncludedArtifacts != nil {
		t.Errorf("included artifacts are %+v", obj.Status.IncludedArtifacts)
	}
}

func includesThatCannotBe(t *testing.T, w *world) {
	gittest.NewRepo(t, w.root, "cannot").Commit("main", "one", map[string]string{"a.yaml": "a", "dir/b.yaml": "b"})
	w.create("cannot-lib", sourcev1.GitRepositorySpec{URL: w.http.URL + "/cannot", Reference: branch("main")})
	w.await("the include", "cannot-lib", ready)
	w.create("cannot-none", sourcev1.GitRepositorySpec{URL: w.http.URL + "/cannot", Reference: branch("main"), Suspend: true})
	for name, c := range map[string]struct {
		include                 sourcev1.GitRepositoryInclude
		kind, reason, condition string
	}{
		"to-escapes":    {includeOf("cannot-lib", "", "../../../path"), "StorageOperationFailed", "IllegalPath", "path calculation for include 'cannot-lib' failed"},
		"from-escapes":  {includeOf("cannot-lib", "../../../path", "x"), "StorageOperationFailed", "CopyFailure", "failed to copy 'cannot-lib' include from ../../../path to x"},
		"from-missing":  {includeOf("cannot-lib", "none", "x"), "StorageOperationFailed", "CopyFailure", "failed to copy 'cannot-lib' include from none to x"},
		"file-in-way":   {includeOf("cannot-lib", "", "a.yaml"), "StorageOperationFailed", "CopyFailure", "failed to copy"},
		"no-artifact":   {includeOf("cannot-none", "", "x"), "IncludeUnavailable", "NoArtifact", "no artifact available for include 'cannot-none'"},
		"includes-self": {includeOf("includes-self", "", "x"), "IncludeUnavailable", "NoArtifact", "no artifact available"},
	} {
		w.create(name, sourcev1.GitRepositorySpec{URL: w.http.URL + "/cannot", Reference: branch("main"), Include: []sourcev1.GitRepositoryInclude{c.include}})
		w.await(c.reason, name, broken(c.kind, c.reason, c.condition))
	}
}

func includeCycle(t *testing.T, w *world) {
	gittest.NewRepo(t, w.root, "circle").Commit("main", "one", map[string]string{"a.yaml": "a"})
	spec := sourcev1.GitRepositorySpec{URL: w.http.URL + "/circle", Reference: branch("main")}
	first := w.create("circle-one", spec)
	w.await("the first", first.Name, ready)
	spec.Include = []sourcev1.GitRepositoryInclude{includeOf("circle-one", "", "")}
	w.create("circle-two", spec)
	second := w.await("the second", "circle-two", ready)
	w.edit(first, func(s *sourcev1.GitRepositorySpec) {
		s.Include = []sourcev1.GitRepositoryInclude{includeOf("circle-two", "", "")}
	})
	w.await("the refusal", first.Name, broken("IncludeUnavailable", "IncludeCycle", "'circle-one' is included by what it includes"))
	now := w.await("the second", "circle-two", func(*sourcev1.GitRepository) bool { return true })
	if now.Status.Artifact.Digest != second.Status.Artifact.Digest || slices.ContainsFunc(now.Status.IncludedArtifacts, func(a *meta.Artifact) bool { return a == nil }) {
		t.Errorf("the second was made anew: %+v", now.Status)
	}
}
