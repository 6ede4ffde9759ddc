package handle

import (
	"context"
	"testing"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
)

// untouched is a bucket and a log that a replica which did not get the check of a deletion leaves alone.
type untouched struct {
	bucket
	eventLog
}

func (untouched) Forget(context.Context, events.Stage, events.Key) error {
	panic("the timer is not ours to end")
}

func TestForgetDropsWhatABuildRead(t *testing.T) {
	h := New(Parts{Bucket: untouched{}, Log: untouched{}}, Config{})
	gone, other := events.NewKey("Kustomization", "apps", "gone"), events.NewKey("Kustomization", "apps", "other")
	for _, key := range []events.Key{gone, other} {
		h.memory.remember(&job{Handler: h, key: key}, "render", build.Output{})
	}
	h.Forget(gone)
	if _, kept := h.memory.byKey[gone]; kept || len(h.memory.byKey) != 1 {
		t.Errorf("remembered is %v", h.memory.byKey)
	}
}
