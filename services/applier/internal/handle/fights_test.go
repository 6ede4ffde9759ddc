package handle

import (
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

func TestFights(t *testing.T) {
	key := events.NewKey("Kustomization", "ns", "app")
	ref := cluster.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "ns", Name: "c"}
	refs := []cluster.Ref{ref}
	start := time.Unix(1000, 0)
	for _, c := range []struct {
		why  string
		gaps []time.Duration // before each revert
		told int             // reverts that the fight is told with; zero when it is none
	}{
		{"four in a row are none", []time.Duration{0, 0, 0, 0}, 0},
		{"five in a row are one", []time.Duration{0, 0, 0, 0, 0}, 5},
		{"one that is held back is slow", []time.Duration{0, fightQuiet, fightQuiet, fightQuiet, fightQuiet}, 5},
		{"a pause begins a new row", []time.Duration{0, 0, 0, 0, fightQuiet + 1}, 0},
	} {
		var f fights
		now := start
		for _, gap := range c.gaps {
			now = now.Add(gap)
			f.reverted(key, refs, now)
		}
		if got := f.tell(key, ref); got != c.told {
			t.Errorf("%s: told with %d reverts, want %d", c.why, got, c.told)
		}
		if got := f.tell(key, ref); got != 0 {
			t.Errorf("%s: told twice", c.why)
		}
		if due := f.due(key, now); (due > 0) != (c.told > 0) || due > fightQuiet {
			t.Errorf("%s: the end is looked for in %s", c.why, due)
		}
		if got := f.ended(key, now.Add(fightQuiet-1)); len(got) != 0 {
			t.Errorf("%s: ended too early", c.why)
		}
		if got := f.ended(key, now.Add(fightQuiet)); got[ref] != c.told {
			t.Errorf("%s: the end tells %v", c.why, got)
		}
		if len(f.all) != 0 {
			t.Errorf("%s: what ended is remembered: %v", c.why, f.all)
		}
	}
}
