package workspace_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/workspace"
)

// bucket is a store in memory that counts reads and can hold them up.
type bucket struct {
	bodies map[string][]byte
	reads  atomic.Int32
	gate   chan struct{}
}

func (b *bucket) Reader(_ context.Context, name, want string) (io.ReadCloser, error) {
	b.reads.Add(1)
	if b.gate != nil {
		<-b.gate
	}
	body, ok := b.bodies[name]
	if !ok {
		return nil, blob.ErrNotFound
	}
	end := io.EOF
	if blob.Digest(body) != want {
		end = &blob.CorruptError{Name: name, Want: want, Got: blob.Digest(body)}
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{end})), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func archive(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, h := range headers {
		body := h.Uname // the content, for short
		h.Uname, h.Mode, h.Size = "", 0o600, int64(len(body))
		if h.Typeflag != tar.TypeReg {
			h.Size, body = 0, ""
		}
		if err := errors.Join(w.WriteHeader(&h), second(w.Write([]byte(body)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func second(_ int, err error) error { return err }

func file(name, body string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Uname: body}
}

func newCache(t *testing.T, b *bucket, c workspace.Config) *workspace.Cache {
	t.Helper()
	c.Dir = t.TempDir()
	cache, err := workspace.New(b, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	})
	return cache
}

func TestOpenUnpacksAndIndexes(t *testing.T) {
	body := archive(t, file("./app/a.yaml", "a"), tar.Header{Name: "empty/", Typeflag: tar.TypeDir}, file("z", ""),
		tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "z"})
	cache := newCache(t, &bucket{bodies: map[string][]byte{"x": body}}, workspace.Config{})
	tree, err := cache.Open(t.Context(), "x", blob.Digest(body))
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Release()
	names, _ := tree.Folder(".")
	if diff := cmp.Diff([]string{"app", "empty", "z"}, names); diff != "" {
		t.Error("links must be left out: " + diff)
	}
	if file, _ := tree.File("app/a.yaml"); file.Digest != blob.Digest([]byte("a")) {
		t.Errorf("digest is %s", file.Digest)
	}
	if names, ok := tree.Folder("empty"); !ok || len(names) != 0 {
		t.Errorf("empty folder: %v, %v", names, ok)
	}
	opened, err := artifact.Open(tree.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	onDisk, err := opened.Read("app/a.yaml")
	if err != nil || string(onDisk) != "a" {
		t.Errorf("on disk: %q, %v", onDisk, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := archive(t, file("a", "a"))
	tests := []struct {
		reason string
		body   []byte
		digest string
		limits workspace.Limits
		want   error
		text   string
	}{
		{reason: "dots lead out", body: archive(t, file("../evil", "x")), want: workspace.ErrUnsafe, text: `"../evil" leaves it`},
		{reason: "hidden dots lead out", body: archive(t, file("a/../../evil", "x")), want: workspace.ErrUnsafe},
		{reason: "an absolute name leads out", body: archive(t, file("/etc/evil", "x")), want: workspace.ErrUnsafe},
		{reason: "a file is used as a folder", body: archive(t, file("a", "x"), file("a/b", "x")), want: workspace.ErrUnsafe},
		{reason: "a folder is used as a file", body: archive(t, file("a/b", "x"), file("a", "x")), want: workspace.ErrUnsafe},
		{reason: "too many entries", body: archive(t, file("a", ""), file("b", "")), limits: workspace.Limits{Entries: 1}, want: workspace.ErrUnsafe},
		{reason: "too deep", body: archive(t, file("a/b/c", "")), limits: workspace.Limits{Depth: 2}, want: workspace.ErrUnsafe},
		{reason: "a bomb", body: archive(t, file("a", strings.Repeat("0", 1<<20))), limits: workspace.Limits{Bytes: 1 << 10}, want: workspace.ErrUnsafe},
		{reason: "no archive", body: []byte("hello"), want: workspace.ErrUnsafe},
		{reason: "damaged in the bucket", body: good, digest: blob.Digest([]byte("other")), want: blob.ErrCorrupt},
		{reason: "cut short in the bucket", body: good[:len(good)/2], digest: blob.Digest(good), want: blob.ErrCorrupt},
		{reason: "not there", digest: blob.Digest(good), want: blob.ErrNotFound},
		{reason: "no digest", body: good, digest: "sha256:../../x", want: workspace.ErrUnsafe},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			b := &bucket{bodies: map[string][]byte{}}
			if tt.body != nil {
				b.bodies["x"] = tt.body
			}
			if tt.digest == "" {
				tt.digest = blob.Digest(tt.body)
			}
			cache := newCache(t, b, workspace.Config{Limits: tt.limits})
			_, err := cache.Open(t.Context(), "x", tt.digest)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %v %s", err, tt.want, tt.text)
			}
			left, err := os.ReadDir(cache.Folder())
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestConcurrentAskersShareOneUnpacking(t *testing.T) {
	body := archive(t, file("a", "a"))
	b := &bucket{bodies: map[string][]byte{"x": body}, gate: make(chan struct{})}
	cache := newCache(t, b, workspace.Config{})
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			tree, err := cache.Open(t.Context(), "x", blob.Digest(body))
			if err != nil {
				t.Error(err)
				return
			}
			tree.Release()
			tree.Release()
		})
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := cache.Open(ended, "x", blob.Digest(body)); !errors.Is(err, context.Canceled) {
		t.Errorf("an asker whose time is over got %v", err)
	}
	close(b.gate)
	all.Wait()
	if n := b.reads.Load(); n != 1 {
		t.Errorf("%d reads, want 1", n)
	}
}

func TestFailureIsNotRemembered(t *testing.T) {
	body := archive(t, file("a", "a"))
	b := &bucket{bodies: map[string][]byte{}}
	cache := newCache(t, b, workspace.Config{})
	if _, err := cache.Open(t.Context(), "x", blob.Digest(body)); !errors.Is(err, blob.ErrNotFound) {
		t.Fatal(err)
	}
	b.bodies["x"] = body
	tree, err := cache.Open(t.Context(), "x", blob.Digest(body))
	if err != nil {
		t.Fatal(err)
	}
	tree.Release()
}

func TestDiskIsBounded(t *testing.T) {
	first, second := archive(t, file("a", strings.Repeat("1", 100))), archive(t, file("a", strings.Repeat("2", 100)))
	cache := newCache(t, &bucket{bodies: map[string][]byte{"1": first, "2": second}}, workspace.Config{Disk: 150})
	one, err := cache.Open(t.Context(), "1", blob.Digest(first))
	if err != nil {
		t.Fatal(err)
	}
	two, err := cache.Open(t.Context(), "2", blob.Digest(second))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(one.Dir); err != nil {
		t.Error("an artifact in use was removed")
	}
	one.Release()
	if _, err := os.Stat(one.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the one used longest ago is still there: %v", err)
	}
	if _, err := os.Stat(two.Dir); err != nil {
		t.Error("the one that fits was removed")
	}
	two.Release()
}

func TestFolderBelongsToOneProcess(t *testing.T) {
	dir := t.TempDir()
	cache, err := workspace.New(&bucket{}, workspace.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := workspace.New(&bucket{}, workspace.Config{Dir: dir}); err == nil {
		t.Error("two caches share a folder")
	}
	if err := cache.Close(); err != nil {
		t.Fatal(err)
	}
}
