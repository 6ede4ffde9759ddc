package livestate

import (
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A kind that an aggregated API server does not list keeps those waiting who come first, not each of its owners in turn.
func TestPatienceIsOfTheKind(t *testing.T) {
	secret := schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	synctest.Test(t, func(t *testing.T) {
		table := bare(Options{})
		start := time.Now()
		wait := func(kinds ...schema.GroupVersionKind) (bool, time.Duration) {
			table.Manage(kinds...)
			from := time.Now()
			return table.Listed(t.Context(), 10*time.Second, kinds...), time.Since(from)
		}
		for n := range 100 {
			listed, waited := wait(configMap)
			if want := 10 * time.Second; listed || n == 0 && waited != want || n > 0 && waited != 0 {
				t.Fatalf("owner %d: listed is %v after %s", n, listed, waited)
			}
		}
		if listed, waited := wait(secret, configMap); listed || waited != 10*time.Second {
			t.Errorf("a kind that is new: listed is %v after %s", listed, waited)
		}
		for _, gvk := range []schema.GroupVersionKind{secret, configMap} {
			(&feed{table: table, kind: table.kinds[gvk.GroupKind()]}).listed(true)
		}
		if listed, waited := wait(secret, configMap); !listed || waited != 0 {
			t.Errorf("late, but listed: listed is %v after %s", listed, waited)
		}
		if passed := time.Since(start); passed != 20*time.Second {
			t.Errorf("all waited for %s", passed)
		}
	})
}
