package livestate

import (
	"testing"

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
