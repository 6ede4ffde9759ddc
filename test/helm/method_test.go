package helm

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestServerSideApply shows in Helm's storage and in the objects that they are applied server-side: by an install, by an
// upgrade that fails, and by the rollback that follows.
func TestServerSideApply(t *testing.T) {
	n := newTenant(t, "method", moodyChart())
	n.release("app", "moody", "timeout: 3s\nupgrade: {remediation: {remediateLastFailure: true}}\n")
	n.ready("app")
	if who := managers(n.await(harness.DeploymentKind, "app", exists)); !strings.Contains(who, "helm-controller Apply") {
		t.Errorf("the Deployment is managed by %s", who)
	}
	n.patch(releaseKind, "app", `{"spec":{"values":{"stuck":true}}}`)
	n.await(releaseKind, "app", all(says("Released", "False", "UpgradeFailed", ""), says("Remediated", "True", "RollbackSucceeded", ""), current))
	for revision := 1; revision <= 3; revision++ {
		if method := n.stored("app", revision)["apply_method"]; method != "ssa" {
			t.Errorf("the apply_method of revision %d is %v", revision, method)
		}
	}
}

// stored is what Helm's storage has of a revision, as it is written.
func (n tenant) stored(name string, revision int) (fields map[string]any) {
	n.t.Helper()
	secret := n.await(secretKind, fmt.Sprintf("sh.helm.release.v1.%s.v%d", name, revision), exists)
	body, _, _ := unstructured.NestedString(secret.Object, "data", "release")
	for range 2 { // the API's base64, and Helm's
		plain, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			n.t.Fatal(err)
		}
		body = string(plain)
	}
	r, err := gzip.NewReader(bytes.NewReader([]byte(body)))
	if err == nil {
		err = json.NewDecoder(r).Decode(&fields)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return fields
}
