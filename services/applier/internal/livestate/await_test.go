package livestate

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

var configMap = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}

// bare returns a table without a cluster.
func bare(opts Options) *Table {
	return &Table{
		opts: opts, now: time.Now, kinds: map[schema.GroupKind]*kind{}, owned: map[cluster.Owner]map[*record]struct{}{},
		awaiting: newAwaiting(), outbox: newOutbox(),
	}
}

func TestEventMeetsOnlyWhoAwaitsIt(t *testing.T) {
	table := bare(Options{})
	shared := cluster.NewRef(configMap, "default", "shared")
	for n := range 1000 {
		owner := cluster.Owner{Namespace: "tenant", Name: fmt.Sprint(n)}
		own := cluster.NewRef(configMap, "default", owner.Name)
		table.Await(owner, cluster.Unseen(own, own))
		if n < 2 {
			table.Await(owner, cluster.Unseen(own, shared))
		}
	}
	for _, tt := range []struct {
		why    string
		name   string
		owners int
	}{
		{"of a thousand owners one awaits this object", "7", 1},
		{"two await this one", "shared", 2},
		{"nobody awaits this one", "stranger", 0},
	} {
		if got := len(table.awaiting.owners[objectOf(cluster.NewRef(configMap, "default", tt.name))]); got != tt.owners {
			t.Errorf("%s: an event about it meets %d owners, want %d", tt.why, got, tt.owners)
		}
	}
	table.changed(objectOf(shared), "1")
	if len(table.outbox.touched) != 2 {
		t.Errorf("a change told %d owners, want the 2 that await the object", len(table.outbox.touched))
	}
	for n := range 1000 {
		owner := cluster.Owner{Namespace: "tenant", Name: fmt.Sprint(n)}
		if n%2 == 0 {
			table.Await(owner, nil)
			continue
		}
		table.Release(owner)
	}
	if len(table.awaiting.owners)+len(table.awaiting.objects) > 0 {
		t.Errorf("%d objects and %d owners are kept although nothing is awaited", len(table.awaiting.owners), len(table.awaiting.objects))
	}
}
