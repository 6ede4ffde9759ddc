package handle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

const (
	reasonContested    = "ObjectContested"
	reasonContestEnded = "ObjectContestEnded"
)

// opponents finds out what others wrote to objects that are about to be fought over,
// before it is put back. What cannot be found out is asked for at the next revert.
func (p *pass) opponents(ctx context.Context, a status.Attempt, objects []render.Object) []events.Difference {
	if p.reportOnly() {
		return nil
	}
	objects = only(objects, p.fights.brewing(p.check.Key))
	if len(objects) == 0 {
		return nil
	}
	compared, err := p.Target.Apply(ctx, Work{
		Object: p.ks, Render: a.RenderID, Objects: objects, Part: true, Verify: true, Compare: true, Guard: p.Writer.Watch(p.ks).Hold,
	})
	if err != nil {
		p.log.Info("cannot see who changes an object again and again", "error", err.Error())
	}
	return compared.Differences
}

// tellFights counts what was put back, and names the objects that somebody else
// keeps changing, once for each fight.
func (p *pass) tellFights(ctx context.Context, a status.Attempt, changes []events.Change, opponents []events.Difference) error {
	refs := make([]cluster.Ref, 0, len(changes))
	for _, c := range changes {
		refs = append(refs, clusterRef(c.Object))
	}
	p.fights.reverted(p.check.Key, refs, time.Now())
	for _, d := range opponents {
		reverts := p.fights.tell(p.check.Key, clusterRef(d.Object))
		if reverts == 0 {
			continue
		}
		data := contest(d)
		data.Applied, data.Reverts = p.journal.Applied(a.Revision, a.RenderID), reverts
		p.Recorder.Tell(p.ks, report.Note{
			Reason: reasonContested, Message: contestText(data), Revision: a.Revision, OriginRevision: a.OriginRevision, Warning: true,
		})
		if err := p.journal.Write(ctx, data); err != nil {
			return err
		}
	}
	return nil
}

// endFights tells the end of fights, and lets their objects be put back at once again.
func (p *pass) endFights(ctx context.Context, a status.Attempt) error {
	for ref, reverts := range p.fights.ended(p.check.Key, time.Now()) {
		p.Target.Calm(ref)
		p.Recorder.Tell(p.ks, report.Note{
			Reason: reasonContestEnded, Revision: a.Revision, OriginRevision: a.OriginRevision,
			Message: fmt.Sprintf("%s stays as it was put back: nobody else changed it for %s", ref, fightQuiet),
		})
		if err := p.journal.Write(ctx, events.DriftContested{
			Applied: p.journal.Applied(a.Revision, a.RenderID), Contested: eventRef(ref), Reverts: reverts, Ended: true,
		}); err != nil {
			return err
		}
	}
	return nil
}

// contest names fields and managers of a difference. Values are not told.
func contest(d events.Difference) events.DriftContested {
	data := events.DriftContested{Contested: d.Object}
	for _, f := range d.Fields[:min(len(d.Fields), maxFields)] {
		data.Fields = append(data.Fields, f.Path)
		if f.Manager != "" && !slices.Contains(data.Managers, f.Manager) {
			data.Managers = append(data.Managers, f.Manager)
		}
	}
	return data
}

func contestText(c events.DriftContested) string {
	who, what := "somebody", "deletes it"
	if len(c.Managers) > 0 {
		who = fmt.Sprintf("field manager %q", strings.Join(c.Managers, ", "))
	}
	if len(c.Fields) > 0 {
		what = "changes " + strings.Join(c.Fields, ", ")
	}
	return fmt.Sprintf("%s was put back %d times in a row, and %s %s each time: stop one of the two, or leave the fields to the other with spec.ignore. "+
		"While it goes on, the object is soon put back no more than once in %s", c.Contested, c.Reverts, who, what, livestate.CorrectionInterval)
}
