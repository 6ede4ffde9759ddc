package helm

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestReadyOfValues has a release be ready at a generation once it has the values of that generation, however long
// their render takes.
func TestReadyOfValues(t *testing.T) {
	files := webChart()
	files["web/templates/slow.yaml"] = `{{ if .Values.slow }}{{ range until 4 }}{{ $_ := genPrivateKey "rsa" }}{{ end }}{{ end }}`
	n := newTenant(t, "ready-of-values", files)
	n.release("web", "web", "values: {message: one}\n")
	n.ready("web")
	n.patch(releaseKind, "web", `{"spec":{"values":{"message":"two","slow":true}}}`)
	n.ready("web")
	n.await(harness.ConfigMapKind, "web", func(u *unstructured.Unstructured) bool {
		if message, _, _ := unstructured.NestedString(u.Object, "data", "message"); message != "two" {
			t.Errorf("the release is ready with the message %q", message)
		}
		return true
	})
}
