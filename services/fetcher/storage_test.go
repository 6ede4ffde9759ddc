package fetcher_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/s3server"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// fault is what goes wrong with requests to object storage; it returns whether it answered.
type fault func(w http.ResponseWriter, r *http.Request) bool

// storageDoor stands between the fetcher and object storage.
type storageDoor struct{ fault atomic.Pointer[fault] }

// newStorageDoor opens one, and returns the store behind it.
func newStorageDoor(t *testing.T, at s3server.Endpoint) (*storageDoor, *blob.Store) {
	t.Helper()
	d := &storageDoor{}
	forward := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: at.Addr})
		p.Out.Host = p.In.Host // it is signed
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := d.fault.Load(); f == nil || !(*f)(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	store, err := blob.Open(t.Context(), blob.Config{
		Endpoint: strings.TrimPrefix(server.URL, "http://"), AccessKey: at.AccessKey, SecretKey: at.SecretKey, Region: at.Region, Bucket: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return d, store
}

// while runs do with a fault.
func (d *storageDoor) while(f fault, do func()) {
	d.fault.Store(&f)
	defer d.fault.Store(nil)
	do()
}

// hangUp ends a connection without an answer.
func hangUp(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

func writes(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/artifacts/gitrepository/default/faulty/")
}

// A fault of object storage is told and tried again. Until it is over, the status names the last
// good artifact, which is there.
func storageFaults(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "faulty")
	sha := repo.Commit("main", "first", map[string]string{"a": "1"})
	w.create("faulty", sourcev1.GitRepositorySpec{
		URL: w.http.URL + "/faulty", Reference: branch("main"), Timeout: &metav1.Duration{Duration: 5 * time.Second},
	})
	good := w.await("the first artifact", "faulty", at("main@sha1:"+sha))
	for _, c := range []struct {
		name  string
		fault fault
		// dark is storage that cannot be read either.
		dark bool
	}{
		{name: "a full disk", fault: func(rw http.ResponseWriter, r *http.Request) bool {
			if !writes(r) {
				return false
			}
			rw.Header().Set("Content-Type", "application/xml")
			rw.WriteHeader(http.StatusInsufficientStorage)
			_, _ = io.WriteString(rw, "<Error><Code>XMinioStorageFull</Code><Message>no space</Message></Error>")
			return true
		}},
		{name: "a right that was taken", fault: func(rw http.ResponseWriter, r *http.Request) bool {
			if !writes(r) {
				return false
			}
			rw.Header().Set("Content-Type", "application/xml")
			rw.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(rw, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
			return true
		}},
		{name: "an upload that is cut", fault: func(rw http.ResponseWriter, r *http.Request) bool {
			if !writes(r) {
				return false
			}
			_, _ = io.CopyN(io.Discard, r.Body, 8)
			return hangUp(rw, r)
		}},
		{name: "storage that is gone", dark: true, fault: hangUp},
	} {
		sha := repo.Commit("main", c.name, map[string]string{"a": c.name})
		w.storageDoor.while(c.fault, func() {
			w.push(key("faulty"))
			obj := w.await(c.name, "faulty", func(o *sourcev1.GitRepository) bool {
				return apimeta.IsStatusConditionTrue(o.Status.Conditions, "StorageOperationFailed") && apimeta.IsStatusConditionFalse(o.Status.Conditions, "Ready")
			})
			if got := obj.Status.Artifact; got == nil || got.Digest != good.Status.Artifact.Digest || got.URL != good.Status.Artifact.URL {
				t.Errorf("%s: the status names %+v, want %+v", c.name, got, good.Status.Artifact)
			}
			if c.dark {
				res, err := http.Get(good.Status.Artifact.URL)
				if err != nil {
					t.Fatal(err)
				}
				if _ = res.Body.Close(); res.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("%s: the artifact is answered with %s", c.name, res.Status)
				}
				return
			}
			news := apimeta.FindStatusCondition(obj.Status.Conditions, "ArtifactOutdated")
			if news == nil || news.Status != metav1.ConditionTrue || news.Reason != "NewRevision" || news.Message != "new upstream revision 'main@sha1:"+sha+"'" {
				t.Errorf("%s: what there is anew is told as %+v", c.name, news)
			}
			w.download(good.Status.Artifact)
		})
		last := good
		good = w.await("the recovery of "+c.name, "faulty", at("main@sha1:"+sha))
		if news := apimeta.FindStatusCondition(good.Status.Conditions, "ArtifactOutdated"); news != nil {
			t.Errorf("%s: after the recovery there is %+v", c.name, news)
		}
		w.download(good.Status.Artifact)
		w.download(last.Status.Artifact)
	}
}

// blobOf is where an artifact of a GitRepository is in object storage.
func blobOf(name string, a *meta.Artifact) string {
	_, hex, _ := strings.Cut(a.Digest, ":")
	return "artifacts/gitrepository/default/" + name + "/" + hex + ".tar.gz"
}

// Beside what a status names the two newest artifacts stay, for who has begun to build them.
func storageTidied(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "tidy")
	w.create("tidy", sourcev1.GitRepositorySpec{URL: w.http.URL + "/tidy", Reference: branch("main")})
	var all []*meta.Artifact
	for n := range 5 {
		sha := repo.Commit("main", "next", map[string]string{"a": strings.Repeat("x", n)})
		w.push(key("tidy"))
		all = append(all, w.await("the artifact", "tidy", at("main@sha1:"+sha)).Status.Artifact)
		stored := time.Now().Unix() // storage tells ages in whole seconds
		w.eventually("the next second", func() bool { return time.Now().Unix() > stored }, func() any { return nil })
	}
	w.eventually("two older artifacts", func() bool {
		stored, err := w.blobs.List(t.Context(), "artifacts/gitrepository/default/tidy/")
		return err == nil && len(stored) == 3
	}, func() any { return nil })
	for n, a := range all {
		_, err := w.blobs.Stat(t.Context(), blobOf("tidy", a))
		if gone := errors.Is(err, blob.ErrNotFound); gone != (n < 2) || err != nil && !gone {
			t.Errorf("artifact %d of %d: %v", n+1, len(all), err)
		}
	}
	// A revision that comes back is the current one, though its artifact may be the oldest.
	repo.Git("reset", "--quiet", "--hard", "HEAD~2")
	repo.Git("push", "--quiet", "--force", "origin", "main")
	w.push(key("tidy"))
	back := w.await("the older revision", "tidy", at(all[2].Revision))
	w.download(back.Status.Artifact)
}

// A build has begun to read an artifact when three more revisions come. Over the first two the artifact
// stays for who begins anew, and who reads it gets all of it even when it was collected.
func slowBuild(t *testing.T, w *world) {
	noise := make([]byte, 8<<20) // more than any buffer on the way
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	repo := gittest.NewRepo(t, w.root, "slow-build")
	sha := repo.Commit("main", "first", map[string]string{"noise": string(noise)})
	w.create("slow-build", sourcev1.GitRepositorySpec{URL: w.http.URL + "/slow-build", Reference: branch("main")})
	first := w.await("the artifact", "slow-build", at("main@sha1:"+sha)).Status.Artifact
	build, err := w.blobs.Reader(t.Context(), blobOf("slow-build", first), first.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer build.Close()
	if _, err := io.CopyN(io.Discard, build, 1<<10); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		stored := time.Now().Unix() // storage tells ages in whole seconds
		w.eventually("the next second", func() bool { return time.Now().Unix() > stored }, func() any { return nil })
		sha := repo.Commit("main", "next", map[string]string{"noise": strings.Repeat("x", n)})
		w.push(key("slow-build"))
		w.await("the next artifact", "slow-build", at("main@sha1:"+sha))
		if n < 2 {
			w.download(first)
		}
	}
	w.eventually("the end of the first artifact", func() bool {
		_, err := w.blobs.Stat(t.Context(), blobOf("slow-build", first))
		return errors.Is(err, blob.ErrNotFound)
	}, func() any { return nil })
	if rest, err := io.Copy(io.Discard, build); err != nil || rest != *first.Size-1<<10 {
		t.Errorf("the build read %d more bytes of %d: %v", rest, *first.Size, err)
	}
}

// What belongs to no source goes once it is old; what a status names stays, however old.
func storageSwept(t *testing.T, w *world) {
	sha := gittest.NewRepo(t, w.root, "swept").Commit("main", "first", map[string]string{"a": "1"})
	w.create("swept", sourcev1.GitRepositorySpec{URL: w.http.URL + "/swept", Reference: branch("main")})
	alive := blobOf("swept", w.await("the artifact", "swept", at("main@sha1:"+sha)).Status.Artifact)
	body := []byte("left behind")
	old, young := blobOf("gone", &meta.Artifact{Digest: blob.Digest(body)}), blobOf("going", &meta.Artifact{Digest: blob.Digest(body)})
	foreign := strings.Replace(old, "gitrepository", "another-kind", 1)
	for _, name := range []string{old, young, foreign} {
		if err := w.blobs.Put(t.Context(), name, bytes.Clone(body), blob.Digest(body)); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-3 * time.Hour)
	for _, name := range []string{alive, foreign, old} {
		if err := os.Chtimes(filepath.Join(w.bucket, "data", "test", name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("the end of what was left behind", func() bool {
		_, err := w.blobs.Stat(t.Context(), old)
		return errors.Is(err, blob.ErrNotFound)
	}, func() any { return nil })
	for _, name := range []string{alive, young, foreign} {
		if _, err := w.blobs.Stat(t.Context(), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A status that another fetcher wrote, at another address or with another digest, is brought up
// to date. (The API server takes none without a digest.)
func statusOfBefore(t *testing.T, w *world) {
	sha := gittest.NewRepo(t, w.root, "before").Commit("main", "first", map[string]string{"a": "1"})
	w.create("before", sourcev1.GitRepositorySpec{URL: w.http.URL + "/before", Reference: branch("main")})
	want := w.await("the artifact", "before", at("main@sha1:"+sha)).Status.Artifact
	for name, change := range map[string]struct {
		status func(*meta.Artifact)
		// downloads says that the artifact has to be made anew.
		downloads bool
	}{
		"another address":       {status: func(a *meta.Artifact) { a.URL = "http://elsewhere.example.com/" + a.Path }},
		"a digest of no kind":   {status: func(a *meta.Artifact) { a.Digest = "md5:00" }, downloads: true},
		"a size that is wrong":  {status: func(a *meta.Artifact) { *a.Size++ }, downloads: true},
		"a digest of something": {status: func(a *meta.Artifact) { a.Digest = blob.Digest([]byte("something")) }, downloads: true},
	} {
		obj := w.await("what is there", "before", ready)
		before := obj.DeepCopy()
		made := obj.Status.Artifact.LastUpdateTime
		change.status(obj.Status.Artifact)
		if err := w.client.Status().Patch(t.Context(), obj, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		got := w.request("before", name).Status.Artifact
		if got == nil || got.URL != "http://"+w.address+"/"+got.Path || got.Digest != want.Digest || *got.Size != *want.Size || got.Revision != want.Revision {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
			continue
		}
		if !change.downloads && !got.LastUpdateTime.Equal(&made) {
			t.Errorf("%s: the artifact was made anew", name)
		}
		w.download(got)
	}
}
