package livestate

import (
	"testing"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// TestListOfTheFormerState: an API server that comes back from a backup lists objects as they
// were before we applied them. A list that is only late does, too, and the watch goes on from it.
func TestListOfTheFormerState(t *testing.T) {
	owner := cluster.Owner{Namespace: "apps", Name: "shop"}
	before := metadata(1, owner, 1)
	applied := metadata(1, owner, 1)
	before.ResourceVersion, applied.ResourceVersion = "100", "200"
	applied.ManagedFields[0].FieldsV1.SetRawBytes([]byte(`{"f:data":{"f:k":{},"f:new":{}}}`))
	r := cluster.NewRef(configMap, before.Namespace, before.Name)
	start := func() (*Table, *feed) {
		table := bare(Options{})
		table.hash = newHasher(nil, nil, Kustomizations())
		table.Manage(configMap)
		f := &feed{table: table, kind: table.kinds[configMap.GroupKind()], ctx: t.Context()}
		if err := f.Replace([]any{before}, "100"); err != nil {
			t.Fatal(err)
		}
		table.Begin(r)
		table.Applied(r, owner, "d", applied)
		if err := f.Replace([]any{before}, "150"); err != nil {
			t.Fatal(err)
		}
		return table, f
	}
	table, f := start()
	if got := table.Standing(r, owner, "d"); got != Doubtful {
		t.Errorf("it stands as %v after the list, want Doubtful", got)
	}
	if n := table.outbox.notices[owner][topic{object: objectOf(r)}]; n.notice.Why != Verify {
		t.Errorf("the notice is %+v, want one to verify", n.notice)
	}
	if err := f.Update(applied); err != nil {
		t.Fatal(err)
	}
	if got := table.Standing(r, owner, "d"); got != Clean {
		t.Errorf("the list was late: it stands as %v, want Clean", got)
	}

	table, f = start()
	again := metadata(1, owner, 1)
	again.ResourceVersion = "151"
	again.ManagedFields[0].FieldsV1.SetRawBytes(applied.ManagedFields[0].FieldsV1.GetRawBytes())
	table.Begin(r)
	table.Applied(r, owner, "d", again)
	if got := table.Standing(r, owner, "d"); got != Clean {
		t.Errorf("it was applied again: it stands as %v, want Clean", got)
	}
	edited := again.DeepCopy()
	edited.ResourceVersion = "152"
	edited.ManagedFields[0].FieldsV1.SetRawBytes([]byte(`{"f:data":{"f:k":{}}}`))
	if err := f.Update(edited); err != nil {
		t.Fatal(err)
	}
	if got := table.Standing(r, owner, "d"); got != Dirty {
		t.Errorf("it was edited after that: it stands as %v, want Dirty", got)
	}
}
