package engine_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
)

// before returns a client that does something before its first request of a verb.
func (f *fixture) before(verb string, do func()) *cluster.Client {
	f.t.Helper()
	return f.beforeEach(verb, sync.OnceFunc(do))
}

// beforeEach returns a client that does something before each of its requests of a verb.
func (f *fixture) beforeEach(verb string, do func()) *cluster.Client {
	f.t.Helper()
	return f.through(func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method == verb {
			do()
		}
		return next.RoundTrip(r)
	})
}

// TestPruneLeavesWhatMovedMeanwhile: an object moves to another owner, who applies it between
// the look and the deletion of the one that prunes it. It stays, and the other still knows
// what it applied.
func TestPruneLeavesWhatMovedMeanwhile(t *testing.T) {
	f := newFixture(t)
	one := strings.Split(pair, "---")[0]
	mine := f.apply(one)
	f.synced()
	ref, other := f.ref("v1", "ConfigMap", "a"), cluster.Owner{Namespace: "flux-system", Name: "other-" + f.namespace}
	client := f.before(http.MethodDelete, func() { f.apply(one, func(r *engine.Request) { r.Owner = other }) })
	got, err := f.engine.Prune(t.Context(), engine.PruneRequest{Owner: f.owner, Client: client, Stale: mine.Inventory})
	if err != nil || actionOf(got, ref) != engine.Skipped {
		t.Errorf("%+v, %v", got, err)
	}
	if !f.exists(ref) {
		t.Fatal("it was deleted from under its new owner")
	}
	if dirty := f.table.Dirty(other); len(dirty) > 0 {
		t.Errorf("the new owner's is dirty: %v", dirty)
	}
	if again := f.apply(one, func(r *engine.Request) { r.Owner = other }); again.DryRuns+again.Writes > 0 {
		t.Error("what the new owner applied was forgotten")
	}
}

// TestPruneDeletesWhatChangesMeanwhile: a change by somebody, such as of the status, keeps no
// object that is still its owner's.
func TestPruneDeletesWhatChangesMeanwhile(t *testing.T) {
	f := newFixture(t)
	mine := f.apply(strings.Split(pair, "---")[0])
	ref := f.ref("v1", "ConfigMap", "a")
	client := f.before(http.MethodDelete, func() {
		f.edit(ref, "tool", "application/merge-patch+json", `{"metadata":{"annotations":{"a":"b"}}}`)
	})
	got, err := f.engine.Prune(t.Context(), engine.PruneRequest{Owner: f.owner, Client: client, Stale: mine.Inventory})
	if err != nil || actionOf(got, ref) != engine.Deleted || f.exists(ref) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPruneDeletesWhatNeverRests: an object that somebody writes before each try to delete it
// goes all the same, as long as it is its owner's.
func TestPruneDeletesWhatNeverRests(t *testing.T) {
	for _, moves := range []bool{false, true} {
		t.Run(map[bool]string{false: "and stays ours", true: "and moves"}[moves], func(t *testing.T) {
			f := newFixture(t)
			one := strings.Split(pair, "---")[0]
			mine := f.apply(one)
			ref, tries := f.ref("v1", "ConfigMap", "a"), 0
			client := f.beforeEach(http.MethodDelete, func() {
				tries++
				f.edit(ref, "tool", types.MergePatchType, fmt.Sprintf(`{"metadata":{"annotations":{"a":"%d"}}}`, tries))
				if moves && tries == 5 {
					f.apply(one, func(r *engine.Request) { r.Owner.Name = "other-" + f.namespace })
				}
			})
			got, err := f.engine.Prune(t.Context(), engine.PruneRequest{Owner: f.owner, Client: client, Stale: mine.Inventory})
			want := map[bool]engine.Action{false: engine.Deleted, true: engine.Skipped}[moves]
			if err != nil || actionOf(got, ref) != want || f.exists(ref) != moves {
				t.Errorf("after %d tries: %+v, %v", tries, got, err)
			}
		})
	}
}

// TestAMissedDeletionIsNoticed: an object whose deletion fell into a gap of the watch is made
// anew by the attempt after the one that is refused, not by the next list.
func TestAMissedDeletionIsNoticed(t *testing.T) {
	f := newFixture(t)
	one := strings.Split(pair, "---")[0]
	f.apply(one)
	f.synced()
	ref := f.ref("v1", "ConfigMap", "a")
	f.stop() // the watch ends before the deletion
	if err := f.client.Delete(t.Context(), ref, ""); err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(one, "k: one", "k: two", 1)
	if _, err := f.try(changed); err == nil {
		t.Fatal("what is not there was not missed")
	}
	f.apply(changed)
	if !f.exists(ref) {
		t.Error("it was not made anew")
	}
}

// TestWhatIsGivenUpGoesBack: an object that two owners want is the one's again when the other
// leaves it where it is, and another restart or an event of it changes nothing about that.
func TestWhatIsGivenUpGoesBack(t *testing.T) {
	f := newFixture(t)
	one := strings.Split(pair, "---")[0]
	f.apply(one)
	f.synced()
	ref, other := f.ref("v1", "ConfigMap", "a"), cluster.Owner{Namespace: "flux-system", Name: "other-" + f.namespace}
	f.apply(strings.Replace(one, "k: one", "k: two", 1), func(r *engine.Request) { r.Owner = other })
	if dirty := f.table.Dirty(f.owner); len(dirty) > 0 {
		t.Errorf("what was taken over is fought for: %v", dirty)
	}
	f.table.Withdraw(ref, other)
	f.edit(ref, "tool", "application/merge-patch+json", `{"metadata":{"annotations":{"a":"b"}}}`)
	f.seen(ref)
	if dirty := f.table.Dirty(f.owner); len(dirty) != 1 {
		t.Errorf("what nobody else wants is left to nobody: %v", dirty)
	}
	f.apply(one)
	live := f.get(ref)
	if value, _, err := unstructured.NestedString(live.Object, "data", "k"); err != nil || value != "one" || cluster.OwnerOf(live.GetLabels()) != f.owner {
		t.Errorf("it is not its first owner's: %v, %v, %v", live.GetLabels(), value, err)
	}
}

// seen waits until the table has seen an object as it is now.
func (f *fixture) seen(r cluster.Ref) {
	f.t.Helper()
	version := f.get(r).GetResourceVersion()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		if seen, ok := f.table.Seen(r); ok && seen.ResourceVersion == version {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatal("the table does not see it")
		}
	}
}

