package kustomize_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/fast/treetest"
	"github.com/sluice-gitops/sluice/services/builder/internal/kustomize"
)

// outcome is what a build gave, to compare.
func outcome(t *testing.T, built kustomize.Result, err error) string {
	t.Helper()
	if err != nil {
		return "error: " + err.Error()
	}
	body, err := render.Encode(built.Objects)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestFastReadsWhatKustomizeReads(t *testing.T) {
	fast := 0
	for seed := range uint64(80) {
		root := tree(treetest.Random(rand.New(rand.NewPCG(seed, 2)))).open(t)
		spec := &kustomizev1.KustomizationSpec{Path: "k9"}
		got, err := kustomize.Build(root, spec, nil)
		want, wantErr := kustomize.BuildWithKustomize(root, spec)
		if diff := cmp.Diff(outcome(t, want, wantErr), outcome(t, got, err)); diff != "" {
			t.Fatalf("seed %d: differs (-kustomize +build):\n%s", seed, diff)
		}
		if diff := cmp.Diff(want.Reads, got.Reads); diff != "" {
			t.Fatalf("seed %d: reads differ (-kustomize +build):\n%s", seed, diff)
		}
		if got.Fast {
			fast++
		}
	}
	if fast < 40 {
		t.Errorf("only %d trees were built fast", fast)
	}
}

// same says that another artifact has for a build what this one had.
func same(reads []kustomize.Read, other *artifact.Tree) bool {
	return !slices.ContainsFunc(reads, func(r kustomize.Read) bool { return !r.Same(other) })
}

func TestWhatChangesTheOutputWasRead(t *testing.T) {
	spec := &kustomizev1.KustomizationSpec{Path: "k9"}
	unread, changed := 0, 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		files := treetest.Random(r)
		first, err := kustomize.Build(tree(files).open(t), spec, nil)
		if err != nil || !first.Fast {
			continue
		}
		for range 8 {
			edited := maps.Clone(files)
			edit := change(r, edited)
			root := tree(edited).open(t)
			again, err := kustomize.Build(root, spec, nil)
			differs := outcome(t, first, nil) != outcome(t, again, err)
			switch {
			case differs && same(first.Reads, root):
				t.Fatalf("seed %d: %s changes the output and nothing that was read", seed, edit)
			case differs:
				changed++
			case same(first.Reads, root):
				unread++
			}
		}
	}
	if changed < 30 || unread < 30 {
		t.Errorf("%d edits changed the output, %d nothing that was read: too few to show anything", changed, unread)
	}
}

// change edits, adds or removes one file and says what it did.
func change(r *rand.Rand, files map[string]string) string {
	names := slices.Sorted(maps.Keys(files))
	name := names[r.IntN(len(names))]
	folder, _, _ := strings.Cut(name, "/")
	switch r.IntN(7) {
	case 0:
		files[name] += "# more\n"
	case 1:
		files[name] = strings.Replace(files[name], "name: a", "name: z", 1)
	case 2:
		files[name] = strings.Replace(files[name], "app", "new", 1)
	case 3:
		delete(files, name)
	case 4:
		name = folder + "/" + []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}[r.IntN(3)]
		files[name] = "namespace: edited\n"
	case 5:
		name = folder + "/" + fmt.Sprintf("f%d.yaml", r.IntN(4))
		files[name] = configA
	case 6:
		delete(files, name)
		files[name+"/kustomization.yaml"] = "namespace: folder\n"
	}
	return "an edit of " + name
}
