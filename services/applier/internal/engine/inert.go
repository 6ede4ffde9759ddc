package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// inertKinds do nothing by themselves, so that one that exists for a moment and is
// taken back did nothing. A Service is one while it concerns nobody but its clients.
var inertKinds = []schema.GroupKind{{Kind: "ConfigMap"}, {Kind: "Secret"}, {Kind: "ServiceAccount"}, {Kind: "Service"}}

// takeBackTime bounds the deletion of what a failed stage made.
const takeBackTime = 30 * time.Second

// anew reports whether nobody knows of the object, and the attempt before did not fail.
func (c *call) anew(i *item) bool {
	return !c.req.Careful && !i.exists && !i.fresh && i.optOut == 0 && len(i.ignored) == 0
}

// inert reports whether the object may be made without a trial (ADR 14): nobody knows
// of it, it does nothing by itself, and it could be taken back at once.
func (c *call) inert(i *item) bool {
	if !c.anew(i) || !slices.Contains(inertKinds, i.ref.GroupKind()) || len(i.desired.GetFinalizers()) > 0 {
		return false
	}
	if i.ref.Kind != "Service" {
		return true
	}
	kind, _, _ := unstructured.NestedString(i.desired.Object, "spec", "type")
	_, captures, _ := unstructured.NestedFieldNoCopy(i.desired.Object, "spec", "externalIPs")
	return (kind == "" || kind == "ClusterIP") && !captures && len(i.desired.GetAnnotations()) == 0
}

// makeAll makes inert items. Those that cannot be made are dry-run; it ends at a refusal.
func (c *call) makeAll(ctx context.Context, inert []*item) (made []*item, err error) {
	for len(inert) > 0 && err == nil {
		if err := c.req.Guard(ctx); err != nil {
			return made, err
		}
		n := min(batch, len(inert))
		err = c.each(ctx, inert[:n], c.once)
		var untold []*item
		for _, i := range inert[:n] {
			if i.done {
				made = append(made, i)
			} else {
				untold = append(untold, i)
			}
		}
		if err == nil {
			err = c.each(ctx, untold, c.dryRun)
		}
		inert = inert[n:]
	}
	return made, err
}

// once writes an item with one request. What is not known to exist is made, if there is none of its name: in the place of what
// was deleted somebody may have put what is not ours. When the API server does not take it, a trial shall say why. It fails when
// there is no answer.
func (c *call) once(ctx context.Context, i *item) error {
	i.absent = !i.exists
	defer func() { i.absent = false }()
	c.records.Begin(i.ref)
	answer, created, err := c.send(ctx, i)
	if err != nil {
		c.records.Abort(i.ref)
		if cluster.TimedOut(err) {
			return applyError(i, err)
		}
		return nil
	}
	if i.takeover = c.absorbs(i, answer); i.takeover {
		c.records.Abort(i.ref)
		return nil
	}
	c.written(i, answer, created)
	return nil
}

// refused reports whether nothing was written, as the API server said, or for nothing was sent.
func refused(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsInvalid(err) || apierrors.IsForbidden(err) ||
		apierrors.IsBadRequest(err) || apierrors.IsNotFound(err) || notServed(err) || errors.Is(err, errNoNamespace)
}

// takeBack deletes what was made of a stage that is refused because of why, as if
// nothing had been made. What stays, and what somebody changed meanwhile, is in the
// inventory of the attempt.
func (c *call) takeBack(ctx context.Context, made []*item, why error) error {
	if len(made) == 0 || ctx.Err() != nil || cluster.TimedOut(why) || c.req.Guard(ctx) != nil {
		return why // stopped, out of reach, or another applier's by now: the next attempt goes on
	}
	ctx, cancel := context.WithTimeout(ctx, takeBackTime)
	defer cancel()
	errs := []error{why}
	for _, i := range made {
		err := c.req.Client.DeleteVersion(ctx, i.ref, i.before.UID, i.before.ResourceVersion)
		if err != nil && !cluster.IsGone(err) {
			errs = append(errs, objectError(i, "take back %s: %s", err))
			continue
		}
		c.records.Withdraw(i.ref, c.req.Owner)
		c.writes.Add(-1)
		i.exists, i.before, i.done, i.outcome = false, livestate.Slim{}, false, Outcome{Object: i.ref}
	}
	if len(errs) == 1 {
		return why
	}
	return join(errs)
}
