package handle

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/applier/internal/claim"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"github.com/sluice-gitops/sluice/services/applier/internal/plan"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// pass is one pass over one object.
type pass struct {
	*Worker
	check   bus.Check
	ks      *kustomizev1.Kustomization
	journal *report.Journal
	log     *slog.Logger
	started time.Time
	// Target is where the object is applied to; when there is none, lost says why.
	Target Target
	lost   *cluster.NoTargetError

	source desired.Source
	build  desired.Build
	// opened gives back the room of the render that is in use; nil when none is.
	opened func()
	// rules are the object's own ones about health.
	rules health.Rules
	// stageSince is when the wait began that the pass looks at; zero when there is none.
	stageSince time.Time
}

func (p *pass) run(ctx context.Context) (bus.Result, error) {
	if p.Target != nil {
		if err := p.Target.Recall(ctx, p.ks); err != nil {
			return bus.Result{}, err
		}
	}
	f := refuse(p.ks, p.Options)
	rules, err := health.Compile(p.Depend.CEL, p.ks.Spec.HealthCheckExprs)
	if err != nil && f == nil {
		wrong := misconfigured(err)
		f = &wrong
	}
	p.rules = rules
	if f != nil {
		if err := p.hold(ctx); err != nil {
			return bus.Result{}, err
		}
		return p.fail(ctx, status.Attempt{}, *f, bus.Never)
	}
	if err := p.read(ctx); err != nil {
		return bus.Result{}, err
	}
	if p.source.Missing != "" {
		return p.noSource(ctx)
	}
	switch p.build.State {
	case desired.Pending:
		return p.pending(ctx)
	case desired.Failed:
		return p.buildFailed(ctx)
	case desired.Refused:
		return p.refused(ctx)
	case desired.Rendered:
	}
	p.patience.forget(p.check.Key)
	if p.lost != nil {
		return p.noTarget(ctx)
	}
	p.tellLingering(ctx)
	return p.settle(ctx)
}

// read reads source and build from memory, and once more from the API server when
// they do not fit together: one of the two is then older than the other.
func (p *pass) read(ctx context.Context) error {
	for _, live := range []bool{false, true} {
		if live {
			ks, err := p.Reader.Live(ctx, nameOf(p.ks))
			if err != nil {
				return err
			}
			if ks == nil || ks.UID != p.ks.UID || !ks.DeletionTimestamp.IsZero() || ks.Spec.Suspend ||
				!equality.Semantic.DeepEqual(ks.Spec.KubeConfig, p.ks.Spec.KubeConfig) {
				return fmt.Errorf("read Kustomization %s again: %w", nameOf(p.ks), claim.ErrLost)
			}
			p.ks = ks
		}
		if err := p.readOnce(ctx, live); err != nil {
			return err
		}
		if !p.doubtful() {
			return nil
		}
	}
	return nil
}

// doubtful says whether the API server may know better than the cache: a build
// woke us, but not one of what the cache has.
func (p *pass) doubtful() bool {
	return p.build.State == desired.Pending && p.build.Why != noBuild && p.check.Note.Reason == plan.ReasonBuild
}

const noBuild = "there is no build yet"

func (p *pass) readOnce(ctx context.Context, live bool) error {
	source, err := p.Sources.Read(ctx, p.ks, live)
	if err != nil {
		return err
	}
	p.source = source
	if source.Missing != "" {
		return nil
	}
	log, err := p.Bus.Open(ctx, events.BuildSubject(p.Options.Cluster, p.check.Key))
	if err != nil {
		return fmt.Errorf("read newest build: %w", err)
	}
	newest, ok := log.Last()
	if !ok {
		p.build = desired.Build{State: desired.Pending, Why: noBuild}
		return nil
	}
	p.build, err = desired.Judge(ctx, p.Keys, p.Options.Cluster, p.ks, source, newest)
	return err
}

// attempt is what the newest build asks for.
func (p *pass) attempt() status.Attempt {
	h := p.build.Head
	return status.Attempt{
		Revision: h.Revision, OriginRevision: h.OriginRevision, RenderID: h.RenderID, Started: p.started,
	}
}

// interval is when an object is looked at again although nothing happened: sooner
// when it is to be seen whether what was pruned is gone, or when objects that no
// watch vouches for were compared a while ago.
func (p *pass) interval() bus.Result {
	next := p.ks.Spec.Interval.Duration
	if len(p.Target.Unwatched(p.ks)) > 0 {
		next = max(p.compared.left(p.check.Key, next, time.Now()), time.Second)
	}
	next = jitter(next, p.Options.Jitter)
	if entries, wait := p.lingering.due(p.check.Key); len(entries) > 0 {
		next = min(next, max(wait, time.Second))
	}
	if wait := p.fights.due(p.check.Key, time.Now()); wait > 0 {
		next = min(next, wait)
	}
	if verify := p.Target.VerifyIn(p.ks); verify > 0 {
		next = min(next, verify)
	}
	return bus.Result{Next: next}
}
