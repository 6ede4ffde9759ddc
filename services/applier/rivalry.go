package applier

import (
	"context"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
)

// rivalry tells people that somebody else wants an object of theirs: another
// Kustomization that took it, or a controller that keeps changing it back.
type rivalry struct {
	read client.Reader
	tell report.Recorder
}

func (r rivalry) report(ctx context.Context, owner cluster.Owner, notices []livestate.Notice) {
	for _, n := range notices {
		var reason, message string
		switch {
		case n.Why == livestate.Conflict:
			reason = "ObjectTakenOver"
			message = fmt.Sprintf("%s now belongs to Kustomization %s/%s and is left to it: keep it in one of the two",
				n.Object, n.Rival.Namespace, n.Rival.Name)
		case n.Repeated:
			reason = "ObjectContested"
			message = fmt.Sprintf("%s is changed again and again after it was put back: another controller writes the same fields; until it stops, the object is put back once in %s",
				n.Object, livestate.CorrectionInterval)
		default:
			continue
		}
		var ks kustomizev1.Kustomization
		if r.read.Get(ctx, client.ObjectKey{Namespace: owner.Namespace, Name: owner.Name}, &ks) != nil {
			return // it is gone, and nobody is left to tell
		}
		r.tell.Tell(&ks, report.Note{Reason: reason, Message: message, Warning: true})
	}
}
