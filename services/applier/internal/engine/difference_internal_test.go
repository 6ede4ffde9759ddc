package engine

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// An object may have as many fields as it has room for, and all may differ: few are shown, and only those are looked for in
// what is known of managers.
func TestFewOfManyDifferencesAreShown(t *testing.T) {
	const fields = 50_000
	object := func(value string) *unstructured.Unstructured {
		data := map[string]any{}
		for n := range fields {
			data[fmt.Sprintf("k%05d", n)] = value
		}
		o := cluster.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "a", Name: "b"}.Object()
		o.Object["data"] = data
		return o
	}
	live, want := object("theirs"), object("ours")
	found := differences(live, want)
	if len(found) != fields {
		t.Fatalf("%d fields differ", len(found))
	}
	shown := show(live, found)
	if len(shown) != 100 || shown[0] != (Field{Path: "/data/k00000", Live: `"theirs"`, Wanted: `"ours"`}) || shown[99].Path != "/data/k00099" {
		t.Errorf("%d are shown, from %+v", len(shown), shown[0])
	}
}
