package kustomize_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/fast/treetest"
	"github.com/sluice-gitops/sluice/services/builder/internal/kustomize"
)

// tree is an artifact: path to content. A content that starts with "-> " is a
// symbolic link, which artifacts leave out.
type tree map[string]string

func (files tree) open(t testing.TB) *artifact.Tree {
	t.Helper()
	dir := t.TempDir()
	w, err := artifact.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range files {
		if strings.HasPrefix(body, "-> ") {
			continue
		}
		if err := w.AddFile(name, strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	opened, err := artifact.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

const (
	configA = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: one\ndata:\n  k: v\n"
	configB = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\ndata:\n  k: v\n"
	pod     = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - name: c\n    image: app:1\n"
)

func kustomization(fields string) string {
	return "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" + fields
}

func specOf(t *testing.T, text string) *kustomizev1.KustomizationSpec {
	t.Helper()
	spec := &kustomizev1.KustomizationSpec{}
	if err := yaml.UnmarshalStrict([]byte(text), spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

// names lists objects as namespace/name@origin.
func names(objects []render.Object) []string {
	out := []string{}
	for _, o := range objects {
		out = append(out, o.GetNamespace()+"/"+o.GetName()+"@"+o.Origin)
	}
	return out
}

func TestBuildGivesObjectsAndTheirFiles(t *testing.T) {
	tests := []struct {
		reason string
		files  tree
		spec   string
		want   []string
	}{
		{
			reason: "a folder with a kustomization is built as it says",
			files:  tree{"app/kustomization.yaml": kustomization("resources: [a.yaml]"), "app/a.yaml": configA, "app/b.yaml": configB},
			spec:   "path: ./app",
			want:   []string{"one/a@app/a.yaml"},
		},
		{
			reason: "a plain folder gives all its manifests, those of sub-folders too, and no other file",
			files:  tree{"app/a.yaml": configA, "app/deep/er/b.yml": configB, "app/README.md": "# no"},
			spec:   "path: app",
			want:   []string{"one/a@app/a.yaml", "/b@app/deep/er/b.yml"},
		},
		{
			reason: "a sub-folder with its own kustomization counts as one resource",
			files: tree{"app/a.yaml": configA, "app/sub/kustomization.yml": kustomization("resources: [b.yaml]\nnamespace: two"),
				"app/sub/b.yaml": configB, "app/sub/left-out.yaml": pod},
			spec: "path: /app",
			want: []string{"one/a@app/a.yaml", "two/b@app/sub/b.yaml"},
		},
		{
			reason: "an empty path means the root of the artifact",
			files:  tree{"a.yaml": configA},
			want:   []string{"one/a@a.yaml"},
		},
		{
			reason: "an artifact without manifests is an empty build, not a failure",
			files:  tree{"README.md": "nothing"},
			want:   []string{},
		},
		{
			reason: "a manifest without documents adds nothing",
			files:  tree{"a.yaml": configA, "empty.yaml": "# only a comment\n---\n"},
			want:   []string{"one/a@a.yaml"},
		},
		{
			reason: "bases above the folder are inside the artifact",
			files: tree{"base/kustomization.yaml": kustomization("resources: [a.yaml]"), "base/a.yaml": configA,
				"over/prod/kustomization.yaml": kustomization("resources: [../../base]\nnamespace: prod")},
			spec: "path: over/prod",
			want: []string{"prod/a@base/a.yaml"},
		},
		{
			reason: "the spec's namespace, prefix and suffix win",
			files:  tree{"kustomization.yaml": kustomization("resources: [a.yaml]\nnamespace: x\nnamePrefix: no-"), "a.yaml": configA},
			spec:   "targetNamespace: t\nnamePrefix: pre-\nnameSuffix: -suf",
			want:   []string{"t/pre-a-suf@a.yaml"},
		},
		{
			reason: "a generated object's origin is the file that configures it",
			files:  tree{"app/kustomization.yaml": kustomization("configMapGenerator:\n- name: g\n  literals: [a=b]\n  options: {disableNameSuffixHash: true}")},
			spec:   "path: app",
			want:   []string{"/g@app/kustomization.yaml"},
		},
		{
			reason: "a missing component is skipped when the spec says so",
			files: tree{"kustomization.yaml": kustomization("resources: [a.yaml]"), "a.yaml": configA,
				"c/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnamespace: comp\n"},
			spec: "components: [c, gone]\nignoreMissingComponents: true",
			want: []string{"comp/a@a.yaml"},
		},
		{
			reason: "kustomizations among the output are dropped",
			files: tree{"kustomization.yaml": kustomization("resources: [k.yaml, a.yaml]"), "a.yaml": configA,
				"k.yaml": kustomization("metadata:\n  name: x\n")},
			want: []string{"one/a@a.yaml"},
		},
		{
			reason: "several patches may delete",
			files:  tree{"a.yaml": configA, "b.yaml": configB, "p.yaml": pod},
			spec: "patches:\n- patch: |\n    $patch: delete\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: a, namespace: one}\n" +
				"- patch: |\n    $patch: delete\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: b}\n",
			want: []string{"/p@p.yaml"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got, err := kustomize.Build(tt.files.open(t), specOf(t, tt.spec), nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, names(got.Objects)); diff != "" {
				t.Error(diff)
			}
			for _, o := range got.Objects {
				if _, ok := o.GetAnnotations()["config.kubernetes.io/origin"]; ok {
					t.Errorf("%s kept kustomize's annotation", o.GetName())
				}
			}
		})
	}
}

func TestBuildChangesObjectsAsTheSpecSays(t *testing.T) {
	tests := []struct {
		reason, kustomization, spec, want string
	}{
		{
			reason:        "a strategic merge patch of the spec is applied after the folder's own",
			kustomization: "patches:\n- patch: |\n    {apiVersion: v1, kind: Pod, metadata: {name: p, labels: {l: own}}}\n",
			spec:          "patches:\n- patch: |\n    {apiVersion: v1, kind: Pod, metadata: {name: p, labels: {l: spec}}}\n",
			want:          "l: spec",
		},
		{
			reason: "a JSON patch finds its target",
			spec:   "patches:\n- target: {kind: Pod}\n  patch: |\n    - {op: add, path: /metadata/labels, value: {from: json}}\n",
			want:   "from: json",
		},
		{
			reason:        "an image's tag and digest are replaced as one, its name only when set",
			kustomization: "images:\n- {name: app, newName: reg/app, digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}\n",
			spec:          "images:\n- {name: app, newTag: v2}\n",
			want:          "image: reg/app:v2",
		},
		{
			reason: "an image may have tag and digest",
			spec:   "images:\n- {name: app, newTag: v2, digest: 'sha256:1111111111111111111111111111111111111111111111111111111111111111'}\n",
			want:   "image: app:v2@sha256:1111",
		},
		{
			reason: "common metadata is added last and wins",
			spec:   "commonMetadata:\n  labels: {team: a}\n  annotations: {note: b}\n",
			want:   "team: a",
		},
		{
			reason: "origin annotations stay when the spec asks for them",
			spec:   "buildMetadata: [originAnnotations]",
			want:   "path: p.yaml",
		},
		{
			reason:        "an annotation that looks like a number or a date stays text",
			kustomization: "commonAnnotations:\n  num: '1'\n  d: '2001-01-01'\n",
			want:          `d: "2001-01-01"`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			files := tree{"kustomization.yaml": kustomization("resources: [p.yaml]\n" + tt.kustomization), "p.yaml": pod}
			spec := specOf(t, tt.spec)
			got, err := kustomize.Build(files.open(t), spec, nil)
			if err != nil {
				t.Fatal(err)
			}
			kustomize.Decorate(got.Objects, spec.CommonMetadata)
			body, err := yaml.Marshal(got.Objects[0].Object)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(body), tt.want) {
				t.Errorf("want %q in:\n%s", tt.want, body)
			}
		})
	}
}

func TestBuildRefusesAndNamesTheFile(t *testing.T) {
	tests := []struct {
		reason string
		files  tree
		spec   string
		want   []string
		path   bool
	}{
		{reason: "no such folder", files: tree{"a.yaml": configA}, spec: "path: ./gone", path: true,
			want: []string{"kustomization path not found: stat gone"}},
		{reason: "the path is a file", files: tree{"a.yaml": configA}, spec: "path: a.yaml", path: true,
			want: []string{"kustomization path not found", "a.yaml is a file, spec.path must be a folder: leave it empty"}},
		{reason: "the path is a file in a folder", files: tree{"apps/web/a.yaml": configA}, spec: "path: ./apps/web/a.yaml", path: true,
			want: []string{"kustomization path not found", "apps/web/a.yaml is a file, spec.path must be a folder: set it to ./apps/web"}},
		{reason: "an object has no kind", files: tree{"app/kustomization.yaml": kustomization("resources: [a.yaml]"), "app/a.yaml": "apiVersion: v1\nmetadata: {name: x}\n"}, spec: "path: app",
			want: []string{"app/a.yaml", "kind"}},
		{reason: "an object has no name", files: tree{"app/kustomization.yaml": kustomization("resources: [a.yaml]"), "app/a.yaml": "apiVersion: v1\nkind: ConfigMap\n"}, spec: "path: app",
			want: []string{"app/a.yaml", "name"}},
		{reason: "the path leaves the artifact", files: tree{"a.yaml": configA}, spec: "path: ../../etc",
			want: []string{"spec.path", `"../../etc" leaves the artifact`}},
		{reason: "the path is a link out of the artifact", files: tree{"out": "-> /etc", "a.yaml": configA}, spec: "path: out", path: true,
			want: []string{"kustomization path not found: stat out"}},
		{reason: "a resource leaves with dots", files: tree{"app/kustomization.yaml": kustomization("resources: [../../../etc/passwd]")}, spec: "path: app",
			want: []string{"app/kustomization.yaml: resources", `"../../../etc/passwd" leaves the artifact`}},
		{reason: "a resource is absolute", files: tree{"app/kustomization.yaml": kustomization("resources: [/etc/passwd]")}, spec: "path: app",
			want: []string{"app/kustomization.yaml: resources", `"/etc/passwd" leaves the artifact`}},
		{reason: "a generator's file is absolute", files: tree{"kustomization.yaml": kustomization("configMapGenerator:\n- name: x\n  files: [p=/etc/passwd]")},
			want: []string{"kustomization.yaml: configMapGenerator.files", `"/etc/passwd" leaves the artifact`}},
		{reason: "a resource is a link out of the artifact", files: tree{"app/kustomization.yaml": kustomization("resources: [link.yaml]"), "app/link.yaml": "-> /etc/passwd"}, spec: "path: app",
			want: []string{"app/link.yaml", "no such file"}},
		{reason: "a folder is a link out of the artifact", files: tree{"kustomization.yaml": kustomization("resources: [out/hosts.yaml]"), "out": "-> /etc"},
			want: []string{"out/hosts.yaml"}},
		{reason: "a nested kustomization leaves", files: tree{"kustomization.yaml": kustomization("resources: [sub]"), "sub/kustomization.yaml": kustomization("resources: [../../x]")},
			want: []string{"sub/kustomization.yaml: resources", `"../../x" leaves the artifact`}},
		{reason: "a component of the spec leaves", files: tree{"a.yaml": configA}, spec: "components: [../x]",
			want: []string{"spec.components[0]", `"../x" leaves the artifact`}},
		{reason: "a remote base", files: tree{"kustomization.yaml": kustomization("resources: ['https://user:secret@example.com/org/repo//base?ref=v1']")},
			want: []string{"kustomization.yaml: resources", "https://example.com/org/repo//base", "remote bases and files are not allowed"}},
		{reason: "a remote base in short form", files: tree{"sub/kustomization.yaml": kustomization("bases: ['github.com/org/repo//base']"), "a.yaml": configA},
			want: []string{"sub/kustomization.yaml: bases", "remote"}},
		{reason: "a remote component", files: tree{"kustomization.yaml": kustomization("components: ['git@example.com:org/repo.git']")},
			want: []string{"kustomization.yaml: components", "remote"}},
		{reason: "a remote schema", files: tree{"kustomization.yaml": kustomization("resources: [a.yaml]\nopenapi: {path: 'http://example.com/s.json'}"), "a.yaml": configA},
			want: []string{"kustomization.yaml: openapi.path", "remote"}},
		{reason: "loop of two", files: tree{"a/kustomization.yaml": kustomization("resources: [../b]"), "b/kustomization.yaml": kustomization("resources: [../a]")}, spec: "path: a",
			want: []string{"form a loop", "cycle detected", "'b'"}},
		{reason: "loop onto itself", files: tree{"kustomization.yaml": kustomization("resources: [.]")},
			want: []string{"form a loop"}},
		{reason: "loop of components", files: tree{"kustomization.yaml": kustomization("components: [c]"),
			"c/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncomponents: [../d]\n",
			"d/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncomponents: [../c]\n"},
			want: []string{"form a loop"}},
		{reason: "invalid YAML in a folder", files: tree{"app/good.yaml": configA, "app/bad.yaml": "a: b: c\n- x"}, spec: "path: app",
			want: []string{"kustomize build failed: app/bad.yaml", "mapping values are not allowed"}},
		{reason: "invalid YAML in a base", files: tree{"over/kustomization.yaml": kustomization("resources: [../base]"),
			"base/kustomization.yaml": kustomization("resources: [bad.yaml]"), "base/bad.yaml": "\tx"}, spec: "path: over",
			want: []string{"base/bad.yaml"}},
		{reason: "invalid kustomization", files: tree{"app/kustomization.yaml": "resources: [a: b: c"}, spec: "path: app",
			want: []string{"kustomize build failed: app/kustomization.yaml"}},
		{reason: "unknown field", files: tree{"app/kustomization.yaml": kustomization("resource: [a.yaml]")}, spec: "path: app",
			want: []string{"app/kustomization.yaml", `unknown field "resource"`}},
		{reason: "no object", files: tree{"app/values.yaml": "replicas: 3\n"}, spec: "path: app",
			want: []string{"app/values.yaml", "missing"}},
		{reason: "missing file", files: tree{"app/kustomization.yaml": kustomization("resources: [gone.yaml]")}, spec: "path: app",
			want: []string{"app/gone.yaml", "no such file"}},
		{reason: "an empty kustomization would prune everything", files: tree{"kustomization.yaml": kustomization("")},
			want: []string{"kustomization.yaml is empty"}},
		{reason: "two kustomizations", files: tree{"kustomization.yaml": kustomization("resources: []"), "Kustomization": kustomization("resources: []")},
			want: []string{"kustomization.yaml and Kustomization"}},
		{reason: "the same object twice", files: tree{"a.yaml": configA, "again.yaml": configA},
			want: []string{"again.yaml", "may not add resource with an already registered id"}},
		{reason: "helm", files: tree{"app/kustomization.yaml": kustomization("helmCharts:\n- {name: x, repo: 'https://example.com'}")}, spec: "path: app",
			want: []string{"app/kustomization.yaml: helmCharts", "not allowed"}},
		{reason: "exec plugin", files: tree{"kustomization.yaml": kustomization("generators: [g.yaml]"),
			"g.yaml": "apiVersion: x/v1\nkind: G\nmetadata:\n  name: g\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: ./run.sh}\n"},
			want: []string{"exec and function plugins are not allowed"}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			root := tt.files.open(t)
			_, err := kustomize.Build(root, specOf(t, tt.spec), nil)
			if err == nil {
				t.Fatal("want an error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want %q in: %s", want, err)
				}
			}
			if errors.Is(err, kustomize.ErrPath) != tt.path {
				t.Errorf("ErrPath: want %v for: %s", tt.path, err)
			}
			for _, leak := range []string{root.Dir, "/artifact", "secret"} {
				if strings.Contains(err.Error(), leak) {
					t.Errorf("%q leaks into: %s", leak, err)
				}
			}
		})
	}
}

func TestBuildRecordsWhatItLookedAt(t *testing.T) {
	files := tree{"app/kustomization.yaml": kustomization("resources: [../base]"), "base/a.yaml": configA,
		"base/kustomization.yaml": kustomization("resources: [a.yaml]"), "other/b.yaml": configB}
	got, err := kustomize.Build(files.open(t), specOf(t, "path: app"), nil)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, r := range got.Reads {
		switch {
		case r.Absent:
			kinds[r.Path] = "absent"
		case r.Dir:
			kinds[r.Path] = "folder"
		case r.Digest != "":
			kinds[r.Path] = "file"
		}
	}
	want := map[string]string{
		"app": "folder", "app/kustomization.yaml": "file", "app/kustomization.yml": "absent", "app/Kustomization": "absent",
		"base": "folder", "base/kustomization.yaml": "file", "base/kustomization.yml": "absent", "base/Kustomization": "absent",
		"base/a.yaml": "file",
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkBuild sets the fast path beside kustomize, with namespace, labels and
// annotations. kustomize needs a minute or two for the largest.
func BenchmarkBuild(b *testing.B) {
	kustomize.Prime()
	for _, by := range []struct {
		name  string
		build func(*artifact.Tree, *kustomizev1.KustomizationSpec) (kustomize.Result, error)
	}{
		{"fast", func(tree *artifact.Tree, spec *kustomizev1.KustomizationSpec) (kustomize.Result, error) {
			return kustomize.Build(tree, spec, nil)
		}},
		{"kustomize", kustomize.BuildWithKustomize},
	} {
		for _, objects := range []int{5, 50, 500, 5000} {
			b.Run(fmt.Sprintf("%s/objects=%d", by.name, objects), func(b *testing.B) {
				root := tree(treetest.Big(objects)).open(b)
				spec := &kustomizev1.KustomizationSpec{Path: "app"}
				b.ReportAllocs()
				for b.Loop() {
					got, err := by.build(root, spec)
					if err != nil || len(got.Objects) != objects || got.Fast != (by.name == "fast") {
						b.Fatalf("%d objects, fast %t, %v", len(got.Objects), got.Fast, err)
					}
				}
			})
		}
	}
}
