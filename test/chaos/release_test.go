package chaos

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// releaseName is the HelmRelease that lives through the storm beside the apps.
const releaseName = "release"

// chart has a template that looks up what the release made before.
var chart = map[string]string{
	"chart/Chart.yaml": "apiVersion: v2\nname: chart\nversion: 1.0.0\n",
	"chart/templates/config.yaml": `{{- $old := lookup "v1" "ConfigMap" .Release.Namespace .Release.Name }}
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {value: {{ .Values.value | quote }}, before: {{ dig "data" "value" "nothing" $old | quote }}}
`,
}

func withChart(files map[string]string) map[string]string {
	maps.Copy(files, chart)
	return files
}

// release installs or upgrades the HelmRelease to a value and waits until it is live, with the
// value before that looked up.
func release(ctx context.Context, tenant *harness.Tenant, value, before string) error {
	manifest := fmt.Sprintf(`apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: %s}
spec:
  interval: 1h
  chart: {spec: {chart: ./chart, sourceRef: {kind: GitRepository, name: %s}}}
  values: {value: %s}
`, releaseName, harness.SourceName, value)
	if err := tenant.Cluster.Apply(ctx, tenant.Namespace, []byte(manifest)); err != nil {
		return err
	}
	_, err := tenant.Cluster.WaitFor(ctx, harness.ConfigMapKind, tenant.Namespace, releaseName, func(u *unstructured.Unstructured) bool {
		if u == nil {
			return false
		}
		data, _, _ := unstructured.NestedStringMap(u.Object, "data")
		return data["value"] == value && data["before"] == before
	})
	return err
}

// releasedAgain upgrades the release by services whose streams and bucket were wiped.
func releasedAgain(ctx context.Context, t *testing.T, tenant *harness.Tenant) {
	t.Helper()
	if err := release(ctx, tenant, "after", "installed"); err != nil {
		t.Errorf("upgrade a Helm release after the storm: %v", err)
	}
}
