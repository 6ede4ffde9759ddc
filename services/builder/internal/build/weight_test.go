package build_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/fast/treetest"
)

// A small tree and a variable of 175 KiB make a render that takes gigabytes of the applier, which nothing confines: it is
// refused where it is made.
func TestHeavyRenderIsRefused(t *testing.T) {
	b, _, folder := newBuilder(t, 1)
	files := map[string]string{"app/kustomization.yaml": "resources: [a0.yaml, a1.yaml, a2.yaml]\n"}
	for n := range 3 {
		var s strings.Builder
		fmt.Fprintf(&s, "apiVersion: a.io/v1\nkind: A\nmetadata:\n  name: a%d\n  namespace: apps\nspec:\n", n)
		for f := range 2 + n {
			fmt.Fprintf(&s, "  f%d: ${V}\n", f)
		}
		files[fmt.Sprintf("app/a%d.yaml", n)] = s.String()
	}
	tree := write(t, folder, "one", files)
	spec := &kustomizev1.KustomizationSpec{Path: "app", PostBuild: &kustomizev1.PostBuild{}}
	in := build.Inputs{Variables: map[string]string{"V": "[" + strings.TrimSuffix(strings.Repeat("{},", 60_000), ",") + "]"}}
	_, err := b.Build(t.Context(), "tenant", tree, spec, in, time.Minute)
	var failed *build.InputError
	if !errors.As(err, &failed) || failed.Stalled || failed.Reason != build.ReasonBuild {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"the render of app is too large: its 3 objects need 27", "A/apps/a2 from app/a2.yaml alone 12"} {
		if !strings.Contains(failed.Message, part) {
			t.Errorf("got %q, want %q", failed.Message, part)
		}
	}
}

// What teams have is far from the bound: so are 5,000 objects of which each is as large as the largest of the corpus.
func TestHonestRendersAreLightEnough(t *testing.T) {
	for _, r := range treetest.Corpus() {
		b, _, folder := newBuilder(t, 1)
		out, err := b.Build(t.Context(), "tenant", write(t, folder, "one", r.Files), &kustomizev1.KustomizationSpec{Path: r.Folder}, build.Inputs{}, time.Minute)
		if err != nil {
			t.Errorf("%s: %v", r.Shape, err)
			continue
		}
		largest := 0
		for line := range strings.Lines(string(out.Plain)) {
			largest = max(largest, render.Weight([]byte(line)))
		}
		t.Logf("%s: %d objects weigh %d MiB, the largest %d KiB", r.Shape, out.Objects, render.Weight(out.Plain)>>20, largest>>10)
		if 5_000*largest > render.MaxWeight {
			t.Errorf("%s: 5,000 objects like the largest weigh %d MiB where %d are allowed", r.Shape, 5_000*largest>>20, render.MaxWeight>>20)
		}
	}
}
