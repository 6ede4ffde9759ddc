package e2e

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestGeneratedArtifacts splits a repository: a push that touches one part is live, and
// the Kustomization of the other does not even move its revision.
func TestGeneratedArtifacts(t *testing.T) {
	n := newTenant(t, "generated", map[string]string{"web/a.yaml": configMap("web", "one"), "db/a.yaml": configMap("db", "one")})
	n.apply(`apiVersion: source.extensions.fluxcd.io/v1beta1
kind: ArtifactGenerator
metadata: {name: parts}
spec:
  sources: [{alias: repo, kind: GitRepository, name: ` + harness.SourceName + `}]
  pathPattern: "@repo/{part}"
  artifacts:
  - name: part-{part}
    originRevision: "@repo"
    copy: [{from: "@repo/{part}/**", to: "@artifact/"}]
`)
	revisions := map[string]string{}
	for _, part := range []string{"web", "db"} {
		n.app(part, map[string]any{"path": "./", "sourceRef": map[string]any{"kind": "ExternalArtifact", "name": "part-" + part}})
		n.await(harness.ConfigMapKind, part, holds("value", "one"))
		n.await(harness.KustomizationKind, part, func(u *unstructured.Unstructured) bool {
			status, _, _ := harness.Condition(u, "Ready")
			revisions[part], _, _ = unstructured.NestedString(u.Object, "status", "lastAppliedRevision")
			return status == "True" && revisions[part] != ""
		})
	}
	n.push(map[string]string{"web/a.yaml": configMap("web", "two")})
	n.await(harness.ConfigMapKind, "web", holds("value", "two"))
	n.await(harness.KustomizationKind, "web", func(u *unstructured.Unstructured) bool {
		origin, _, _ := unstructured.NestedString(u.Object, "status", "lastAppliedOriginRevision")
		return origin == n.Revision()
	})
	n.await(harness.KustomizationKind, "db", func(u *unstructured.Unstructured) bool {
		now, _, _ := unstructured.NestedString(u.Object, "status", "lastAppliedRevision")
		if now != revisions["db"] {
			t.Errorf("the part that nobody touched moved from %s to %s", revisions["db"], now)
		}
		return true
	})
}
