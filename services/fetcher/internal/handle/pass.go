package handle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// pass is one look at one source.
type pass struct {
	*Handler
	kind source.Kind
	key  events.Key
	note bus.Note
	// old is the object as it was read, obj as it will be written; was and state point
	// into them.
	old, obj   source.Object
	was, state source.State
	// why says what the artifact is built for; empty when nothing is.
	why string
	// made is the content that was stored, nil when none was.
	made *source.Content
}

func newPass(h *Handler, kind source.Kind, check bus.Check, old source.Object) *pass {
	obj := old.DeepCopyObject().(source.Object)
	return &pass{
		Handler: h, kind: kind, key: check.Key, note: check.Note,
		old: old, obj: obj, was: kind.State(old), state: kind.State(obj),
	}
}

// artifact is what the status will say.
func (p *pass) artifact() *meta.Artifact { return *p.state.Artifact }

// run makes the pass: fetch, then status, then event.
func (p *pass) run(ctx context.Context) (bus.Result, error) {
	failed := p.fetch(ctx)
	if ctx.Err() != nil {
		return bus.Result{}, context.Cause(ctx) // stopped, so nothing is known about the source
	}
	var later *source.LaterError
	if failed != nil && errors.As(failed.Err, &later) {
		return bus.Result{Again: later.Wait}, nil
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
		return bus.Result{Next: p.next(p.state.Interval)}, nil
	case failed.Stalled:
		return bus.Result{Next: bus.Never}, nil
	case failed.Wait > 0:
		return bus.Result{Next: failed.Wait}, nil
	}
	return bus.Result{}, fmt.Errorf("%s: %w", failed.Reason, failed.Err)
}

// save writes the status if it changed, on the version that was read.
func (p *pass) save(ctx context.Context) error {
	if equality.Semantic.DeepEqual(p.old, p.obj) {
		return nil
	}
	return p.patchStatus(ctx)
}

// fetch brings the artifact of the status up to date.
func (p *pass) fetch(ctx context.Context) *source.Error {
	outer := ctx
	ctx, cancel := source.Within(ctx, p.state.Timeout)
	defer cancel()

	lost, stored := false, make(chan error, 1)
	go func() {
		var err error
		lost, err = p.verifyStored(outer, p.was.Artifact)
		stored <- err
	}()
	upstream, err := p.kind.Open(ctx, p.key, p.obj)
	damage := <-stored
	if err == nil && upstream.Close != nil {
		defer func() { _ = upstream.Close() }() // it was only read
	}
	if lost {
		p.lose()
	}
	if err := errors.Join(damage, err); err != nil {
		return failure(ctx, err)
	}
	if p.why = p.reasonToBuild(upstream); p.why == "" {
		p.refreshURL()
		return nil
	}
	content, err := upstream.Fetch(ctx)
	if err != nil {
		return failure(ctx, err)
	}
	if content.Close != nil {
		defer content.Close()
	}
	if err := p.build(ctx, content, upstream.Revision); err != nil {
		return failure(ctx, err)
	}
	return nil
}

// failure returns what a kind or the storage says of an error.
func failure(ctx context.Context, err error) *source.Error {
	var f *source.Error
	if errors.As(err, &f) {
		return f
	}
	return source.FetchFailed("Failed", source.Cause(ctx, err))
}

// disappeared is the reason to build an artifact anew that storage lost.
const disappeared = "disappeared from storage"

// verifyStored says whether storage lost or damaged the artifact of the status. It
// asks for the digest alone, and reads the content only when somebody asked for this
// very pass.
func (p *pass) verifyStored(ctx context.Context, in **meta.Artifact) (lost bool, err error) {
	artifact := *in
	if artifact == nil {
		return false, nil
	}
	if !current(artifact) {
		return true, nil
	}
	standing, err := p.shelf.Look(ctx, p.key, artifact, p.thorough())
	if standing == shelf.Damaged {
		p.record(p.old, nil, warning, "ArtifactVerificationFailed", "failed to verify integrity of artifact in storage")
	}
	if err != nil {
		return false, source.StorageFailed(sourcev1.StatOperationFailedReason, err)
	}
	return standing != shelf.Whole, nil
}

// lose takes the artifact out of the status.
func (p *pass) lose() {
	*p.state.Artifact = nil
	p.conditions().Remove(sourcev1.ArtifactInStorageCondition)
}

// current says that an artifact of the status can be looked up in storage.
func current(a *meta.Artifact) bool {
	return a != nil && strings.HasPrefix(a.Digest, "sha256:")
}
