package e2e

import (
	"strings"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/test/harness"
)

const frozen = "immutable: true\n"

// badObjects are objects that the API server does not take.
func badObjects() []badInput {
	inputs := []badInput{
		{
			name: "kind", why: "nobody defined the kind",
			files:   map[string]string{"bad/widget.yaml": "apiVersion: example.org/v1\nkind: Widget\nmetadata:\n  name: wheel\n"},
			message: []string{"Widget", "wheel", "example.org/v1"},
		},
		{
			name: "namespace", why: "the namespace does not exist",
			files: map[string]string{"bad/settings.yaml": strings.Replace(configMap("lost", "1"), "name: lost", "name: lost\n  namespace: e2e-nowhere", 1)},
			create: func(n tenant) {
				n.app("bad", map[string]any{"targetNamespace": nil})
			},
			message: []string{"ConfigMap/e2e-nowhere/lost", `namespaces "e2e-nowhere" not found`},
		},
		{
			name: "immutable", why: "the API server refuses to change the field",
			files: map[string]string{"bad/settings.yaml": configMap("stone", "first") + frozen, "bad/other.yaml": configMap("soft", "first")},
			create: func(n tenant) {
				n.t.Helper()
				n.app("bad", nil)
				n.live("bad")
				n.push(map[string]string{"bad/settings.yaml": configMap("stone", "second") + frozen, "bad/other.yaml": configMap("soft", "second")})
			},
			message: []string{"ConfigMap/", "/stone", "immutable"},
		},
		{
			name: "field", why: "the field has the wrong type",
			files:   map[string]string{"bad/workload.yaml": strings.Replace(deployment("workload", 0), "replicas: 0", "replicas: many", 1)},
			message: []string{"Deployment/", "/workload", "replicas"},
		},
	}
	for i := range inputs {
		inputs[i].kind, inputs[i].event, inputs[i].reason = harness.KustomizationKind, events.TypeApplyFailed, "ReconciliationFailed"
	}
	return inputs
}
