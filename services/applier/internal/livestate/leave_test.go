package livestate

import (
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// TestLeftAloneIsFollowed: an object that an owner's first pass meets and leaves alone is
// noticed when the reason ends, by that process and by the next one.
func TestLeftAloneIsFollowed(t *testing.T) {
	owner := cluster.Owner{Namespace: "apps", Name: "shop"}
	r := cluster.NewRef(configMap, "default", "one")
	seen := func(version string, owner cluster.Owner, asks OptOut) Slim {
		return Slim{UID: "u", ResourceVersion: version, Owner: owner, OptOut: asks}
	}
	process := func(watched bool, live Slim) *Table {
		table := bare(Options{})
		table.Manage(configMap)
		k := table.kinds[configMap.GroupKind()]
		if k.watched = watched; watched {
			table.observe(r, k.record(r.Key()), live)
		}
		return table
	}
	change := func(live Slim) func(*Table, *kind, *record) {
		return func(table *Table, _ *kind, rec *record) { table.observe(r, rec, live) }
	}
	gone := func(table *Table, k *kind, rec *record) { table.gone(r, k, rec, "2") }
	for _, tt := range []struct {
		why     string
		watched bool
		live    Slim
		leave   Leave
		then    func(*Table, *kind, *record)
		dirty   int
	}{
		{"the opt-out ends", true, seen("1", owner, NoReconcile), WhileOptedOut, change(seen("2", owner, 0)), 1},
		{"the kind was not watched at first", false, seen("1", owner, NoReconcile), WhileOptedOut, change(seen("2", owner, 0)), 1},
		{"it stays opted out", true, seen("1", owner, NoReconcile), WhileOptedOut, change(seen("2", owner, NoReconcile)), 0},
		{"an object that opts out is deleted", true, seen("1", owner, NoReconcile), WhileOptedOut, gone, 1},
		{"an object that is only made is deleted", true, seen("1", owner, 0), WhilePresent, gone, 1},
		{"it is deleted, and the kind was not watched at first", false, seen("1", owner, 0), WhilePresent, gone, 1},
		{"an object that is only made is changed", true, seen("1", owner, 0), WhilePresent, change(seen("2", owner, 0)), 0},
	} {
		first := process(tt.watched, tt.live)
		first.Left(r, owner, "d", tt.live, tt.leave)
		if got := first.Dirty(owner); len(got) > 0 {
			t.Errorf("%s: it is dirty at once", tt.why)
		}
		second := process(true, tt.live)
		second.Adopt(t.Context(), owner, first.Keep(owner))
		for name, table := range map[string]*Table{"the same process": first, "the next process": second} {
			k, rec := table.find(r)
			k.watched = true
			tt.then(table, k, rec)
			if got := len(table.Dirty(owner)); got != tt.dirty {
				t.Errorf("%s, %s: %d objects are dirty, want %d", tt.why, name, got, tt.dirty)
			}
			if got := table.Standing(r, owner, "d"); tt.dirty > 0 && got != Unknown {
				t.Errorf("%s, %s: it stands as %v, want Unknown: a dry run has to tell", tt.why, name, got)
			}
			if got := len(table.outbox.notices[owner]); got != tt.dirty {
				t.Errorf("%s, %s: %d notices, want %d", tt.why, name, got, tt.dirty)
			}
		}
	}
}

// TestLeftAloneUnlabelled: no watch tells of an object without owner labels, so it is compared
// as those are whose kind may not be watched. What others own is theirs.
func TestLeftAloneUnlabelled(t *testing.T) {
	owner := cluster.Owner{Namespace: "apps", Name: "shop"}
	r := cluster.NewRef(configMap, "default", "one")
	for _, tt := range []struct {
		why       string
		labels    cluster.Owner
		unwatched int
	}{
		{"no labels", cluster.Owner{}, 1},
		{"the owner's", owner, 0},
		{"another's", cluster.Owner{Namespace: "apps", Name: "other"}, 0},
	} {
		table := bare(Options{})
		table.Manage(configMap)
		table.kinds[configMap.GroupKind()].watched = true
		table.Left(r, owner, "d", Slim{UID: "u", ResourceVersion: "1", Owner: tt.labels}, WhilePresent)
		if got := len(table.Unwatched([]cluster.Ref{r})); got != tt.unwatched {
			t.Errorf("%s: %d objects are unwatched, want %d", tt.why, got, tt.unwatched)
		}
		if got := table.Dirty(owner); len(got) > 0 {
			t.Errorf("%s: it is dirty at once", tt.why)
		}
	}
}

// TestNewVersionWaitsForTheOptOut: an applied object that opts out is looked at again when that ends, as after a
// new version that was left for later, also when nothing else of it changed.
func TestNewVersionWaitsForTheOptOut(t *testing.T) {
	owner := cluster.Owner{Namespace: "apps", Name: "shop"}
	r := cluster.NewRef(configMap, "default", "one")
	answer := metadata(1, owner, 1)
	now := time.Unix(1000, 0)
	process := func() *Table {
		table := bare(Options{Corrections: 60, CorrectionInterval: time.Second})
		table.hash = newHasher([]byte("key"), nil, Kustomizations())
		table.now = func() time.Time { return now }
		table.Manage(configMap)
		table.kinds[configMap.GroupKind()].watched = true
		return table
	}
	first := process()
	first.Begin(r)
	first.Applied(r, owner, "d1", answer)
	now = now.Add(time.Minute)
	back := first.Reduce(answer)
	back.ResourceVersion, back.Sub = "4000001", 7 // its status was written, too
	optedOut := back
	optedOut.ResourceVersion, optedOut.OptOut, optedOut.Rest = "2000001", NoReconcile, 7
	again := optedOut
	again.ResourceVersion, again.Sub = "3000001", 8
	_, rec := first.find(r)
	first.observe(r, rec, optedOut)
	seen, _ := first.Seen(r)
	first.Left(r, owner, "d2", seen, WhileOptedOut)
	second := process()
	second.observe(r, second.ensure(r), optedOut)
	second.Adopt(t.Context(), owner, first.Keep(owner))
	for name, table := range map[string]*Table{"the same process": first, "the next process": second} {
		_, rec := table.find(r)
		table.observe(r, rec, again)
		if got := len(table.outbox.notices[owner]) + len(table.Dirty(owner)); got > 0 {
			t.Errorf("%s: it is dirty while it opts out", name)
		}
		table.observe(r, rec, back)
		if got := len(table.outbox.notices[owner]); got != 1 {
			t.Errorf("%s: %d notices when the opt-out ended, want one", name, got)
		}
		if got := table.Standing(r, owner, "d2"); got != Outdated {
			t.Errorf("%s: the new version stands as %v, want it outdated", name, got)
		}
	}
}
