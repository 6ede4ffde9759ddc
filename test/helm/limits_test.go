package helm

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestLookupLimits looks up more than there is room for on the bus, in one question or in its answer: that fails by name.
func TestLookupLimits(t *testing.T) {
	files := map[string]string{}
	for name, lookups := range map[string]string{
		"many": `{{- range $i := until 20000 }}{{ $x := lookup "v1" "ConfigMap" "default" (printf "%s-%d" (repeat 60 "x") $i) }}{{- end }}`,
		"full": `{{- $x := lookup "v1" "ConfigMap" .Release.Namespace "large" }}{{- range $i := until 2000 }}{{ $x := lookup "v1" "ConfigMap" "default" (printf "%s-%d" (repeat 60 "x") $i) }}{{- end }}`,
	} {
		for file, body := range webChart() {
			files[name+strings.TrimPrefix(file, "web")] = body
		}
		files[name+"/templates/lookups.yaml"] = lookups
	}
	n := newTenant(t, "lookup-limits", files)
	n.apply(fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: large}\ndata: {a: %s}\n", strings.Repeat("x", 850_000)))
	n.release("many", "many", "")
	n.release("full", "full", "")
	n.await(releaseKind, "many", says("Ready", "False", "InstallFailed", "Helm install failed for release "+n.Namespace+"/many: its templates look up more at once"))
	n.await(releaseKind, "full", says("Ready", "False", "InstallFailed", "that all lookups of a step may"))
}

// TestPreserveTooLarge preserves values that an answer has no room for: the upgrade fails by name, until it preserves none.
func TestPreserveTooLarge(t *testing.T) {
	n := newTenant(t, "preserve-limits", webChart())
	noise := make([]byte, 700_000) // which packing makes no smaller
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	n.apply(fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: large}\ndata: {values.yaml: \"large: %s\"}\n", base64.StdEncoding.EncodeToString(noise)))
	n.release("app", "web", "valuesFrom: [{kind: ConfigMap, name: large}]\n")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"upgrade":{"preserveValues":true},"values":{"message":"two"}}}`)
	n.await(releaseKind, "app", says("Ready", "False", "UpgradeFailed", "make them smaller, or unset spec.upgrade.preserveValues"))
	n.patch(releaseKind, "app", `{"spec":{"upgrade":{"preserveValues":false}}}`)
	n.ready("app")
}
