package handle

import (
	"context"
	"testing"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// deaf and nowhere stand for what a worker tells that an object is gone.
type deaf struct{ Bus }

func (deaf) Forget(context.Context, events.Stage, events.Key) error { return nil }

type nowhere struct{ Targets }

func (nowhere) Forget(cluster.Owner) {}

// TestNothingIsRememberedOfTheGone: an object that is deleted while its health is waited for
// leaves no list of what its attempt changed.
func TestNothingIsRememberedOfTheGone(t *testing.T) {
	w := &Worker{Bus: deaf{}, Targets: nowhere{}}
	gone, other := events.NewKey("Kustomization", "ns", "gone"), events.NewKey("Kustomization", "ns", "other")
	list := []events.Change{{Action: "created"}}
	for _, key := range []events.Key{gone, other} {
		w.changed.put(key, "render", list)
	}
	if _, err := w.gone(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if len(w.changed.all) != 1 || len(w.changed.take(other, "render")) != 1 {
		t.Errorf("remembered is %v", w.changed.all)
	}
}
