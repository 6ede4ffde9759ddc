package handle

import (
	"bytes"
	"context"
	"fmt"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/applier/internal/drift"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// What an event says at most about drift that is not put back.
const (
	maxDifferences = 100
	maxFields      = 20
)

const (
	reasonDriftDetected = "DriftDetected"
	reasonDriftGone     = "DriftGone"
	reasonDriftUnknown  = "DriftUnknown"
)

// reportOnly says whether drift is reported and not put back.
func (p *pass) reportOnly() bool {
	mode, _ := drift.ModeOf(p.ks)
	return mode == drift.Report
}

// tellDifferences reports drift that is not put back, once for as long as it stays
// the same, and its end. What was told last is in the journal, so that it is not told
// again by another replica or after a restart.
func (p *pass) tellDifferences(ctx context.Context, a status.Attempt, found []events.Difference) error {
	last := p.journal.Last()
	data := events.DriftDetected{Applied: p.journal.Applied(a.Revision, a.RenderID), Objects: []events.ObjectRef{}}
	for n, d := range found {
		data.Objects = append(data.Objects, d.Object)
		if n < maxDifferences {
			d.Fields = d.Fields[:min(len(d.Fields), maxFields)]
			data.Differences = append(data.Differences, d)
		}
	}
	body, err := events.Encode(data)
	if err != nil {
		return fmt.Errorf("%w, of %s", err, nameOf(p.ks))
	}
	told := last.Type == events.TypeDriftDetected
	if told && bytes.Equal(body, last.Data) || !told && len(found) == 0 {
		return nil
	}
	note := report.Note{Reason: reasonDriftDetected, Warning: true, Revision: a.Revision, OriginRevision: a.OriginRevision}
	note.Message = fmt.Sprintf("%s\nNothing is put back, because annotation %s is %q", report.Differences(data.Differences), drift.Annotation, drift.Report)
	if len(found) == 0 {
		note.Reason, note.Warning, note.Message = reasonDriftGone, false, "The objects are as they were applied again"
	}
	p.Recorder.Tell(p.ks, note)
	return p.journal.Write(ctx, data)
}

// notCompared says that it is not known whether there is drift.
func (p *pass) notCompared(a status.Attempt, why error) bus.Result {
	p.log.Warn("drift could not be looked for", "revision", a.Revision, "error", why.Error())
	p.Recorder.Tell(p.ks, report.Note{
		Reason: reasonDriftUnknown, Message: why.Error(), Revision: a.Revision, OriginRevision: a.OriginRevision, Warning: true,
	})
	return p.interval()
}
