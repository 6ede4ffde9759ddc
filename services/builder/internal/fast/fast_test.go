package fast_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/sluice-gitops/sluice/services/builder/internal/fast"
	"github.com/sluice-gitops/sluice/services/builder/internal/fast/treetest"
)

const root = "/tree"

func onDisk(t testing.TB, files treetest.Files) filesys.FileSystem {
	t.Helper()
	fs := filesys.MakeFsInMemory()
	for name, body := range files {
		if err := fs.WriteFile(root+"/"+name, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// kustomize is the answer that counts.
func kustomize(files filesys.FileSystem, folder string) (objects []*resource.Resource, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsNone
	built, err := krusty.MakeKustomizer(options).Run(files, root+"/"+folder)
	if err != nil {
		return nil, err
	}
	return built.Resources(), nil
}

func encoded(t testing.TB, objects []*resource.Resource) []string {
	t.Helper()
	lines := []string{}
	for _, r := range objects {
		body, err := r.MarshalJSON()
		if err != nil {
			lines = append(lines, "no JSON") // how it fails is the same for both
			continue
		}
		lines = append(lines, string(body))
	}
	return lines
}

// same fails unless the fast path answers as kustomize does, or leaves it to
// kustomize. It returns the errors of both.
func same(t testing.TB, files treetest.Files, folder string) (kustomizeErr, fastErr error) {
	t.Helper()
	want, wantErr := kustomize(onDisk(t, files), folder)
	got, err := fast.Build(onDisk(t, files), root+"/"+folder)
	if err != nil {
		return wantErr, err
	}
	if wantErr != nil {
		t.Fatalf("built %d objects, kustomize says: %v", len(got), wantErr)
	}
	if diff := cmp.Diff(encoded(t, want), encoded(t, got)); diff != "" {
		t.Fatalf("differs from kustomize (-kustomize +fast):\n%s", diff)
	}
	return nil, nil
}

func TestRandomTreesAreAsKustomizeBuildsThem(t *testing.T) {
	answered, refused := 0, 0
	for seed := range uint64(200) {
		files := treetest.Random(rand.New(rand.NewPCG(seed, 1)))
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			wrong, left := same(t, files, "k9")
			switch {
			case left == nil:
				answered++
			case wrong != nil:
				refused++
			default:
				t.Errorf("left to kustomize, which can build it: %v", left)
			}
		})
		if !ok {
			for name, body := range files {
				t.Logf("--- %s\n%s", name, body)
			}
			break
		}
	}
	if answered < 100 || refused < 20 {
		t.Errorf("%d trees built and %d refused show too little", answered, refused)
	}
}

func FuzzRandomTrees(f *testing.F) {
	f.Add(uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		same(t, treetest.Random(rand.New(rand.NewPCG(a, b))), "k9")
	})
}
