package helm

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/render"
)

// TestManyLookups looks up more than a question has room for: that fails where it is asked, and nobody else reads it.
func TestManyLookups(t *testing.T) {
	for name, body := range map[string]string{
		"many":  `{{ range $i := until 20000 }}{{ $x := lookup "v1" "ConfigMap" "ns" (printf "%s-%d" (repeat 60 "x") $i) }}{{ end }}`,
		"large": `{{ range $i := until 20 }}{{ $x := lookup "v1" "ConfigMap" "ns" (repeat 100000 (toString $i)) }}{{ end }}`,
	} {
		c := load(t, map[string]string{"Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n", "templates/a.yaml": body})
		_, err := Render(c, Request{Name: "app", Namespace: "ns", Action: render.Install, Revision: 1, Cluster: aCluster})
		var lookups *LookupError
		if err == nil || errors.As(err, &lookups) || !strings.Contains(err.Error(), "look up lists, or fewer objects") {
			t.Errorf("%s: error %.300v, want one that says what helps", name, err)
		}
	}
}
