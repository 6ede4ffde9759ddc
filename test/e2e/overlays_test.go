package e2e

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// Flux's acceptance case "overlays": two Kustomizations of one repository, each an
// overlay of the same base that changes names, namespace and values, with health checks.
func TestOverlays(t *testing.T) {
	base := "namePrefix: ENV-\nresources: [../../bases/webapp]\nreplicas: [{name: backend, count: 0}, {name: frontend, count: 0}]\n" +
		"configMapGenerator: [{name: settings, behavior: merge, literals: [stage=ENV]}]\n"
	overlay := func(env string) string { return strings.ReplaceAll(base, "ENV", env) }
	n := newTenant(t, "overlays", map[string]string{
		"bases/webapp/kustomization.yaml": "resources: [backend.yaml, frontend.yaml]\nconfigMapGenerator: [{name: settings, literals: [stage=none, log=info]}]\n" +
			"generatorOptions: {disableNameSuffixHash: true}\n",
		"bases/webapp/backend.yaml":               deployment("backend", 1),
		"bases/webapp/frontend.yaml":              deployment("frontend", 1),
		"overlays/staging/kustomization.yaml":     overlay("staging"),
		"overlays/production/kustomization.yaml":  overlay("production"),
		"overlays/unrelated/README.md":            "no manifest",
		"overlays/staging/not-listed/other.yaml":  configMap("other", "x"),
		"overlays/production/unrelated-file.yaml": configMap("unrelated", "x"),
	})
	for _, env := range []string{"staging", "production"} {
		var checks []any
		for _, app := range []string{"frontend", "backend"} {
			checks = append(checks, map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": env + "-" + app, "namespace": n.Namespace})
		}
		n.app("webapp-"+env, map[string]any{"path": "./overlays/" + env, "timeout": "2m", "healthChecks": checks})
	}
	n.live("webapp-staging", "webapp-production")
	for _, env := range []string{"staging", "production"} {
		settings := n.get(harness.ConfigMapKind, env+"-settings")
		data, _, err := unstructured.NestedStringMap(settings.Object, "data")
		if err != nil || data["stage"] != env || data["log"] != "info" {
			t.Errorf("settings of %s are %v, %v", env, data, err)
		}
	}
	before := n.version(harness.ConfigMapKind, "production-settings")
	n.push(map[string]string{"overlays/staging/kustomization.yaml": overlay("staging") + "commonAnnotations: {changed: 'yes'}\n"})
	n.live("webapp-staging", "webapp-production")
	if got := n.get(harness.ConfigMapKind, "staging-settings").GetAnnotations()["changed"]; got != "yes" {
		t.Errorf("the change of the overlay is not live: %q", got)
	}
	if after := n.version(harness.ConfigMapKind, "production-settings"); after != before {
		t.Error("a change of one overlay wrote an object of the other")
	}
}
