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

// The answer to a write of ours may come before its event, which is no news then.
func TestOwnWriteTellsOthersWhoAwaitTheObject(t *testing.T) {
	maker, waiter := cluster.Owner{Namespace: "apps", Name: "maker"}, cluster.Owner{Namespace: "apps", Name: "waiter"}
	for _, tt := range []struct {
		why    string
		writes int // of the object that is there
		told   bool
	}{
		{"a new object is news", 0, true},
		{"a write is", 1, true},
		{"that nothing is to be written is not", 2, false},
	} {
		table := bare(Options{})
		table.hash = newHasher(nil, nil, Kustomizations())
		table.Manage(configMap)
		f := &feed{table: table, kind: table.kinds[configMap.GroupKind()]}
		answer := metadata(1, maker, 2)
		r := cluster.NewRef(configMap, answer.Namespace, answer.Name)
		if tt.writes > 0 {
			if err := f.Update(metadata(1, maker, tt.writes)); err != nil {
				t.Fatal(err)
			}
		}
		for _, owner := range []cluster.Owner{maker, waiter} {
			table.Await(owner, cluster.Unseen(r))
		}
		table.Begin(r)
		table.Applied(r, maker, "digest", answer)
		if err := f.Update(answer); err != nil {
			t.Fatal(err)
		}
		_, told := table.outbox.touched[waiter]
		if _, self := table.outbox.touched[maker]; told != tt.told || self {
			t.Errorf("%s: told is %v, and itself %v", tt.why, told, self)
		}
	}
}

// An object without owner labels is not in the watch, however it came into the table.
func TestChangesOfUnlabelledObjectsAreNotSeen(t *testing.T) {
	owner := cluster.Owner{Namespace: "apps", Name: "shop"}
	r := cluster.NewRef(configMap, "default", "one")
	for _, tt := range []struct {
		why       string
		labels    cluster.Owner
		uncovered int
	}{
		{"left alone without labels", cluster.Owner{}, 1},
		{"left alone with the owner's", owner, 0},
	} {
		table := bare(Options{})
		table.Manage(configMap)
		table.kinds[configMap.GroupKind()].watched = true
		table.Left(r, owner, "digest", Slim{UID: "u", ResourceVersion: "1", Owner: tt.labels}, WhilePresent)
		if uncovered, _ := table.Await(owner, cluster.Unseen(r)); len(uncovered) != tt.uncovered {
			t.Errorf("%s: uncovered are %v, want %d", tt.why, uncovered, tt.uncovered)
		}
	}
}
