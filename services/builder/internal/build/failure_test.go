package build_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
)

// TestLongFailures fails with messages that no event has room for, in a chart and in a Kustomization: only their beginning
// leaves the child.
func TestLongFailures(t *testing.T) {
	b, _, folder := newBuilder(t, 1)
	tree := write(t, folder, "long", map[string]string{
		"web/Chart.yaml":       "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"web/templates/a.yaml": `{{ fail (printf "begins %s" (repeat 1500000 "é")) }}`,
		"app/a.yaml":           config("a", "${"+strings.Repeat("x", 1500000)+"}"),
	})
	_, chart := b.Release(t.Context(), "tenant", tree, helm.Request{
		Name: "app", Namespace: "ns", Action: render.Install, Revision: 1, Cluster: helm.Cluster{Version: "v1.33.0", Major: "1", Minor: "33"},
	}, time.Minute)
	spec := &kustomizev1.KustomizationSpec{Path: "app", PostBuild: &kustomizev1.PostBuild{Substitute: map[string]string{"a": "b"}}}
	_, kustomization := b.Build(t.Context(), "tenant", tree, spec, build.Inputs{Variables: map[string]string{"a": "b"}}, time.Minute)
	for says, err := range map[string]error{"begins é": chart, "post build failed for": kustomization} {
		var failed *build.InputError
		if !errors.As(err, &failed) {
			t.Errorf("error %.300v, want one that says %q", err, says)
			continue
		}
		if n := len(failed.Message); n > 15<<10 || !strings.Contains(failed.Message, says) || !strings.Contains(failed.Message, "… (cut; ") {
			t.Errorf("a message of %d bytes, want at most 15 KiB that say %q and that there is more: %.300s", n, says, failed.Message)
		}
	}
}
