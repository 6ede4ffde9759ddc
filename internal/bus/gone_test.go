package bus_test

import (
	"context"
	"testing"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
)

// TestGoneDuringWork: an object whose finalizer somebody strips is gone while a pass over it
// goes on, and remembers it.
func TestGoneDuringWork(t *testing.T) {
	key, other := events.NewKey("Kustomization", "apps", "one"), events.NewKey("Kustomization", "apps", "other")
	for _, tt := range []struct {
		why  string
		gone []events.Key // during the work
		want bool         // that the work's key is remembered after it
	}{
		{"nothing goes", nil, true},
		{"the key goes", []events.Key{key}, false},
		{"another key goes", []events.Key{other}, true},
	} {
		remembered := map[events.Key]bool{}
		g := bus.NewGone(func(key events.Key) { delete(remembered, key) })
		work := g.Around(func(_ context.Context, check bus.Check) (bus.Result, error) {
			for _, key := range tt.gone {
				g.Forget(key)
			}
			remembered[check.Key] = true
			return bus.Result{}, nil
		})
		if _, err := work(t.Context(), bus.Check{Key: key}); err != nil {
			t.Fatal(err)
		}
		if remembered[key] != tt.want {
			t.Errorf("%s: remembered is %v, want %v", tt.why, remembered[key], tt.want)
		}
		if remembered[key] = true; len(tt.gone) == 0 {
			g.Forget(key)
			if remembered[key] {
				t.Errorf("%s: a key that goes while nobody works is remembered", tt.why)
			}
		}
	}
}
