package e2e

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/test/harness"
)

var (
	deploymentKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	autoscalerKind = schema.GroupVersionKind{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"}
)

// Flux's acceptance case "impersonation": a ServiceAccount whose Role is of one
// namespace, targetNamespace, a patch and wait together; deleting the Kustomization
// deletes with the same rights.
func TestImpersonation(t *testing.T) {
	n := newTenant(t, "impersonation", map[string]string{
		"app/web.yaml": deployment("web", 0),
		"app/scale.yaml": "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web, namespace: elsewhere}\n" +
			"spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 1, maxReplicas: 2}\n",
	})
	rights := strings.ReplaceAll(`apiVersion: v1
kind: ServiceAccount
metadata: {name: gotk-reconciler, namespace: NS}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gotk-reconciler, namespace: NS}
rules: [{apiGroups: ["", apps, autoscaling], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: gotk-reconciler, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: gotk-reconciler}
subjects: [{kind: ServiceAccount, name: gotk-reconciler, namespace: NS}]
`, "NS", n.Namespace)
	if err := n.Cluster.Apply(within(t, limit), n.Namespace, []byte(rights)); err != nil {
		t.Fatal(err)
	}
	n.app("app", map[string]any{
		"serviceAccountName": "gotk-reconciler", "targetNamespace": n.Namespace, "wait": true, "prune": true,
		"patches": []any{map[string]any{
			"target": map[string]any{"kind": "HorizontalPodAutoscaler", "name": "web"},
			"patch":  "- op: replace\n  path: /spec/maxReplicas\n  value: 4\n",
		}},
	})
	n.live("app")
	scale := n.get(autoscalerKind, "web")
	if most, _, err := unstructured.NestedInt64(scale.Object, "spec", "maxReplicas"); err != nil || most != 4 {
		t.Errorf("maxReplicas is %d, %v: the patch is not there", most, err)
	}
	n.remove(harness.KustomizationKind, "app")
	n.await(deploymentKind, "web", gone)
	n.await(autoscalerKind, "web", gone)

	// what the Role does not allow is refused, by name
	n.push(map[string]string{"other/role.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: e2e-too-much}\nrules: []\n"})
	n.app("other", map[string]any{"serviceAccountName": "gotk-reconciler", "targetNamespace": n.Namespace})
	n.await(harness.KustomizationKind, "other", condition("Ready", "False", "ReconciliationFailed", "ClusterRole/e2e-too-much", "forbidden",
		"system:serviceaccount:"+n.Namespace+":gotk-reconciler"))
}