// TestMovedAndBack moves an object to another owner and back, as a revert does: who declares it
// holds it in the end, and it was never deleted. Each row is a reason for the first owner to still
// believe that it lost the object against its will.
func TestMovedAndBack(t *testing.T) {
	manifest := strings.Split(pair, "\n---\n")[0]
	const broken = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'B@D', namespace: NS}"
	for _, tt := range []struct {
		name string
		// What the first owner does of the commit that moves the object, before and after the other.
		before, after func(t *testing.T, f *fixture)
	}{
		{name: "another process looked at it", after: func(_ *testing.T, f *fixture) {
			f.seen(f.ref("v1", "ConfigMap", "a"))
			f.table.Retain(f.owner, nil) // what the inventory has by then
		}},
		{name: "the attempt fails after the other took it", after: func(t *testing.T, f *fixture) {
			if _, err := f.try(broken); err == nil {
				t.Fatal("no error")
			}
		}},
		{name: "the attempt fails before the other takes it", before: func(t *testing.T, f *fixture) {
			if _, err := f.try(broken); err == nil {
				t.Fatal("no error")
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			ref, other := f.ref("v1", "ConfigMap", "a"), cluster.Owner{Namespace: "flux-system", Name: "other-" + f.namespace}
			had := f.apply(manifest).Inventory
			f.synced()
			uid := f.get(ref).GetUID()
			if tt.before != nil {
				tt.before(t, f)
			}
			f.apply(manifest, func(r *engine.Request) { r.Owner = other })
			if tt.after != nil {
				tt.after(t, f)
			}
			back := f.apply(manifest)
			if got := back.Outcomes[0].Action; got == engine.Skipped {
				t.Errorf("the object was left to the other: %+v", back.Outcomes)
			}
			if _, err := f.engine.Prune(t.Context(), engine.PruneRequest{Owner: other, Client: f.client, Stale: had}); err != nil {
				t.Fatal(err)
			}
			if !f.exists(ref) || f.get(ref).GetUID() != uid {
				t.Error("the object was deleted although it is declared")
			}
		})
	}
}

// TestUnloadedOwnersGiveNothing: a process that has not seen an owner for long does not know that it
// is gone, so nobody takes its objects.
func TestUnloadedOwnersGiveNothing(t *testing.T) {
	f := newFixture(t)
	manifest := strings.Split(pair, "\n---\n")[0]
	first := cluster.Owner{Namespace: "flux-system", Name: "first-" + f.namespace}
	asFirst := func(r *engine.Request) { r.Owner = first }
	f.apply(manifest, asFirst)
	f.synced()
	f.apply(manifest)
	f.table.Unload(f.owner)
	if dirty := f.table.Dirty(first); len(dirty) > 0 {
		t.Errorf("the first owner is to apply %v", dirty)
	}
	if r := f.apply(manifest, asFirst); r.Outcomes[0].Action != engine.Skipped {
		t.Errorf("it took the object: %+v", r.Outcomes)
	}
}
