package build

import (
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	helmrelease "helm.sh/helm/v3/pkg/release"

	"github.com/sluice-gitops/sluice/internal/render"
)

// TestBounded refuses a render that takes too much memory to read: for its text, or for what its CRDs became without aliases.
func TestBounded(t *testing.T) {
	for _, tt := range []struct {
		why            string
		manifest, crds int
		says           string
	}{
		{"as large as Helm can store one", 8 << 20, 4 << 20, ""},
		{"a large manifest", maxRender, 0, "release app of chart web is too large"},
		{"large CRDs", 0, maxRender, "its CRDs without aliases 50331648"},
	} {
		r := render.Release{
			Release: &helmrelease.Release{
				Name: "app", Chart: &chart.Chart{Metadata: &chart.Metadata{Name: "web"}}, Info: &helmrelease.Info{}, Manifest: strings.Repeat("x", tt.manifest),
			},
			CRDs: []*chart.File{{Name: "crds/a.yaml", Data: make([]byte, tt.crds)}},
		}
		plain, err := render.EncodeRelease(r)
		if err != nil {
			t.Fatal(err)
		}
		err = bounded("app", plain, r)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v, want %q", tt.why, err, tt.says)
		}
	}
}
