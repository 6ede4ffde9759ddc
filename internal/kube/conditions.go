package kube

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/serve"
)

// Condition types and generic reasons, as Flux's APIs and the kstatus convention
// define them.
const (
	ConditionReady       = "Ready"
	ConditionReconciling = "Reconciling"
	ConditionStalled     = "Stalled"
	ConditionHealthy     = "Healthy"

	ReasonSucceeded            = "Succeeded"
	ReasonProgressing          = "Progressing"
	ReasonProgressingWithRetry = "ProgressingWithRetry"

	// Finalizer is set on every reconciled custom resource.
	Finalizer = "finalizers.fluxcd.io"
	// RequestedAt is the annotation that asks for a pass at once; its value is
	// copied to status.lastHandledReconcileAt at the end of every pass.
	RequestedAt = "reconcile.fluxcd.io/requestedAt"
)

// maxMessage keeps a condition's message below the API server's limit of 32 KiB.
const maxMessage = 16 << 10

// Conditions edits the conditions of one object at one generation.
type Conditions struct {
	List       *[]metav1.Condition
	Generation int64
}

// Set adds or replaces a condition; its transition time moves only with its status. Credentials in the message are hidden. A long one is cut between characters:
// the API server would store another one else, which were written again by every pass.
func (c Conditions) Set(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(c.List, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: Short(message), ObservedGeneration: c.Generation,
	})
}

// Short is what Set stores of a message.
func Short(message string) string { return serve.Brief(message, maxMessage) }

// Remove deletes a condition.
func (c Conditions) Remove(kind string) { meta.RemoveStatusCondition(c.List, kind) }

// Succeed marks the object Ready and neither reconciling nor stalled.
func (c Conditions) Succeed(reason, message string) {
	c.Remove(ConditionReconciling)
	c.Remove(ConditionStalled)
	c.Set(ConditionReady, metav1.ConditionTrue, reason, message)
}

// Retry marks the object not Ready while a retry is due. Reconciling stays True, so
// that waiters keep waiting (kstatus: InProgress).
func (c Conditions) Retry(reason, message string) {
	c.Remove(ConditionStalled)
	c.Set(ConditionReconciling, metav1.ConditionTrue, ReasonProgressingWithRetry, message)
	c.Set(ConditionReady, metav1.ConditionFalse, reason, message)
}

// Stall marks the object failed until its spec or a trigger changes it.
func (c Conditions) Stall(reason, message string) {
	c.Remove(ConditionReconciling)
	c.Set(ConditionStalled, metav1.ConditionTrue, reason, message)
	c.Set(ConditionReady, metav1.ConditionFalse, reason, message)
}
