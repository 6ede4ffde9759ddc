package status

import (
	"slices"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// Failure is why a pass did not succeed.
type Failure struct {
	Reason, Message string
	// Stalled is true when only a changed spec or source can help.
	Stalled bool
	// Cause is the error behind the message, when there was one.
	Cause error
}

// Succeed marks the attempt as done; a message of the health check is kept when
// there was one.
func Succeed(ks *kustomizev1.Kustomization, a Attempt, healthMessage string, now time.Time) {
	c := conditions(ks)
	c.Succeed(ReasonSucceeded, "Applied revision: "+a.Revision)
	c.Remove(kube.ConditionHealthy)
	if healthMessage != "" {
		c.Set(kube.ConditionHealthy, metav1.ConditionTrue, kube.ReasonSucceeded, healthMessage)
	}
	ks.Status.LastAttemptedRevision = a.Revision
	ks.Status.LastAppliedRevision = a.Revision
	ks.Status.LastAppliedOriginRevision = a.OriginRevision
	ks.Status.ObservedGeneration = ks.Generation
	Handled(ks)
	record(ks, a, ReasonSucceeded, now)
}

// Move marks another revision as applied without a change to any object: its
// render is the one that is already there.
func Move(ks *kustomizev1.Kustomization, a Attempt, now time.Time) {
	healthy := ""
	if c := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionHealthy); c != nil {
		healthy = c.Message
	}
	Succeed(ks, a, healthy, now)
}

// Fail records a failed attempt.
func Fail(ks *kustomizev1.Kustomization, a Attempt, f Failure, now time.Time) {
	c := conditions(ks)
	switch f.Reason {
	case ReasonHealthFailed:
		c.Set(kube.ConditionHealthy, metav1.ConditionFalse, f.Reason, f.Message)
	default:
		dropWaiting(c)
	}
	if f.Stalled {
		c.Stall(f.Reason, f.Message)
		ks.Status.ObservedGeneration = ks.Generation
	} else {
		c.Retry(f.Reason, f.Message)
	}
	if a.Revision != "" {
		ks.Status.LastAttemptedRevision = a.Revision
	}
	Handled(ks)
	record(ks, a, f.Reason, now)
}

// dropWaiting removes a Healthy condition that only says that a wait is on.
func dropWaiting(c kube.Conditions) {
	if meta.IsStatusConditionPresentAndEqual(*c.List, kube.ConditionHealthy, metav1.ConditionUnknown) {
		c.Remove(kube.ConditionHealthy)
	}
}

// record keeps the outcome in the history, which has one entry for each render
// and outcome.
func record(ks *kustomizev1.Kustomization, a Attempt, reason string, now time.Time) {
	if a.RenderID == "" {
		return
	}
	metadata := map[string]string{metadataRevision: a.Revision}
	if a.OriginRevision != "" {
		metadata[metadataOriginRevision] = a.OriginRevision
	}
	took := time.Duration(0)
	if !a.Started.IsZero() {
		took = now.Sub(a.Started).Round(time.Millisecond)
	}
	if reason != kube.ReasonProgressing {
		endAttempts(ks, a, reason)
	}
	good := lastGood(ks)
	ks.Status.History.Upsert(Digest(a.RenderID), now, took, reason, metadata)
	if good != nil && lastGood(ks) == nil {
		ks.Status.History[len(ks.Status.History)-1] = *good // failures must not push it out
	}
}

// endAttempts removes from the history that attempts are under way: the one that
// ended now, and with its success all that never ended.
func endAttempts(ks *kustomizev1.Kustomization, a Attempt, reason string) {
	ks.Status.History = slices.DeleteFunc(ks.Status.History, func(h fluxmeta.Snapshot) bool {
		return h.LastReconciledStatus == kube.ReasonProgressing && (h.Digest == Digest(a.RenderID) || reason == ReasonSucceeded)
	})
}
