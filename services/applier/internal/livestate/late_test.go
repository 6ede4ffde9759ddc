package livestate_test

import (
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const late = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: late, namespace: NS}\ndata: {k: one}\n"

// TestDeletionBeforeOurAnswer deletes an object after our write, and shows that to
// the table before the answer to the write.
func TestDeletionBeforeOurAnswer(t *testing.T) {
	f := newFixture(t, livestate.Options{})
	f.apply(late)
	r := f.ref("v1", "ConfigMap", "late")
	answer, err := f.client.GetMetadata(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	f.table.Begin(r)
	if err := f.resource(r).Delete(t.Context(), r.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(15 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, present := f.table.Seen(r); present; _, present = f.table.Seen(r) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the deletion is not seen")
		}
	}
	f.table.Applied(r, f.owner, "digest", answer)
	if n := f.next(r); n.Why != livestate.Deleted {
		t.Errorf("got %s, want a notice of the deletion", n.Why)
	}
	f.apply(late)
	f.live(r)
}
