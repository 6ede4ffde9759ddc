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
// Kustomization that took it.
type rivalry struct {
	read client.Reader
	tell report.Recorder
}

func (r rivalry) report(ctx context.Context, owner cluster.Owner, notices []livestate.Notice) {
	for _, n := range notices {
		if n.Why != livestate.Conflict {
			continue
		}
		var ks kustomizev1.Kustomization
		if r.read.Get(ctx, client.ObjectKey{Namespace: owner.Namespace, Name: owner.Name}, &ks) != nil {
			return // it is gone, and nobody is left to tell
		}
		r.tell.Tell(&ks, report.Note{
			Reason: "ObjectTakenOver", Warning: true,
			Message: fmt.Sprintf("%s now belongs to Kustomization %s/%s and is left to it: remove it from one of the two: from this one, "+
				"and it stays as it is, or from the other, which prunes it so that this one makes it again", n.Object, n.Rival.Namespace, n.Rival.Name),
		})
	}
}
