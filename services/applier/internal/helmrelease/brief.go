package helmrelease

import (
	"sync"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
	"github.com/sluice-gitops/sluice/services/applier/internal/verdict"
)

// brief is how long an upgrade of a release that is ready may take before anybody is told that it is under way. One
// that is over by then costs the writes that Helm itself needs, and one of the status.
const brief = time.Second

// ahead is how far actions got beyond what the storage says, by the mark of their revision. What is lost of
// it with the process is done once more.
type ahead struct {
	mu   sync.Mutex
	runs map[string]helmstore.Run
}

func (a *ahead) put(made *record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.runs == nil {
		a.runs = map[string]helmstore.Run{}
	}
	for mark, run := range a.runs { // of actions that others went on with
		if time.Since(run.Since) > time.Minute {
			delete(a.runs, mark)
		}
	}
	a.runs[made.Mark()] = *made.Run
}

// take gives a revision the run that it had when the last pass ended.
func (a *ahead) take(made *record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if run, ok := a.runs[made.Mark()]; ok {
		delete(a.runs, made.Mark())
		made.Run = &run
	}
}

// attempted notes in the status what an install or an upgrade tries. The stored release says all of it, so
// that the status may do so later.
func (p *pass) attempted(made *record, run helmstore.Run) error {
	if run.ForcedAt != "" {
		p.hr.Status.LastHandledForceAt = run.ForcedAt
	}
	if run.Action != release.Install && run.Action != release.Upgrade {
		return nil
	}
	config, err := verdict.ConfigDigest(made.Config)
	if err != nil {
		return err
	}
	s := &p.hr.Status
	s.LastAttemptedReleaseAction = helmv2.ReleaseAction(run.Action)
	s.LastAttemptedGeneration, s.LastAttemptedRevision = run.Generation, made.Chart.Metadata.Version
	s.LastAttemptedConfigDigest, s.LastAttemptedRevisionDigest = config, run.OCIDigest
	return nil
}

// quick says whether an action may begin without a word in the status: it upgrades a ready release, and the
// status would say nothing new but what is attempted.
func (p *pass) quick(action string) bool {
	was, is := p.read.Status.DeepCopy(), p.hr.Status.DeepCopy()
	for _, s := range []*helmv2.HelmReleaseStatus{was, is} {
		s.Conditions = nil
		s.LastAttemptedReleaseAction, s.LastAttemptedGeneration = "", 0
		s.LastAttemptedRevision, s.LastAttemptedConfigDigest, s.LastAttemptedRevisionDigest = "", "", ""
	}
	return action == release.Upgrade && meta.IsStatusConditionTrue(p.read.Status.Conditions, kube.ConditionReady) && equality.Semantic.DeepEqual(was, is)
}
