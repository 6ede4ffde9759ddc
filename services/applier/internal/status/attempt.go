package status

import (
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// Reasons of the Ready condition that are not generic.
const (
	ReasonSucceeded        = "ReconciliationSucceeded"
	ReasonFailed           = "ReconciliationFailed"
	ReasonPruneFailed      = "PruneFailed"
	ReasonHealthFailed     = "HealthCheckFailed"
	ReasonArtifactFailed   = "ArtifactFailed"
	ReasonDependency       = "DependencyNotReady"
	ReasonAccessDenied     = "AccessDenied"
	ReasonInvalidIgnore    = "InvalidIgnoreRule"
	ReasonInvalidDrift     = "InvalidDriftMode"
	ReasonOverBudget       = "PruneBudgetExceeded"
	ReasonInvalidBudget    = "InvalidPruneBudget"
	ReasonGateDisabled     = "FeatureGateDisabled"
	ReasonInvalidCEL       = "InvalidCELExpression"
	messageInProgress      = "Reconciliation in progress"
	digestAlgorithm        = "hmac-sha256:"
	metadataRevision       = "revision"
	metadataOriginRevision = "originRevision"
)

// Attempt is what one pass works on.
type Attempt struct {
	Revision, OriginRevision string
	// RenderID is empty when no render was reached.
	RenderID string
	// Started is when the pass began; waits for health count from here.
	Started time.Time
}

// Digest is how a render is named in status.history: an HMAC, so that the
// history of an object with Secrets gives nothing away.
func Digest(renderID string) string {
	if renderID == "" {
		return ""
	}
	return digestAlgorithm + renderID
}

// RenderID returns the render a digest of status.history names, or "" for one
// that was written by somebody else.
func RenderID(digest string) string {
	if len(digest) <= len(digestAlgorithm) || digest[:len(digestAlgorithm)] != digestAlgorithm {
		return ""
	}
	return digest[len(digestAlgorithm):]
}

func conditions(ks *kustomizev1.Kustomization) kube.Conditions {
	return kube.Conditions{List: &ks.Status.Conditions, Generation: ks.Generation}
}

// Handled records that the reconcile request of the object was seen.
func Handled(ks *kustomizev1.Kustomization) {
	if at, ok := ks.Annotations[kube.RequestedAt]; ok {
		ks.Status.LastHandledReconcileAt = at
	}
}

// Requested says whether the object asks for a pass that has not ended yet.
func Requested(ks *kustomizev1.Kustomization) bool {
	at, ok := ks.Annotations[kube.RequestedAt]
	return ok && at != ks.Status.LastHandledReconcileAt
}

// Progress marks the object as being worked on, without an attempt.
func Progress(ks *kustomizev1.Kustomization, message string) {
	c := conditions(ks)
	c.Remove(kube.ConditionStalled)
	c.Set(kube.ConditionReconciling, metav1.ConditionTrue, kube.ReasonProgressing, message)
	c.Set(kube.ConditionReady, metav1.ConditionUnknown, kube.ReasonProgressing, messageInProgress)
}

// Begin makes the history remember an attempt until it ends, so that what it did
// is not taken for drift should its applier die. An empty attempt changes nothing.
func Begin(ks *kustomizev1.Kustomization, a Attempt) {
	record(ks, a, kube.ReasonProgressing, a.Started)
}

// Claim marks the attempt as begun: it is what an applier writes before it
// touches anything else.
func Claim(ks *kustomizev1.Kustomization, a Attempt) {
	Begin(ks, a)
	Progress(ks, Detecting(ks, a))
	dropWaiting(conditions(ks)) // a wait that this attempt ends
	ks.Status.LastAttemptedRevision = a.Revision
}

// Detecting is what an attempt says of itself when it begins.
func Detecting(ks *kustomizev1.Kustomization, a Attempt) string {
	return fmt.Sprintf("Detecting drift for revision %s with a timeout of %s", a.Revision, ks.GetTimeout())
}

// Wait marks the attempt as applied and waiting for its objects to get ready. A
// reconcile request counts as handled: what comes is waiting, and another request
// while waiting asks for another pass.
func Wait(ks *kustomizev1.Kustomization, a Attempt) {
	message := fmt.Sprintf("Running health checks for revision %s with a timeout of %s", a.Revision, ks.GetTimeout())
	Progress(ks, message)
	ks.Status.LastAttemptedRevision = a.Revision
	c := conditions(ks)
	c.Remove(kube.ConditionHealthy) // its transition time says when the wait began
	c.Set(kube.ConditionHealthy, metav1.ConditionUnknown, kube.ReasonProgressing, message)
	if !underWay(ks, a.RenderID) { // it was claimed without the status
		Begin(ks, a)
	}
	Handled(ks)
}

// reasonStage is that of the Reconciling condition while an attempt waits for
// definitions and namespaces before it applies the rest, or for the end of a deletion.
const reasonStage = "StageNotReady"

// WaitForStage marks the attempt as applied up to a stage that is not ready, since when,
// and why. A reconcile request counts as handled, as with Wait.
func WaitForStage(ks *kustomizev1.Kustomization, a Attempt, why string, since time.Time) {
	message := fmt.Sprintf("Waiting for what revision %s needs first, with a timeout of %s: %s", a.Revision, ks.GetTimeout(), why)
	Progress(ks, message)
	c := conditions(ks)
	c.Set(kube.ConditionReconciling, metav1.ConditionTrue, reasonStage, message)
	meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReconciling).LastTransitionTime = metav1.NewTime(since)
	ks.Status.LastAttemptedRevision = a.Revision
	if !underWay(ks, a.RenderID) { // it was claimed without the status
		Begin(ks, a)
	}
	Handled(ks)
}

// underWay says whether the newest of the history is an attempt at this render that
// has not ended.
func underWay(ks *kustomizev1.Kustomization, renderID string) bool {
	newest := ks.Status.History.Latest()
	return newest != nil && newest.Digest == Digest(renderID) && newest.LastReconciledStatus == kube.ReasonProgressing
}

// Renew makes a claim that equals what is there already differ from it, so that
// writing it still moves the resourceVersion that fences others off.
func Renew(before, next *kustomizev1.Kustomization, now time.Time) {
	if !equality.Semantic.DeepEqual(before.Status, next.Status) {
		return
	}
	for i := range next.Status.Conditions {
		c := &next.Status.Conditions[i]
		if c.Type == kube.ConditionReconciling {
			at := metav1.NewTime(now)
			if at.Unix() == c.LastTransitionTime.Unix() {
				at = metav1.NewTime(now.Add(time.Second))
			}
			c.LastTransitionTime = at
		}
	}
}

// Message returns what the object is doing, in the words of its Reconciling
// condition.
func Message(ks *kustomizev1.Kustomization) string {
	if c := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReconciling); c != nil {
		return c.Message
	}
	return ""
}
