package build_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/fast/treetest"
	"github.com/sluice-gitops/sluice/services/builder/internal/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.Requested(os.Args) {
		os.Exit(sandbox.Child(build.Prime, build.NewWork()))
	}
	os.Exit(m.Run())
}

// write puts an artifact into folder/name.
func write(t testing.TB, folder, name string, files map[string]string) *artifact.Tree {
	t.Helper()
	dir := filepath.Join(folder, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := artifact.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for file, body := range files {
		if err := w.AddFile(file, strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// What its author got wrong costs no child: many such apps would each start another.
func TestFailuresSpendNoChild(t *testing.T) {
	b, pool, folder := newBuilder(t, 1)
	tree := write(t, folder, "a", map[string]string{"app/bad.yaml": "a: b: c"})
	for range 3 {
		var failed *build.InputError
		_, err := b.Build(t.Context(), "tenant", tree, &kustomizev1.KustomizationSpec{Path: "./app"}, build.Inputs{}, time.Minute)
		if !errors.As(err, &failed) {
			t.Fatalf("got %v", err)
		}
	}
	if n := pool.Started(); n != 1 {
		t.Errorf("%d children were started for three builds that failed, want one", n)
	}
}

func newBuilder(t testing.TB, size int) (*build.Builder, *sandbox.Pool, string) {
	t.Helper()
	folder := t.TempDir()
	pool, err := sandbox.New(t.Context(), sandbox.Config{Folder: folder, Size: size, Memory: childMemory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return build.New(pool), pool, folder
}

func config(name, value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\ndata:\n  k: " + value + "\n"
}

func TestBuildInAChild(t *testing.T) {
	b, pool, folder := newBuilder(t, 1)
	tree := write(t, folder, "one", map[string]string{"app/a.yaml": config("a", "${v}")})
	spec := &kustomizev1.KustomizationSpec{
		Path: "app", TargetNamespace: "ns", PostBuild: &kustomizev1.PostBuild{},
		CommonMetadata: &kustomizev1.CommonMetadata{Labels: map[string]string{"team": "x"}},
	}
	var first string
	for range 3 {
		out, err := b.Build(t.Context(), "tenant", tree, spec, build.Inputs{Variables: map[string]string{"v": "value"}}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := render.Decode(out.Plain)
		if err != nil || len(objects) != 1 || out.Objects != 1 {
			t.Fatalf("%d objects, %v", len(objects), err)
		}
		want := map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"k": "value"},
			"metadata": map[string]any{"name": "a", "namespace": "ns", "labels": map[string]any{"team": "x"}},
		}
		if diff := cmp.Diff(want, objects[0].Object); diff != "" || objects[0].Origin != "app/a.yaml" {
			t.Error(diff, objects[0].Origin)
		}
		if first == "" {
			first = string(out.Plain)
		}
		if string(out.Plain) != first {
			t.Error("equal input gave other bytes")
		}
	}
	if pool.Started() != 1 {
		t.Errorf("%d children for clean builds, want 1", pool.Started())
	}
}

func TestBuildFailuresNameReasonAndFile(t *testing.T) {
	b, _, folder := newBuilder(t, 2)
	tests := []struct {
		reason string
		files  map[string]string
		spec   kustomizev1.KustomizationSpec
		want   build.InputError
	}{
		{"a folder that is not there", map[string]string{"a.yaml": config("a", "1")}, kustomizev1.KustomizationSpec{Path: "./gone"},
			build.InputError{Reason: "ArtifactFailed", Message: "kustomization path not found: stat gone"}},
		{"invalid YAML", map[string]string{"app/bad.yaml": "a: b: c"}, kustomizev1.KustomizationSpec{},
			build.InputError{Reason: "BuildFailed", Message: "in File: app/bad.yaml"}},
		{"a variable without value", map[string]string{"app/a.yaml": config("a", "${no}")}, kustomizev1.KustomizationSpec{PostBuild: &kustomizev1.PostBuild{SubstituteStrategy: "Always"}},
			build.InputError{Reason: "BuildFailed", Message: "post build failed for 'ConfigMap.v1.[noGrp]/a' from app/a.yaml"}},
		{"a Secret that is still encrypted", map[string]string{"s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\nsops: {mac: x}\n"}, kustomizev1.KustomizationSpec{},
			build.InputError{Reason: "ReconciliationFailed", Message: "Secret/n/s is SOPS encrypted"}},
		{"a remote base behind an address that is not recognised as one", map[string]string{"kustomization.yaml": "resources: ['example.com/org/repo']"}, kustomizev1.KustomizationSpec{},
			build.InputError{Reason: "BuildFailed", Message: "kustomize build failed: "}},
		{"a schema from the network", map[string]string{"kustomization.yaml": "resources: []\nopenapi: {path: 'HTTP://127.0.0.1:1/x'}"}, kustomizev1.KustomizationSpec{},
			build.InputError{Reason: "BuildFailed", Message: "kustomization.yaml: openapi.path"}},
	}
	for i, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			tree := write(t, folder, fmt.Sprint(i), tt.files)
			_, err := b.Build(t.Context(), "tenant", tree, &tt.spec, build.Inputs{}, time.Minute)
			var got *build.InputError
			if !errors.As(err, &got) {
				t.Fatalf("got %v", err)
			}
			if got.Reason != tt.want.Reason || !strings.Contains(got.Message, tt.want.Message) {
				t.Errorf("got %s: %s", got.Reason, got.Message)
			}
			if strings.Contains(got.Message, folder) {
				t.Errorf("the path on disk leaks: %s", got.Message)
			}
		})
	}
}

func TestFiveThousandObjectsFitAChild(t *testing.T) {
	b, pool, folder := newBuilder(t, 1)
	const objects = 5_000
	tree := write(t, folder, "big", treetest.Big(objects))
	out, err := b.Build(t.Context(), "tenant", tree, bigSpec(), build.Inputs{}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	built, err := render.Decode(out.Plain)
	if err != nil || len(built) != objects || out.Objects != objects {
		t.Fatalf("%d objects, %v", len(built), err)
	}
	for _, o := range built {
		if o.GetNamespace() != "prod" || o.GetLabels()["team"] != "a" || o.GetAnnotations()["note"] != "b" || o.GetLabels()["by"] != "flux" {
			t.Fatalf("%s %s/%s has labels %v and annotations %v", o.GetKind(), o.GetNamespace(), o.GetName(), o.GetLabels(), o.GetAnnotations())
		}
	}
	if pool.Started() != 1 {
		t.Errorf("%d children were started for one build", pool.Started())
	}
}

// bigSpec builds treetest.Big as a user would, with metadata of the spec's own.
func bigSpec() *kustomizev1.KustomizationSpec {
	return &kustomizev1.KustomizationSpec{
		Path: "app", CommonMetadata: &kustomizev1.CommonMetadata{Labels: map[string]string{"by": "flux"}},
	}
}

// BenchmarkFiveThousandObjects is one build with namespace, labels and annotations,
// as a builder sees it: the request to the child, the build, the render that it
// sends back.
func BenchmarkFiveThousandObjects(b *testing.B) {
	builder, pool, folder := newBuilder(b, 1)
	if err := pool.Warm(b.Context()); err != nil {
		b.Fatal(err)
	}
	tree := write(b, folder, "big", treetest.Big(5_000))
	for b.Loop() {
		if _, err := builder.Build(b.Context(), "tenant", tree, bigSpec(), build.Inputs{}, time.Minute); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEndlessBuildIsKilledAndOthersGoOn(t *testing.T) {
	b, _, folder := newBuilder(t, 2)
	files := map[string]string{"big/kustomization.yaml": "namespace: x\nsortOptions: {order: fifo}\nresources: [all.yaml]\n", "small/a.yaml": config("a", "1")}
	var all strings.Builder
	for i := range 20_000 {
		all.WriteString("---\n" + config(fmt.Sprintf("c%d", i), "1"))
	}
	files["big/all.yaml"] = all.String()
	tree := write(t, folder, "one", files)
	var wait sync.WaitGroup
	wait.Go(func() {
		_, err := b.Build(t.Context(), "tenant", tree, &kustomizev1.KustomizationSpec{Path: "big"}, build.Inputs{}, time.Second)
		var f *build.InputError
		if !errors.As(err, &f) || f.Message != "kustomize build failed: the build of big took too long and was killed after 1s" {
			t.Errorf("got %v", err)
		}
	})
	if _, err := b.Build(t.Context(), "tenant", tree, &kustomizev1.KustomizationSpec{Path: "small"}, build.Inputs{}, time.Minute); err != nil {
		t.Error(err)
	}
	wait.Wait()
}

func TestOwnSchemaDoesNotReachTheNextBuild(t *testing.T) {
	b, pool, folder := newBuilder(t, 1)
	tree := write(t, folder, "one", map[string]string{
		"own/kustomization.yaml": "openapi: {path: s.json}\nresources: [a.yaml]\n", "own/s.json": `{"definitions":{}}`, "own/a.yaml": config("a", "1"),
		"plain/a.yaml": config("a", "1"),
	})
	for _, folder := range []string{"own", "plain"} {
		if _, err := b.Build(t.Context(), "tenant", tree, &kustomizev1.KustomizationSpec{Path: folder}, build.Inputs{}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if pool.Started() < 2 {
		t.Error("a child was used again after it took over a schema")
	}
}

func BenchmarkFiveObjects(b *testing.B) {
	for _, parallel := range []int{1, 4} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			builder, pool, folder := newBuilder(b, parallel)
			if err := pool.Warm(b.Context()); err != nil {
				b.Fatal(err)
			}
			tree := write(b, folder, "one", map[string]string{"app/kustomization.yaml": "namespace: x\nresources: [a.yaml, b.yaml, c.yaml, d.yaml, e.yaml]\n",
				"app/a.yaml": config("a", "1"), "app/b.yaml": config("b", "1"), "app/c.yaml": config("c", "1"), "app/d.yaml": config("d", "1"), "app/e.yaml": config("e", "1")})
			spec := &kustomizev1.KustomizationSpec{Path: "app"}
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := builder.Build(b.Context(), "tenant", tree, spec, build.Inputs{}, time.Minute); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
