package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/ignore"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// leaveBe skips an item whose object exists, and has the end of that noticed.
func (c *call) leaveBe(i *item, why livestate.Leave) {
	c.records.Left(i.ref, c.req.Owner, i.digest, i.before, why)
	i.settle(Skipped)
}

// leftWhole says whether the ignore rules leave the whole object to others.
func (i *item) leftWhole() bool {
	return slices.ContainsFunc(i.ignored, func(p ignore.Pointer) bool { return len(p) == 0 })
}

// sendBody applies an item. One with fields that are left to others is fitted to the
// live object first, and again when that changed in between: a value that was read
// before the change would undo it.
func (c *call) sendBody(ctx context.Context, i *item, dryRun bool) (answer *unstructured.Unstructured, created bool, err error) {
	if len(i.ignored) == 0 {
		return c.req.Client.Apply(ctx, i.body(i.desired), dryRun)
	}
	for range takeOverAttempts {
		if err := c.find(ctx, i); err != nil {
			return nil, false, err
		}
		if i.found == nil || i.leftWhole() {
			return c.req.Client.Apply(ctx, i.body(i.desired), dryRun)
		}
		fitted, err := c.fit(i)
		if err != nil {
			return nil, false, err
		}
		answer, created, err = c.req.Client.Apply(ctx, i.body(fitted), dryRun)
		if !apierrors.IsConflict(err) {
			return answer, created, err
		}
	}
	return nil, false, fmt.Errorf("the object changed %d times while it was applied: %w", takeOverAttempts, ErrConflict)
}

// find reads the live object.
func (c *call) find(ctx context.Context, i *item) (err error) {
	i.found, err = c.req.Client.Get(ctx, i.ref)
	if cluster.IsGone(err) {
		i.found = nil
		return nil
	}
	return err
}

// fit returns what is applied to the live object that was found. The rules do not
// reach what makes it ours.
func (c *call) fit(i *item) (*unstructured.Unstructured, error) {
	fitted, err := ignore.Leave(i.desired, i.found, i.ignored, cluster.Manager, c.req.Client.Cluster().OverrideManagers()...)
	if err != nil {
		return nil, err
	}
	clean(fitted)
	own(fitted, c.req.Owner)
	fitted.SetResourceVersion(i.found.GetResourceVersion())
	return fitted, nil
}
