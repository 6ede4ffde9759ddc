package helm

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// TestCommentedValues writes values anew that come to the same while an upgrade waits: it goes on.
func TestCommentedValues(t *testing.T) {
	n := newTenant(t, "commented", moodyChart())
	values := func(text string) {
		n.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: values, labels: {reconcile.fluxcd.io/watch: Enabled}}\ndata: {values.yaml: \"" + text + "\"}\n")
	}
	values("stuck: false")
	n.release("app", "moody", "timeout: 1h\nvaluesFrom: [{kind: ConfigMap, name: values}]\n")
	n.ready("app")
	values("stuck: true")
	n.awaitStored(2, "pending-upgrade")
	n.await(harness.DeploymentKind, "app", func(u *unstructured.Unstructured) bool {
		_, stuck, _ := unstructured.NestedMap(u.Object, "spec", "template", "spec", "nodeSelector")
		return stuck
	})
	built := n.built()
	values("stuck: true # until there is room")
	if err := harness.Until(within(t), 50*time.Millisecond, func(context.Context) (bool, error) { return n.built() > built, nil }); err != nil {
		t.Fatal("the values were not rendered again:", err)
	}
	n.patch(harness.DeploymentKind, "app", `{"spec":{"template":{"spec":{"nodeSelector":null}}}}`)
	n.await(releaseKind, "app", says("Ready", "True", "UpgradeSucceeded", "app.v2 "))
	want := []string{"superseded: Install complete", "deployed: Upgrade complete"}
	if diff := cmp.Diff(want, history(t, n.Namespace, "app")); diff != "" {
		t.Errorf("helm history (-want +got):\n%s", diff)
	}
}

// built is how often the builder published a render of the tenant's.
func (n tenant) built() (times int) {
	n.t.Helper()
	body, err := os.ReadFile(world.Sluice.Log())
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if strings.Contains(line, n.Namespace) && strings.Contains(line, "build published") {
			times++
		}
	}
	return times
}
