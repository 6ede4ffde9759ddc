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
