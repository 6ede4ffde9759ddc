package handle

import (
	"context"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/serve"
)

func (p *pass) conditions() kube.Conditions {
	return kube.Conditions{List: &p.obj.Status.Conditions, Generation: p.obj.Generation}
}

// conclude puts the outcome of the pass into the status.
func (p *pass) conclude(failed *failure) {
	status := &p.obj.Status
	if token := p.obj.Annotations[kube.RequestedAt]; token != "" {
		status.LastHandledReconcileAt = token
	}
	if failed == nil {
		p.succeed()
		return
	}
	c := p.conditions()
	for _, kind := range []string{sourcev1.FetchFailedCondition, sourcev1.StorageOperationFailedCondition} {
		if kind != failed.condition {
			c.Remove(kind)
		}
	}
	message := failed.message()
	c.Set(failed.condition, metav1.ConditionTrue, failed.reason, message)
	if failed.stalled {
		status.ObservedGeneration = p.obj.Generation
		c.Stall(failed.reason, message)
		return
	}
	c.Retry(failed.reason, message)
	c.Set(kube.ConditionReconciling, metav1.ConditionTrue, kube.ReasonProgressingWithRetry, p.progress())
}

// message is what the status says, without credentials.
func (f *failure) message() string { return serve.Redact(f.err.Error()) }

func (p *pass) succeed() {
	status, c := &p.obj.Status, p.conditions()
	for _, kind := range []string{
		sourcev1.FetchFailedCondition, sourcev1.StorageOperationFailedCondition, sourcev1.ArtifactOutdatedCondition,
	} {
		c.Remove(kind)
	}
	message := fmt.Sprintf("stored artifact for revision '%s'", status.Artifact.Revision)
	c.Set(sourcev1.ArtifactInStorageCondition, metav1.ConditionTrue, kube.ReasonSucceeded, message)
	c.Succeed(kube.ReasonSucceeded, message)
	status.ObservedGeneration = p.obj.Generation
	status.ObservedIgnore = p.obj.Spec.Ignore
}

// progress says what was going on when the pass failed.
func (p *pass) progress() string {
	switch observed := p.old.Status.ObservedGeneration; {
	case p.why != "":
		return "building artifact: " + p.why
	case p.obj.Status.Artifact == nil && p.old.Status.Artifact != nil:
		return "building artifact: " + disappeared
	case observed != p.obj.Generation:
		return fmt.Sprintf("processing object: new generation %d -> %d", observed, p.obj.Generation)
	}
	return "reconciliation in progress"
}

// patchStatus writes the status on the version that was read: conditions that
// others wrote since are never lost, the pass is made anew instead.
func (p *pass) patchStatus(ctx context.Context) error {
	written := p.obj.DeepCopy()
	patch := client.MergeFromWithOptions(p.old, client.MergeFromWithOptimisticLock{})
	if err := p.cluster.Writer.Status().Patch(ctx, written, patch); err != nil {
		return fmt.Errorf("write status of %s: %w", p.key, err)
	}
	p.obj.ResourceVersion = written.ResourceVersion
	return nil
}

// hadFailed says that the object's last pass failed.
func (p *pass) hadFailed() bool {
	conditions := p.old.Status.Conditions
	return meta.IsStatusConditionTrue(conditions, sourcev1.FetchFailedCondition) ||
		meta.IsStatusConditionTrue(conditions, sourcev1.StorageOperationFailedCondition)
}
