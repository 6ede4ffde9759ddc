package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// define remembers the kinds whose definitions were written in this call.
func (c *call) define(items []*item) {
	for _, i := range items {
		if i.ref.GroupKind() != customResourceDefinition {
			continue
		}
		group, _, _ := unstructured.NestedString(i.desired.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(i.desired.Object, "spec", "names", "kind")
		c.defined[schema.GroupKind{Group: group, Kind: kind}] = true
	}
}

// await waits until the written objects of a stage are ready, because the next
// stage needs them: kinds served, namespaces open.
func (c *call) await(ctx context.Context, items []*item) error {
	var refs []cluster.Ref
	for _, i := range items {
		if i.ref.GroupKind() != clusterRole && (i.outcome.Action == Created || i.outcome.Action == Configured) {
			refs = append(refs, i.ref)
		}
	}
	if len(refs) == 0 {
		return nil
	}
	var last health.Report
	started := time.Now()
	err := poll(ctx, c.opts.StageTimeout, func() (bool, error) {
		report, err := health.Check(ctx, c.req.Client, refs, nil)
		last = report
		return err == nil && (report.Healthy() || len(report.Failed) > 0), err
	})
	switch {
	case len(last.Failed) > 0:
		return fmt.Errorf("stage failed early due to stalled resources: %s", health.List(last.Failed))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("stage not ready after %s: timeout waiting for: %s", time.Since(started).Round(time.Millisecond), health.List(last.InProgress))
	}
	return err
}
