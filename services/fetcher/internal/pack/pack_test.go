package pack_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// tree makes files of paths, with the folders that lead to them, in lexical
// order. A path that ends in ! is executable.
func tree(contents map[string]string) []pack.File {
	seen := map[string]pack.File{}
	for name, content := range contents {
		plain, executable := strings.CutSuffix(name, "!")
		for dir := path.Dir(plain); dir != "."; dir = path.Dir(dir) {
			seen[dir] = pack.File{Path: dir, Dir: true}
		}
		seen[plain] = pack.File{Path: plain, Executable: executable, Open: func() (int64, io.ReadCloser, error) {
			return int64(len(content)), io.NopCloser(strings.NewReader(content)), nil
		}}
	}
	var files []pack.File
	for _, f := range seen {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b pack.File) int {
		return slices.Compare(strings.Split(a.Path, "/"), strings.Split(b.Path, "/"))
	})
	return files
}

func limits() pack.Limits { return pack.Limits{Entries: 100, Bytes: 1 << 20} }

func archive(t *testing.T, files []pack.File, extra *string) ([]byte, pack.Result) {
	t.Helper()
	ignore, err := pack.ReadIgnore(files, extra)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	result, err := pack.Archive(t.Context(), &out, files, ignore, limits())
	if err != nil {
		t.Fatal(err)
	}
	if result.Size != int64(out.Len()) {
		t.Errorf("size is %d, archive has %d bytes", result.Size, out.Len())
	}
	return out.Bytes(), result
}

// headers lists the entries of an archive.
func headers(t *testing.T, body []byte) []*tar.Header {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var list []*tar.Header
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, h)
	}
}

func TestEqualTreesGiveEqualArchives(t *testing.T) {
	files := map[string]string{"a.yaml": "1", "dir/run!": "2", "dir/sub/b.yaml": "3"}
	first, a := archive(t, tree(files), nil)
	second, b := archive(t, tree(files), nil)
	if !bytes.Equal(first, second) || a != b {
		t.Error("two archives of one tree differ")
	}
	type entry struct {
		Name string
		Mode int64
	}
	var got []entry
	for _, h := range headers(t, first) {
		got = append(got, entry{h.Name, h.Mode})
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s tells where it was made: %+v", h.Name, h)
		}
	}
	want := []entry{{"a.yaml", 0o600}, {"dir/", 0o750}, {"dir/run", 0o700}, {"dir/sub/", 0o750}, {"dir/sub/b.yaml", 0o600}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	files["a.yaml"] = "other"
	if _, c := archive(t, tree(files), nil); c.Digest == a.Digest {
		t.Error("other content has the same digest")
	}
}

