package livestate

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// Whoever is woken looks through all that waits, so a storm must not wake it for each event.
func TestStormWakesOnce(t *testing.T) {
	start := time.Unix(1000, 0)
	o := newOutbox()
	add := func(n int, due time.Duration) (woke bool) {
		owner := cluster.Owner{Namespace: "tenant", Name: fmt.Sprint(n)}
		o.add(owner, Notice{Object: cluster.NewRef(configMap, "default", "x"), Why: Changed}, start.Add(due))
		o.touch(owner, start.Add(due))
		select {
		case <-o.wake:
			return true
		default:
			return false
		}
	}
	if !add(0, 20*time.Millisecond) {
		t.Fatal("the first notice woke nobody")
	}
	if notices, _, next := o.due(start); len(notices) > 0 || !next.Equal(start.Add(20*time.Millisecond)) {
		t.Fatalf("%d notices at once, the next at %s", len(notices), next)
	}
	woken := 0
	for n := range 1000 {
		if add(n, 21*time.Millisecond) {
			woken++
		}
	}
	if woken > 0 {
		t.Errorf("%d of 1000 notices woke somebody who looks before they are due", woken)
	}
	if !add(1000, 10*time.Millisecond) {
		t.Error("a notice that is due before the next look woke nobody")
	}
	notices, touched, _ := o.due(start.Add(time.Second))
	if len(notices) != 1001 || len(touched) != 1001 {
		t.Errorf("%d owners noticed and %d touched, want 1001", len(notices), len(touched))
	}
	if !add(7, time.Hour) {
		t.Error("a notice woke nobody although nothing waited before it")
	}
}

// That another owner took an object is told, also when a change of it waits to be told: nothing is put back then.
func TestTakeoverIsToldInPlaceOfAChange(t *testing.T) {
	owner, rival := cluster.Owner{Namespace: "apps", Name: "shop"}, cluster.Owner{Namespace: "apps", Name: "other"}
	table := bare(Options{Corrections: 60, CorrectionInterval: time.Second})
	table.hash = newHasher(nil, nil, Kustomizations())
	table.Manage(configMap)
	k := table.kinds[configMap.GroupKind()]
	k.watched = true
	answer := metadata(1, owner, 1)
	r := cluster.NewRef(configMap, answer.Namespace, answer.Name)
	table.Begin(r)
	table.Applied(r, owner, "digest", answer)
	changed := table.Reduce(answer)
	changed.ResourceVersion, changed.Own = "2000001", 7
	table.observe(r, k.record(r.Key()), changed)
	taken := changed
	taken.ResourceVersion, taken.Owner = "3000001", rival
	table.observe(r, k.record(r.Key()), taken)
	notices, _, _ := table.outbox.due(time.Now().Add(time.Hour))
	table.settle(notices)
	if got := notices[owner]; len(got) != 1 || got[0].Why != Conflict || got[0].Rival != rival {
		t.Errorf("told %v, want the conflict", got)
	}
	table.gone(r, k, k.record(r.Key()), "4000001") // the rival deleted it, and what it took goes back
	table.again(owner, notices[owner])
	notices, _, _ = table.outbox.due(time.Now().Add(time.Hour))
	table.settle(notices)
	if got := len(notices[owner]); got != 2 {
		t.Errorf("told %v, want the deletion and the conflict", notices[owner])
	}
}
