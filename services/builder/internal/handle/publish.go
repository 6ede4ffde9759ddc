package handle

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/internal/serve"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
)

// stage is the builder's name as the source of events.
const stage = "builder"

// failure is an outcome that the object's author has to know about.
type failure struct {
	reason, message string
	stalled         bool
	// retry is when to try again; zero for stalled ones.
	retry time.Duration
}

// Error implements error.
func (f *failure) Error() string { return f.message }

// failOr publishes an error that is a failure of the input, and returns any
// other, to be retried.
func (j *job) failOr(ctx context.Context, err error) (bus.Result, error) {
	var f *failure
	if errors.As(err, &f) {
		return j.fail(ctx, *f)
	}
	var b *build.InputError
	if errors.As(err, &b) {
		return j.fail(ctx, failure{reason: b.Reason, message: b.Message, stalled: b.Stalled, retry: j.retry})
	}
	return bus.Result{}, err
}

// maxMessage bounds, in bytes, what is told of a failure, which may quote a file: as much as a condition holds.
const maxMessage = 15 << 10

// fail publishes a failure, unless the log already ends with it.
func (j *job) fail(ctx context.Context, f failure) (bus.Result, error) {
	next := f.retry
	if f.stalled || next <= 0 {
		next = bus.Never
	}
	data := events.BuildFailed{BuildInput: j.input, Reason: f.reason, Message: serve.Brief(f.message, maxMessage), Stalled: f.stalled}
	if j.endsWith(data) {
		return bus.Result{Next: next}, nil
	}
	if err := j.append(ctx, data); err != nil {
		return bus.Result{}, err
	}
	outcome := "failed"
	if j.skipped {
		outcome += "_skipped"
	}
	j.config.Metrics.count(outcome, time.Since(j.started))
	j.config.Logger.ErrorContext(ctx, "build failed", j.attrs("reason", data.Reason, "err", data.Message, "stalled", data.Stalled)...)
	return bus.Result{Next: next}, nil
}

func (j *job) endsWith(data events.BuildFailed) bool {
	e, ok := j.log.Last()
	if !ok || e.Type() != events.TypeBuildFailed {
		return false
	}
	last, err := events.Decode[events.BuildFailed](e)
	return err == nil && last == data
}

// succeed publishes a render that is in the bucket.
func (j *job) succeed(ctx context.Context, id string, objects int, how string) (bus.Result, error) {
	j.details[detailSource] = j.source.Version
	head, err := j.ring.SignHead(seal.Head{
		Identity: j.identity(), Generation: j.generation,
		Revision: j.input.Revision, OriginRevision: j.input.OriginRevision,
		SourceDigest: j.input.SourceDigest, SpecDigest: j.input.SpecDigest,
		RenderID: id, RenderName: j.renderName(id), Objects: objects,
		BuiltAt: time.Now().UTC(), Details: j.details,
	})
	if err != nil {
		return bus.Result{}, err
	}
	took := time.Since(j.started)
	rendered := events.BuildRendered{
		BuildInput: j.input, RenderID: id, Render: j.renderName(id), Head: head,
		Objects: objects, DurationMS: took.Milliseconds(),
	}
	unchanged := j.newest.is(id)
	var data events.Data = rendered
	outcome := "rendered"
	if unchanged {
		data, outcome = events.BuildUnchanged{BuildRendered: rendered}, "unchanged"
	}
	if err := j.append(ctx, data); err != nil {
		return bus.Result{}, err
	}
	j.config.Metrics.count(outcome+"_"+how, took)
	j.config.Logger.Info("build published", j.attrs("outcome", outcome, "render_id", id[:12], "objects", objects, "how", how, "duration_ms", took.Milliseconds())...)
	return bus.Result{Next: j.next()}, nil
}

func (j *job) append(ctx context.Context, data events.Data) error {
	e, err := events.New(stage, j.key, data, time.Now())
	if err != nil {
		return err
	}
	return j.log.Append(ctx, e)
}

// next is when a build that succeeded is looked at again: only for inputs that
// nothing may tell of.
func (j *job) next() time.Duration {
	if !j.untold {
		return bus.Never
	}
	return jitter(j.interval, j.config.JitterPercent, j.uid)
}

// attrs are the log attributes of the job, with more.
func (j *job) attrs(more ...any) []any {
	return append([]any{
		"kind", j.kind, "namespace", j.key.Namespace, "name", j.key.Name,
		"revision", j.input.Revision, "cluster", j.config.Cluster,
	}, more...)
}
