package compose_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/compose"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

func limits() pack.Limits { return pack.Limits{Entries: 1000, Bytes: 1 << 20} }

// tree makes files of paths and contents, with the folders that lead to them.
func tree(contents map[string]string) []pack.File {
	var branch []pack.File
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		branch = append(branch, pack.File{Path: name, Open: func() (int64, io.ReadCloser, error) {
			return int64(len(contents[name])), io.NopCloser(strings.NewReader(contents[name])), nil
		}})
	}
	files, err := pack.Graft(nil, ".", branch, ".")
	if err != nil {
		panic(err)
	}
	return files
}

func archive(t *testing.T, contents map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := pack.Archive(t.Context(), &b, tree(contents), nil, limits()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// contents reads the files of a tree.
func contents(t *testing.T, files []pack.File) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, f := range files {
		if f.Dir {
			continue
		}
		_, body, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		found[f.Path] = string(text)
	}
	return found
}

func TestAdd(t *testing.T) {
	repo := map[string]string{
		"README.md": "readme", ".github/ci.yaml": "ci",
		"apps/web/values.yaml": "replicas: 2\nimage: {tag: v2}\nhosts: [b]\n", "apps/web/NOTES.md": "notes", "apps/web/sub/x.yaml": "x",
		"apps/db/values.yaml": "db", "bundle.tar.gz": archive(t, map[string]string{"crds/a.yaml": "crd"}), "broken.tgz": "no archive",
	}
	there := map[string]string{"values.yaml": "replicas: 1\nimage: {name: web, tag: v1}\nhosts: [a]\n", "apps/old.yaml": "old"}
	bombs := map[string]string{
		"bomb.yaml": "a: &a \"" + strings.Repeat("x", 40<<10) + "\"\nb: [" + strings.Repeat("*a,", 500) + "]\n",
		"deep.yaml": "a: " + strings.Repeat("[", 5000) + strings.Repeat("a,", 5000) + strings.Repeat("]", 5000) + "\n",
	}
	maps.Copy(there, bombs)
	for reason, c := range map[string]struct {
		copy compose.Copy
		want map[string]string // beside what is there, or instead of it
		err  string
	}{
		"a folder into a folder keeps its name":       {copy: compose.Copy{From: "apps/web/", To: "out/"}, want: map[string]string{"out/web/values.yaml": repo["apps/web/values.yaml"], "out/web/NOTES.md": "notes", "out/web/sub/x.yaml": "x"}},
		"a folder to a new name":                      {copy: compose.Copy{From: "apps/db", To: "out"}, want: map[string]string{"out/values.yaml": "db"}},
		"a folder to one that is there":               {copy: compose.Copy{From: "apps/db", To: "apps"}, want: map[string]string{"apps/db/values.yaml": "db"}},
		"what a folder holds":                         {copy: compose.Copy{From: "apps/web/**", To: ""}, want: map[string]string{"values.yaml": repo["apps/web/values.yaml"], "NOTES.md": "notes", "sub/x.yaml": "x"}},
		"all of a source":                             {copy: compose.Copy{From: "", To: "all/"}, want: prefixed("all/", repo)},
		"a folder whose name begins with a dot":       {copy: compose.Copy{From: ".github", To: ""}, want: map[string]string{".github/ci.yaml": "ci"}},
		"a file into a folder":                        {copy: compose.Copy{From: "README.md", To: "docs/"}, want: map[string]string{"docs/README.md": "readme"}},
		"a file to another name":                      {copy: compose.Copy{From: "README.md", To: "docs/index.md"}, want: map[string]string{"docs/index.md": "readme"}},
		"a file over another":                         {copy: compose.Copy{From: "apps/db/values.yaml", To: "values.yaml"}, want: map[string]string{"values.yaml": "db"}},
		"names that match":                            {copy: compose.Copy{From: "apps/web/*.yaml", To: "out/"}, want: map[string]string{"out/values.yaml": repo["apps/web/values.yaml"]}},
		"names at any depth keep their folders":       {copy: compose.Copy{From: "apps/**/*.yaml", To: "out/"}, want: map[string]string{"out/web/values.yaml": repo["apps/web/values.yaml"], "out/web/sub/x.yaml": "x", "out/db/values.yaml": "db"}},
		"folders that match, with what they hold":     {copy: compose.Copy{From: "apps/d*", To: "out/"}, want: map[string]string{"out/db/values.yaml": "db"}},
		"without names that are excluded":             {copy: compose.Copy{From: "apps/web/**", To: "out/", Exclude: []string{"*.md"}}, want: map[string]string{"out/values.yaml": repo["apps/web/values.yaml"], "out/sub/x.yaml": "x"}},
		"without paths that are excluded":             {copy: compose.Copy{From: "apps/**", To: "out/", Exclude: []string{"web/sub/**", "apps/db"}}, want: map[string]string{"out/web/values.yaml": repo["apps/web/values.yaml"], "out/web/NOTES.md": "notes"}},
		"merged as values are":                        {copy: compose.Copy{From: "apps/web/values.yaml", To: "values.yaml", Strategy: compose.Merge}, want: map[string]string{"values.yaml": "hosts:\n- b\nimage:\n  name: web\n  tag: v2\nreplicas: 2\n"}},
		"merged with nothing":                         {copy: compose.Copy{From: "apps/web/values.yaml", To: "new.yaml", Strategy: compose.Merge}, want: map[string]string{"new.yaml": repo["apps/web/values.yaml"]}},
		"what is no YAML is not merged":               {copy: compose.Copy{From: "README.md", To: "values.yaml/", Strategy: compose.Merge}, err: "only .yaml and .yml files"},
		"what is no map is not merged":                {copy: compose.Copy{From: "apps/db/values.yaml", To: "values.yaml", Strategy: compose.Merge}, err: `merge "apps/db/values.yaml"`},
		"what is far larger without its aliases":      {copy: compose.Copy{From: "apps/web/values.yaml", To: "bomb.yaml", Strategy: compose.Merge}, err: "too large to be read"},
		"what is far larger when it is indented":      {copy: compose.Copy{From: "apps/web/values.yaml", To: "deep.yaml", Strategy: compose.Merge}, err: "levels deep"},
		"a pattern of very many alternatives":         {copy: compose.Copy{From: "apps", To: "out/", Exclude: []string{strings.Repeat("{a,a}", 30) + "x"}}, err: "ways to take its alternatives"},
		"alternatives within each other":              {copy: compose.Copy{From: "apps", To: "out/", Exclude: []string{"{a,[}],{b" + strings.Repeat(",b", 300) + "}}"}}, err: "ways to take its alternatives"},
		"a very long pattern":                         {copy: compose.Copy{From: "apps", To: "out/", Exclude: []string{strings.Repeat("*a", 600)}}, err: "are the most"},
		"one of many names":                           {copy: compose.Copy{From: "apps/db", To: "out", Exclude: []string{"{a" + strings.Repeat(",b", 200) + "}/[{,]"}}, want: map[string]string{"out/values.yaml": "db"}},
		"what an archive holds":                       {copy: compose.Copy{From: "bundle.tar.gz", To: "out/", Strategy: compose.Extract}, want: map[string]string{"out/crds/a.yaml": "crd"}},
		"a pattern of archives passes over the rest":  {copy: compose.Copy{From: "*e.*", To: "", Exclude: []string{"broken.tgz"}, Strategy: compose.Extract}, want: map[string]string{"crds/a.yaml": "crd"}},
		"a file that is no archive is not extracted":  {copy: compose.Copy{From: "README.md", To: "out/", Strategy: compose.Extract}, err: "is no archive"},
		"a folder is not extracted":                   {copy: compose.Copy{From: "apps", To: "out/", Strategy: compose.Extract}, err: "is a folder"},
		"an archive that cannot be read":              {copy: compose.Copy{From: "broken.tgz", To: "out/", Strategy: compose.Extract}, err: `extract "broken.tgz"`},
		"nothing there":                               {copy: compose.Copy{From: "missing/file", To: "out/"}, err: `nothing matches "missing/file"`},
		"nothing matches":                             {copy: compose.Copy{From: "apps/*.json", To: "out/"}, err: `nothing matches "apps/*.json"`},
		"a pattern that cannot be read":               {copy: compose.Copy{From: "apps/[", To: "out/"}, err: "is not valid"},
		"a path that leaves the artifact":             {copy: compose.Copy{From: "README.md", To: "../out"}, err: "leads out of the tree"},
		"a path that leaves the source":               {copy: compose.Copy{From: "../README.md", To: "out/"}, err: "leads out of the tree"},
		"a file where a folder is":                    {copy: compose.Copy{From: "README.md", To: "values.yaml/x"}, err: "is a file"},
		"a strategy that nobody knows":                {copy: compose.Copy{From: "README.md", To: "x", Strategy: "Guess"}, err: `strategy "Guess" is not known`},
		"a name with braces is a pattern, not a file": {copy: compose.Copy{From: "{README,LICENSE}.md", To: "x/"}, want: map[string]string{"x/README.md": "readme"}},
	} {
		t.Run(reason, func(t *testing.T) {
			made := compose.New(t.TempDir(), limits())
			defer made.Close()
			if err := made.Add(t.Context(), tree(there), compose.Copy{From: "", To: ""}); err != nil {
				t.Fatal(err)
			}
			err := made.Add(t.Context(), tree(repo), c.copy)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want an error with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(there)
			maps.Copy(want, c.want)
			if diff := cmp.Diff(want, contents(t, made.Files)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func prefixed(prefix string, files map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range files {
		out[prefix+name] = text
	}
	return out
}

func TestPattern(t *testing.T) {
	files := tree(map[string]string{
		"apps/web/envs/prod/a.yaml": "", "apps/web/envs/dev/a.yaml": "", "apps/db/envs/prod/a.yaml": "", "apps/db/base/a.yaml": "", "other/x": "",
	})
	for pattern, c := range map[string]struct {
		want []compose.Captures
		err  string
	}{
		"apps/{app}/envs/{env}": {want: []compose.Captures{{"app": "db", "env": "prod"}, {"app": "web", "env": "dev"}, {"app": "web", "env": "prod"}}},
		"/apps/{app}":           {want: []compose.Captures{{"app": "db"}, {"app": "web"}}},
		"apps/*/envs/p{rest}":   {want: []compose.Captures{{"rest": "rod"}, {"rest": "rod"}}},
		"**/base":               {want: []compose.Captures{{}}},
		"apps/{app}/none":       {},
		"apps/{app}/envs/{APP}": {err: "there twice"},
		"apps/{app":             {err: "a capture is written"},
		"../{app}":              {err: "leads out"},
	} {
		t.Run(pattern, func(t *testing.T) {
			p, err := compose.ParsePattern(pattern)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want an error with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, p.Find(files)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := (compose.Captures{"app": "web", "env": "{app}"}).Fill("x-{app}-{env}-{other}"); got != "x-web-{app}-{other}" {
		t.Errorf("filled in: %s", got)
	}
}

// However often something is copied or extracted, an artifact in the making is no larger than one may be.
func TestTreesAreBounded(t *testing.T) {
	few := map[string]string{}
	for n := range limits().Entries * 2 / 3 {
		few[fmt.Sprint("f", n)] = ""
	}
	many := archive(t, few)
	large := archive(t, map[string]string{"zeros": strings.Repeat("0", int(limits().Bytes)*2/3)})
	for reason, c := range map[string]struct {
		source map[string]string
		copies []compose.Copy
		fails  string
	}{
		"copied once":                   {few, []compose.Copy{{From: "**", To: "a/"}}, ""},
		"copied into two folders":       {few, []compose.Copy{{From: "**", To: "a/"}, {From: "**", To: "b/"}}, "more than 1000 files and folders"},
		"extracted once":                {map[string]string{"a.tgz": large}, []compose.Copy{{From: "a.tgz", To: "a/", Strategy: compose.Extract}}, ""},
		"large archives of one pattern": {map[string]string{"a.tgz": large, "b.tgz": large}, []compose.Copy{{From: "*.tgz", To: "a/", Strategy: compose.Extract}}, "1048576 bytes and 1000 entries at most"},
		"archives of many entries": {
			map[string]string{"a.tgz": many},
			[]compose.Copy{{From: "a.tgz", To: "a/", Strategy: compose.Extract}, {From: "a.tgz", To: "a/", Strategy: compose.Extract}},
			"1048576 bytes and 1000 entries at most",
		},
	} {
		made := compose.New(t.TempDir(), limits())
		var err error
		for _, one := range c.copies {
			if err = made.Add(t.Context(), tree(c.source), one); err != nil {
				break
			}
		}
		if c.fails == "" && err != nil || c.fails != "" && (!errors.Is(err, pack.ErrLimit) || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: got %v, want %q", reason, err, c.fails)
		}
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	}
}
