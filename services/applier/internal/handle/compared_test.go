package handle

import (
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/drift"
)

// blind is a target that cannot watch one object.
type blind struct{ Target }

func (blind) Unwatched(*kustomizev1.Kustomization) []cluster.Ref {
	return []cluster.Ref{{Version: "v1", Kind: "Secret", Namespace: "apps", Name: "unwatched"}}
}

func (blind) VerifyDue(*kustomizev1.Kustomization) bool { return false }

// Checks come for many reasons, and comparing costs a request for each object.
func TestUnwatchedObjectsAreComparedOnceAnInterval(t *testing.T) {
	key := events.NewKey(kustomizev1.KustomizationKind, "apps", "shop")
	dirty := []cluster.Ref{{Version: "v1", Kind: "ConfigMap", Namespace: "apps", Name: "dirty"}}
	for _, tt := range []struct {
		why       string
		ago       time.Duration // since they were compared
		mode      drift.Mode
		dirty     []cluster.Ref
		known     int
		unwatched bool
	}{
		{"the interval is over", 11 * time.Minute, "", nil, 1, true},
		{"it is not", 9 * time.Minute, "", nil, 0, false},
		{"nor when something else is put back", 9 * time.Minute, "", dirty, 1, false},
		{"nor when nothing is to be reported", 9 * time.Minute, drift.Report, nil, 0, false},
		{"a report is about all that differs", 9 * time.Minute, drift.Report, dirty, 2, true},
	} {
		ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "apps"}}
		ks.Spec.Interval.Duration = 10 * time.Minute
		if tt.mode != "" {
			ks.Annotations = map[string]string{drift.Annotation: string(tt.mode)}
		}
		p := &pass{Worker: &Worker{}, check: bus.Check{Key: key}, ks: ks, Target: blind{}}
		p.compared.note(key, time.Now().Add(-tt.ago))
		if got := p.suspects(tt.dirty); len(got.known) != tt.known || got.unwatched != tt.unwatched || got.all {
			t.Errorf("%s: got %+v, want %d objects, unwatched ones: %v", tt.why, got, tt.known, tt.unwatched)
		}
	}
}
