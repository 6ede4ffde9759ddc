package status

import (
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
)

// Ready says whether the object is Ready at its generation.
func Ready(ks *kustomizev1.Kustomization) bool {
	return ks.Status.ObservedGeneration == ks.Generation &&
		meta.IsStatusConditionTrue(ks.Status.Conditions, kube.ConditionReady)
}

// Untried says whether no attempt was ever made of the object.
func Untried(ks *kustomizev1.Kustomization) bool {
	return ks.Status.LastAttemptedRevision == "" && len(ks.Status.History) == 0
}

// LastGood returns the newest render that was applied completely, healthy or
// not, with the revision it came from: what the cluster is held at when the
// newest build is broken. It is "" when there is none. An attempt that never ended
// counts, because its applier died and the cluster may have all of it: to hold an
// older render would take the cluster back.
func LastGood(ks *kustomizev1.Kustomization) (renderID, revision string) {
	if h := lastGood(ks); h != nil {
		return RenderID(h.Digest), h.Metadata[metadataRevision]
	}
	return "", ""
}

func lastGood(ks *kustomizev1.Kustomization) *fluxmeta.Snapshot {
	for _, h := range ks.Status.History {
		switch h.LastReconciledStatus {
		case ReasonSucceeded, ReasonHealthFailed, ReasonPruneFailed, kube.ReasonProgressing:
			if RenderID(h.Digest) != "" {
				return &h
			}
		}
	}
	return nil
}

// Current says whether the newest outcome is that renderID was applied with
// success at the object's generation; its revision may have moved since.
func Current(ks *kustomizev1.Kustomization, renderID string) bool {
	newest := ks.Status.History.Latest()
	return Ready(ks) && newest != nil && newest.Digest == Digest(renderID) &&
		newest.LastReconciledStatus == ReasonSucceeded
}

// Done says whether nothing is left to do for a render of a revision, as far as
// the status tells.
func Done(ks *kustomizev1.Kustomization, renderID, revision string) bool {
	return Current(ks, renderID) && !Requested(ks) &&
		ks.Status.LastAppliedRevision == revision && ks.Status.LastAttemptedRevision == revision
}

// Pruning says whether the newest outcome of the object is that not all could be
// deleted that a render no longer has.
func Pruning(ks *kustomizev1.Kustomization, renderID string) bool {
	newest := ks.Status.History.Latest()
	return newest != nil && newest.Digest == Digest(renderID) && newest.LastReconciledStatus == ReasonPruneFailed
}

// Failed says whether the newest outcome of the object is a failure.
func Failed(ks *kustomizev1.Kustomization) bool {
	return meta.IsStatusConditionFalse(ks.Status.Conditions, kube.ConditionReady)
}

// Waiting says whether the object waits for the health of a render of a revision
// that was applied at its generation, and since when. It goes by the status alone,
// so that a wait keeps its deadline whatever is restarted or lost.
func Waiting(ks *kustomizev1.Kustomization, renderID, revision string) (since time.Time, ok bool) {
	if !WaitOn(ks) || !underWay(ks, renderID) || ks.Status.LastAttemptedRevision != revision {
		return time.Time{}, false
	}
	c := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionHealthy)
	return c.LastTransitionTime.Time, c.ObservedGeneration == ks.Generation
}

// WaitingForStage says whether the object waits for a stage of a render of a revision
// at its generation, and since when.
func WaitingForStage(ks *kustomizev1.Kustomization, renderID, revision string) (since time.Time, ok bool) {
	c := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReconciling)
	if c == nil || c.Reason != reasonStage || c.ObservedGeneration != ks.Generation ||
		!underWay(ks, renderID) || ks.Status.LastAttemptedRevision != revision {
		return time.Time{}, false
	}
	return c.LastTransitionTime.Time, true
}

// WaitOn says whether the status shows a wait for health, of whatever it is.
func WaitOn(ks *kustomizev1.Kustomization) bool {
	return meta.IsStatusConditionPresentAndEqual(ks.Status.Conditions, kube.ConditionHealthy, metav1.ConditionUnknown)
}

// RetryDue returns when an attempt that failed with this render and revision at
// this generation is to be made again; zero when it did not fail yet.
func RetryDue(ks *kustomizev1.Kustomization, renderID, revision string) time.Time {
	newest := ks.Status.History.Latest()
	ready := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReady)
	if newest == nil || ready == nil || Requested(ks) ||
		newest.Digest != Digest(renderID) || newest.Metadata[metadataRevision] != revision ||
		ready.Status != metav1.ConditionFalse || ready.ObservedGeneration != ks.Generation ||
		ready.Reason != newest.LastReconciledStatus {
		return time.Time{}
	}
	return newest.LastReconciled.Add(ks.GetRetryInterval())
}
