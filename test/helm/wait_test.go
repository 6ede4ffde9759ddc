package helm

import (
	"fmt"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// waiting is how many releases wait at once. Each would hold a worker if waiting did.
const waiting = 24

// TestWaits has releases wait, for objects that never get ready and for a hook that never ends, in a
// process with one worker for each stage. Another release is installed meanwhile, hooks included, each of
// which ends on its own: were it not told by a watch, each would be found out at a poll, 30 seconds later.
func TestWaits(t *testing.T) {
	old := world
	alone, err := harness.NewWorld(t.Context(), harness.WorldOptions{Progress: os.Stderr, Token: "helm-only-token", SluiceArgs: []string{"--concurrency=1"}})
	if err != nil {
		t.Fatal(err)
	}
	world = alone
	t.Cleanup(func() {
		world = old
		if err := alone.Close(); err != nil {
			t.Error(err)
		}
	})
	n := newTenant(t, "waits", chainChart())
	for i := range waiting {
		n.release(fmt.Sprintf("stuck-%d", i), "chain", fmt.Sprintf("timeout: 1h\nvalues: {stuckHook: %t, stuck: %t}\n", i%2 == 0, i%2 == 1))
	}
	for i := range waiting {
		n.await(releaseKind, fmt.Sprintf("stuck-%d", i), says("Ready", "Unknown", "Progressing", "Running 'install' action"))
	}
	n.release("free", "chain", "timeout: 1h\n")
	n.ready("free")
	for i := range waiting {
		u := n.await(releaseKind, fmt.Sprintf("stuck-%d", i), func(*unstructured.Unstructured) bool { return true })
		if !says("Ready", "Unknown", "Progressing", "")(u) {
			t.Errorf("stuck-%d does not wait any more: %s", i, harness.Describe(u))
		}
	}
	for i := range waiting / 2 { // a fix ends what only waits
		n.patch(releaseKind, fmt.Sprintf("stuck-%d", 2*i+1), `{"spec":{"values":{"stuck":false}}}`)
	}
	for i := range waiting / 2 {
		n.ready(fmt.Sprintf("stuck-%d", 2*i+1))
	}
}
