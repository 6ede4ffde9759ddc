package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// recreates reports whether an error is to be answered by making the object anew:
// it was asked for, the error may mean an immutable field, and the API server
// would accept the object if it did not exist. An object that is simply invalid is
// never deleted.
func (c *call) recreates(ctx context.Context, i *item, err error) bool {
	asked := c.req.Force || i.optOut.Has(livestate.Force)
	if !asked || !immutable(err) || errors.Is(classify(i, err), ErrConflict) {
		return false
	}
	trial := &item{ref: i.ref, desired: trialOf(i.desired), fresh: i.fresh}
	_, _, err = c.apply(ctx, trial, true)
	return !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err)
}

// trialOf returns the object under a name that no other has, without what only one
// object can hold.
func trialOf(o *unstructured.Unstructured) *unstructured.Unstructured {
	const suffix = "-sluice-trial"
	trial := o.DeepCopy()
	name := trial.GetName()
	trial.SetName(name[:min(len(name), 63-len(suffix))] + suffix)
	if !needsAddress(trial) {
		return trial
	}
	for _, field := range []string{"clusterIP", "clusterIPs", "healthCheckNodePort"} {
		unstructured.RemoveNestedField(trial.Object, "spec", field)
	}
	spec, _ := trial.Object["spec"].(map[string]any)
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		if port, ok := p.(map[string]any); ok {
			delete(port, "nodePort")
		}
	}
	return trial
}

// recreated deletes the live object, waits until it is gone and applies.
func (c *call) recreated(ctx context.Context, i *item) (*unstructured.Unstructured, bool, error) {
	if err := c.lookUp(ctx, i); err != nil && !cluster.IsGone(err) {
		return nil, false, fmt.Errorf("read before recreation: %w", err)
	}
	c.writes.Add(1)
	if err := c.req.Client.Delete(ctx, i.ref, i.before.UID); err != nil && !cluster.IsGone(err) {
		return nil, false, fmt.Errorf("delete before recreation: %w", err)
	}
	err := poll(ctx, c.opts.StageTimeout, func() (bool, error) {
		meta, err := c.req.Client.GetMetadata(ctx, i.ref)
		if cluster.IsGone(err) {
			return true, nil
		}
		if err == nil && meta.UID != i.before.UID {
			return true, ErrConflict
		}
		return false, err
	})
	if err != nil {
		return nil, false, fmt.Errorf("wait for the deletion before recreation: %w", err)
	}
	i.exists, i.before = false, livestate.Slim{}
	return c.send(ctx, i)
}
