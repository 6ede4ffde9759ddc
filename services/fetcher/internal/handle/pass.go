package handle

import (
	"context"
	"errors"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git"
)

// pass is one look at one source.
type pass struct {
	*Handler
	key  events.Key
	note bus.Note
	// old is the object as it was read, obj as it will be written.
	old, obj *sourcev1.GitRepository
	// why says what the artifact is built for; empty when nothing is.
	why string
	// summary is the first line of the commit that was packed.
	summary string
}

// failure says why a pass did not succeed.
type failure struct {
	condition, reason string
	err               error
	// stalled failures are not tried again before the object changes.
	stalled bool
}

// run makes the pass: fetch, then status, then event.
func (p *pass) run(ctx context.Context) (bus.Result, error) {
	failed := p.fetch(ctx)
	if ctx.Err() != nil {
		return bus.Result{}, context.Cause(ctx) // stopped, so nothing is known about the source
	}
	p.conclude(failed)
	if err := p.save(ctx); err != nil {
		return bus.Result{}, err
	}
	p.announce(failed)
	if err := p.publish(ctx, failed); err != nil {
		return bus.Result{}, err
	}
	switch {
	case failed == nil:
		p.tidy(ctx)
		return bus.Result{Next: p.next(p.obj.Spec.Interval.Duration)}, nil
	case failed.stalled:
		return bus.Result{Next: bus.Never}, nil
	}
	return bus.Result{}, fmt.Errorf("%s: %w", failed.reason, failed.err)
}

// save writes the status if it changed, on the version that was read.
func (p *pass) save(ctx context.Context) error {
	if equality.Semantic.DeepEqual(p.old.Status, p.obj.Status) {
		return nil
	}
	return p.patchStatus(ctx)
}

// fetch brings the artifact of the status up to date.
func (p *pass) fetch(ctx context.Context) *failure {
	if failed := unsupported(p.obj.Spec); failed != nil {
		return failed
	}
	remote, failed := p.remote(ctx)
	if failed != nil {
		return failed
	}
	outer := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, timeout(p.obj.Spec),
		fmt.Errorf("timed out after %s: %w", timeout(p.obj.Spec), context.DeadlineExceeded))
	defer cancel()

	stored := make(chan *failure, 1)
	go func() { stored <- p.verifyStored(outer) }()
	listing, err := p.git.Connect(ctx, remote)
	if failed := <-stored; failed != nil {
		if err == nil {
			_ = listing.Close() // nothing was asked for
		}
		return failed
	}
	if err != nil {
		return fetchFailed(ctx, err)
	}
	defer func() { _ = listing.Close() }() // it was only read
	target, err := listing.Resolve(ctx, reference(p.obj.Spec.Reference))
	if err != nil {
		return fetchFailed(ctx, err)
	}
	if p.why = p.reasonToBuild(target.Revision); p.why == "" {
		p.refreshURL()
		return nil
	}
	commit, err := listing.Fetch(ctx, target)
	if err != nil {
		return fetchFailed(ctx, err)
	}
	defer commit.Close()
	return p.build(ctx, commit, target.Revision)
}

func fetchFailed(ctx context.Context, err error) *failure {
	if errors.Is(err, git.ErrEmpty) {
		return &failure{condition: sourcev1.FetchFailedCondition, reason: reasonEmpty, err: git.ErrEmpty}
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", err, cause)
	}
	return &failure{
		condition: sourcev1.FetchFailedCondition, reason: sourcev1.GitOperationFailedReason,
		err: fmt.Errorf("failed to checkout and determine revision: %w", err),
	}
}

func storageFailed(reason string, err error) *failure {
	return &failure{condition: sourcev1.StorageOperationFailedCondition, reason: reason, err: err}
}

// disappeared is the reason to build an artifact anew that storage lost.
const disappeared = "disappeared from storage"

// verifyStored drops the artifact from the status if storage does not hold it any
// more. It asks for the digest alone, and reads the content only when somebody
// asked for this very pass.
func (p *pass) verifyStored(ctx context.Context) *failure {
	artifact := p.obj.Status.Artifact
	if artifact == nil {
		return nil
	}
	if !current(artifact) {
		p.lose()
		return nil
	}
	name := BlobName(p.key, artifact.Digest)
	object, err := p.blobs.Stat(ctx, name)
	damaged := err == nil && (object.Digest != artifact.Digest || artifact.Size != nil && *artifact.Size != object.Size)
	if err == nil && !damaged && p.thorough() {
		if err = p.readThrough(ctx, name, artifact.Digest); errors.Is(err, blob.ErrCorrupt) {
			damaged, err = true, nil
		}
	}
	switch {
	case damaged:
		p.record(p.obj, nil, warning, "ArtifactVerificationFailed", "failed to verify integrity of artifact in storage")
		if err := p.blobs.Delete(ctx, name); err != nil {
			return storageFailed(sourcev1.StatOperationFailedReason, fmt.Errorf("failed to delete damaged artifact: %w", err))
		}
		p.lose()
	case errors.Is(err, blob.ErrNotFound):
		p.lose()
	case err != nil:
		return storageFailed(sourcev1.StatOperationFailedReason, fmt.Errorf("failed to look up artifact in storage: %w", err))
	}
	return nil
}

// lose takes the artifact out of the status.
func (p *pass) lose() {
	p.obj.Status.Artifact = nil
	p.conditions().Remove(sourcev1.ArtifactInStorageCondition)
}
