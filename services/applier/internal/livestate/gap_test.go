package livestate

import (
	"testing"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// A list that ends a gap of the watch may come while a write of ours is under way.
func TestDeletionInAGapDuringOurWrite(t *testing.T) {
	owner := cluster.Owner{Namespace: "apps", Name: "shop"}
	answer := metadata(1, owner, 5) // version 5000001
	r := cluster.NewRef(configMap, answer.Namespace, answer.Name)
	for _, tt := range []struct {
		why    string
		before int    // writes of the object as it was seen before, 0 when it was not
		list   string // the version of a list without the object
		want   Standing
	}{
		{"it was made and deleted in the gap", 0, "9000000", Dirty},
		{"it was written and deleted in the gap", 1, "9000000", Dirty},
		{"it was made after the list", 0, "4000000", Clean},
		{"it was deleted before our write, which made it again", 1, "4000000", Clean},
	} {
		table := bare(Options{})
		table.hash = newHasher(nil, nil, Kustomizations())
		table.Manage(configMap)
		f := &feed{table: table, kind: table.kinds[configMap.GroupKind()], ctx: t.Context()}
		if tt.before > 0 {
			if err := f.Update(metadata(1, owner, tt.before)); err != nil {
				t.Fatal(err)
			}
		}
		table.Begin(r)
		if err := f.Replace(nil, tt.list); err != nil {
			t.Fatal(err)
		}
		table.Applied(r, owner, "digest", answer)
		if got := table.Standing(r, owner, "digest"); got != tt.want {
			t.Errorf("%s: it stands as %v, want %v", tt.why, got, tt.want)
		}
		if got := len(table.outbox.notices[owner]) > 0; got != (tt.want == Dirty) {
			t.Errorf("%s: told is %v", tt.why, got)
		}
	}
}
