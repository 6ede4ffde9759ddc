package helm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/internal/render"
)

// TestPlainCRDs writes the files of CRDs without aliases, as who applies them reads them, and names the file that is none.
func TestPlainCRDs(t *testing.T) {
	const crd = "kind: CustomResourceDefinition\nspec: {group: example.com, names: {kind: Toy}, versions: [{name: v1, served: true}]}\n"
	for _, tt := range []struct{ why, body, want, err string }{
		{"as it is", "kind: A\n", "kind: A\n", ""},
		{"JSON", `{"kind": "A", "n": 9007199254740993}`, "kind: A\n\"n\": 9007199254740993\n", ""},
		{"aliases", "a: &a {b: c}\nd: *a\nkind: A\n", "a:\n  b: c\nd:\n  b: c\nkind: A\n", ""},
		{"several, some empty", "---\n# none\n---\nkind: A\n---\n---\nkind: B\n", "kind: A\n---\nkind: B\n", ""},
		{"no YAML", "kind: [\n", "", "YAML parse error on toys/crds/toy.yaml: "},
		{"no object", "- a\n", "", "YAML parse error on toys/crds/toy.yaml: a document is no object"},
		{"a template", "kind: {{ .Values.kind }}\n", "", "YAML parse error on toys/crds/toy.yaml: "},
	} {
		c := load(t, map[string]string{"Chart.yaml": "apiVersion: v2\nname: toys\nversion: 1.0.0\n", "crds/toy.yaml": tt.body})
		q := Request{Name: "a", Namespace: "b", Action: render.Install, Revision: 1, Cluster: aCluster}
		got, err := Render(c, q)
		if tt.err != "" {
			if !strings.Contains(text(err), tt.err) {
				t.Errorf("%s: error %v, want %q", tt.why, err, tt.err)
			}
			q.SkipCRDs = true
			if _, err := Render(c, q); err != nil {
				t.Errorf("%s, and CRDs are skipped: %v", tt.why, err)
			}
			continue
		}
		if err != nil || len(got.CRDs) != 1 || got.CRDs[0].Name != "toys/crds/toy.yaml" {
			t.Errorf("%s: error %v, %d CRDs", tt.why, err, len(got.CRDs))
			continue
		}
		if diff := cmp.Diff(tt.want, string(got.CRDs[0].Data)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.why, diff)
		}
	}
	files := map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: toys\nversion: 1.0.0\n", "crds/toy.yaml": "kind: X\nspec: 5\n---\n" + crd,
		"templates/it.yaml": "kind: ConfigMap\ndata: {has: \"{{ .Capabilities.APIVersions.Has \"example.com/v1/Toy\" }}\"}\n",
	}
	got, err := Render(load(t, files), Request{Name: "a", Namespace: "b", Action: render.Install, Revision: 1, Cluster: aCluster})
	if err != nil || !strings.Contains(got.Manifest, `has: "true"`) {
		t.Errorf("behind something else: error %v, manifest\n%s", err, got.Manifest)
	}
}
