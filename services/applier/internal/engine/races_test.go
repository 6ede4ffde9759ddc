package engine_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
)

// before returns a client that does something before its first request of a verb.
func (f *fixture) before(verb string, do func()) *cluster.Client {
	f.t.Helper()
	var once sync.Once
	config := rest.CopyConfig(server)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == verb {
				once.Do(do)
			}
			return next.RoundTrip(r)
		})
	})
	c, err := cluster.New(config, cluster.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		f.t.Fatal(err)
	}
	return client
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
