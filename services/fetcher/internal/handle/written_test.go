package handle

import (
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
)

func TestForgetDropsWhatWasWritten(t *testing.T) {
	h := &Handler{}
	gone, other := events.NewKey("Bucket", "apps", "gone"), events.NewKey("Bucket", "apps", "other")
	for _, key := range []events.Key{gone, other} {
		h.written.remember(key, &sourcev1.Bucket{})
	}
	h.Forget(gone)
	if h.Newest(gone, nil) != nil || h.Newest(other, nil) == nil {
		t.Errorf("remembered is %v", h.written.byKey)
	}
}