func TestIgnore(t *testing.T) {
	rules := func(s string) *string { return &s }
	for reason, c := range map[string]struct {
		files map[string]string
		extra *string
		want  []string
	}{
		"default rules": {
			map[string]string{"a.yaml": "", ".gitignore": "", "x/logo.png": "", ".github/w.yml": "", "x/.flux.yaml": "", "b.tar.gz": ""}, nil,
			[]string{"a.yaml", "x/"},
		},
		"own rules replace all defaults but version control": {
			map[string]string{"a.yaml": "", ".gitignore": "", "logo.png": "", ".sourceignore": "a.yaml\n"}, nil,
			[]string{".sourceignore", "logo.png"},
		},
		"rules of a folder hold in it alone": {
			map[string]string{"a.yaml": "", "x/.sourceignore": "/a.yaml", "x/a.yaml": "", "x/b.yaml": ""}, nil,
			[]string{"a.yaml", "x/", "x/.sourceignore", "x/b.yaml"},
		},
		"the deeper rule has the last word": {
			map[string]string{".sourceignore": "*.txt", "+/.sourceignore": "!keep.txt", "+/keep.txt": "", "keep.txt": ""}, nil,
			[]string{"+/", "+/.sourceignore", "+/keep.txt", ".sourceignore"},
		},
		"spec rules win over files": {
			map[string]string{".sourceignore": "*.txt", "a.txt": "", "b.txt": ""}, rules("!a.txt"),
			[]string{".sourceignore", "a.txt"},
		},
		"one folder only": {
			map[string]string{"a.yaml": "", "charts/x/y.yaml": "", "other/z.yaml": ""}, rules("/*\n!/charts/\n"),
			[]string{"charts/", "charts/x/", "charts/x/y.yaml"},
		},
		"comments are no rules": {
			map[string]string{"a.yaml": "", "logo.png": ""}, rules("# nothing\n\n"),
			[]string{"a.yaml"},
		},
	} {
		t.Run(reason, func(t *testing.T) {
			body, _ := archive(t, tree(c.files), c.extra)
			var got []string
			for _, h := range headers(t, body) {
				got = append(got, h.Name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Rules take no more memory the deeper they are, and of all folders together there are only so many.
func TestIgnoreRulesAreBounded(t *testing.T) {
	deep := strings.Repeat("d/", 60)
	many, more := strings.Repeat("a\n", 10_000), "b\n"
	for why, c := range map[string]struct {
		files map[string]string
		extra *string
		limit bool
	}{
		"as many as there may be":    {map[string]string{deep + ".sourceignore": many}, nil, false},
		"one more":                   {map[string]string{deep + ".sourceignore": many + more}, nil, true},
		"one more in another folder": {map[string]string{deep + ".sourceignore": many, "b/.sourceignore": more}, nil, true},
		"one more of the object's":   {map[string]string{".sourceignore": many}, &more, true},
		"as large as they may be":    {map[string]string{".sourceignore": strings.Repeat("#\n", 1<<19)}, nil, false},
		"larger":                     {map[string]string{".sourceignore": strings.Repeat("#\n", 1<<19) + "#"}, nil, true},
		"larger together":            {map[string]string{".sourceignore": strings.Repeat("#\n", 1<<19), "b/.sourceignore": "#"}, nil, true},
		"far larger":                 {map[string]string{deep + ".sourceignore": strings.Repeat("a\n", 1<<20)}, nil, true},
	} {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ignore, err := pack.ReadIgnore(tree(c.files), c.extra)
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(ignore)
		if errors.Is(err, pack.ErrLimit) != c.limit || (err != nil) != c.limit {
			t.Errorf("%s: got %v", why, err)
		}
		if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 8<<20 {
			t.Errorf("%s: %d MiB stay in memory", why, held>>20)
		}
	}
}

func TestDefaultRulesByNameAreTheDefaultRules(t *testing.T) {
	names := []string{"a", ".git", ".gitignore", "x.png", "y.tar.gz", ".github", ".travis.yml", ".flux.yaml", "dir", ".sops.yaml", "cloudbuild.yaml"}
	ignore, err := pack.ReadIgnore(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := sourceignore.NewDefaultMatcher(nil, nil)
	for _, a := range names {
		for _, b := range names {
			for _, c := range names {
				for _, dir := range []bool{true, false} {
					for _, parts := range [][]string{{a}, {a, b}, {a, b, c}} {
						if got := ignore.Match(strings.Join(parts, "/"), dir); got != want.Match(parts, dir) {
							t.Fatalf("%q, folder %t: %t", parts, dir, got)
						}
					}
				}
			}
		}
	}
}

func TestLimits(t *testing.T) {
	files := tree(map[string]string{"a": strings.Repeat("x", 100), "b": "y"})
	for reason, l := range map[string]pack.Limits{
		"too many entries": {Entries: 1, Bytes: 1 << 20},
		"too many bytes":   {Entries: 10, Bytes: 100},
	} {
		if _, err := pack.Archive(t.Context(), io.Discard, files, nil, l); !errors.Is(err, pack.ErrLimit) {
			t.Errorf("%s: got %v", reason, err)
		}
	}
	if _, err := pack.Archive(t.Context(), io.Discard, files, nil, pack.Limits{Entries: 2, Bytes: 101}); err != nil {
		t.Errorf("at the limit: %v", err)
	}
}
