package status

import (
	"fmt"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
)

func object() *kustomizev1.Kustomization {
	return &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Generation: 2, Annotations: map[string]string{kube.RequestedAt: "now"}},
		Spec:       kustomizev1.KustomizationSpec{Interval: metav1.Duration{Duration: 10 * time.Minute}},
		Status:     kustomizev1.KustomizationStatus{ObservedGeneration: 1},
	}
}

func TestOutcomes(t *testing.T) {
	a := Attempt{Revision: "main@sha1:1", RenderID: "id", Started: time.Unix(100, 0)}
	now := time.Unix(101, 0)
	for _, c := range []struct {
		reason                      string
		do                          func(*kustomizev1.Kustomization)
		ready, reconciling, stalled metav1.ConditionStatus
		observed                    int64
		handled, applied            bool
	}{
		{"a claim leaves the request open", func(k *kustomizev1.Kustomization) { Claim(k, a) }, "Unknown", "True", "", 1, false, false},
		{"success moves everything", func(k *kustomizev1.Kustomization) { Succeed(k, a, "", now) }, "True", "", "", 2, true, true},
		{"a retried failure lags, so that waiters wait", func(k *kustomizev1.Kustomization) {
			Fail(k, a, Failure{Reason: ReasonFailed, Message: "x"}, now)
		}, "False", "True", "", 1, true, false},
		{"a stalled failure is observed, so that waiters stop", func(k *kustomizev1.Kustomization) {
			Fail(k, a, Failure{Reason: ReasonAccessDenied, Message: "x", Stalled: true}, now)
		}, "False", "", "True", 2, true, false},
	} {
		k := object()
		c.do(k)
		for kind, want := range map[string]metav1.ConditionStatus{
			kube.ConditionReady: c.ready, kube.ConditionReconciling: c.reconciling, kube.ConditionStalled: c.stalled,
		} {
			got := metav1.ConditionStatus("")
			if found := meta.FindStatusCondition(k.Status.Conditions, kind); found != nil {
				got = found.Status
			}
			if got != want {
				t.Errorf("%s: %s is %q, want %q", c.reason, kind, got, want)
			}
		}
		if k.Status.ObservedGeneration != c.observed || Requested(k) == c.handled || (k.Status.LastAppliedRevision != "") != c.applied {
			t.Errorf("%s: status is %+v", c.reason, k.Status)
		}
	}
}

// TestProgress says what an attempt is at, in the words that Flux's users know, and how long it may take.
func TestProgress(t *testing.T) {
	for _, c := range []struct {
		why     string
		timeout time.Duration
		says    string
	}{
		{"the interval less 30 seconds when there is none", 0, "9m30s"},
		{"what the spec says", time.Minute, "1m0s"},
		{"but 30 seconds at least", time.Second, "30s"},
	} {
		k := object()
		if c.timeout > 0 {
			k.Spec.Timeout = &metav1.Duration{Duration: c.timeout}
		}
		for _, step := range []struct {
			do   func(*kustomizev1.Kustomization, Attempt)
			says string
		}{{Claim, "Detecting drift"}, {Wait, "Running health checks"}} {
			step.do(k, Attempt{Revision: "main@sha1:1", RenderID: "id"})
			for kind, want := range map[string]string{
				kube.ConditionReady:       "Unknown Progressing: Reconciliation in progress",
				kube.ConditionReconciling: "True Progressing: " + step.says + " for revision main@sha1:1 with a timeout of " + c.says,
			} {
				if got := meta.FindStatusCondition(k.Status.Conditions, kind); got == nil || fmt.Sprintf("%s %s: %s", got.Status, got.Reason, got.Message) != want {
					t.Errorf("%s: %s is %+v, want %s", c.why, kind, got, want)
				}
			}
			if k.Status.LastAttemptedRevision != "main@sha1:1" || k.Status.ObservedGeneration == k.Generation {
				t.Errorf("%s: status is %+v", c.why, k.Status)
			}
		}
	}
}

func TestLastGoodSurvivesFailures(t *testing.T) {
	k := object()
	Succeed(k, Attempt{Revision: "good", RenderID: "good"}, "", time.Unix(1, 0))
	for n := range 8 {
		Fail(k, Attempt{Revision: "bad", RenderID: fmt.Sprint("bad", n)}, Failure{Reason: ReasonFailed}, time.Unix(2, 0))
	}
	if id, revision := LastGood(k); id != "good" || revision != "good" || len(k.Status.History) != 5 {
		t.Errorf("last good is %q of %q in %d entries", id, revision, len(k.Status.History))
	}
}

func TestLastGoodIsWhatWasBegunLast(t *testing.T) {
	old, newer := Attempt{Revision: "r1", RenderID: "old"}, Attempt{Revision: "r2", RenderID: "newer"}
	for _, c := range []struct {
		reason string
		do     func(*kustomizev1.Kustomization)
		want   string
	}{
		{"an attempt whose applier died may have been applied", func(*kustomizev1.Kustomization) {}, "newer"},
		{"a failed build changes nothing about that", func(k *kustomizev1.Kustomization) {
			Fail(k, Attempt{Revision: "r3"}, Failure{Reason: "BuildFailed"}, time.Unix(3, 0))
		}, "newer"},
		{"nor does a render after it that could not be applied", func(k *kustomizev1.Kustomization) {
			third := Attempt{Revision: "r3", RenderID: "third", Started: time.Unix(3, 0)}
			Claim(k, third)
			Fail(k, third, Failure{Reason: ReasonFailed}, time.Unix(4, 0))
		}, "newer"},
		{"an attempt that failed is over", func(k *kustomizev1.Kustomization) {
			Fail(k, newer, Failure{Reason: ReasonFailed}, time.Unix(3, 0))
		}, "old"},
		{"one that succeeded is good, and ends all others", func(k *kustomizev1.Kustomization) {
			Succeed(k, Attempt{Revision: "r3", RenderID: "third"}, "", time.Unix(3, 0))
			for _, h := range k.Status.History {
				if h.LastReconciledStatus == kube.ReasonProgressing {
					t.Errorf("the history still tells of an attempt under way: %+v", h)
				}
			}
		}, "third"},
	} {
		k := object()
		Succeed(k, old, "", time.Unix(1, 0))
		Claim(k, newer)
		c.do(k)
		if id, _ := LastGood(k); id != c.want {
			t.Errorf("%s: last good is %q, want %q", c.reason, id, c.want)
		}
	}
}

func TestDone(t *testing.T) {
	a := Attempt{Revision: "r", RenderID: "id"}
	for _, c := range []struct {
		reason string
		edit   func(*kustomizev1.Kustomization)
		want   bool
	}{
		{"nothing is left to do", func(*kustomizev1.Kustomization) {}, true},
		{"the spec changed", func(k *kustomizev1.Kustomization) { k.Generation++ }, false},
		{"a pass was asked for", func(k *kustomizev1.Kustomization) { k.Annotations[kube.RequestedAt] = "later" }, false},
		{"another render failed since", func(k *kustomizev1.Kustomization) {
			Fail(k, Attempt{Revision: "r2", RenderID: "other"}, Failure{Reason: ReasonFailed}, time.Unix(3, 0))
		}, false},
	} {
		k := object()
		Succeed(k, a, "", time.Unix(1, 0))
		c.edit(k)
		if got := Done(k, a.RenderID, a.Revision); got != c.want {
			t.Errorf("%s: Done is %v", c.reason, got)
		}
	}
}

func TestRetryDue(t *testing.T) {
	k := object()
	k.Spec.RetryInterval = &metav1.Duration{Duration: time.Minute}
	at := time.Unix(1000, 0)
	Fail(k, Attempt{Revision: "r", RenderID: "id"}, Failure{Reason: ReasonFailed}, at)
	if got := RetryDue(k, "id", "r"); !got.Equal(at.Add(time.Minute)) {
		t.Errorf("retry is due at %s", got)
	}
	if got := RetryDue(k, "id", "newer"); !got.IsZero() {
		t.Errorf("a newer revision waits until %s", got)
	}
}

func TestRenewMovesAnEqualClaim(t *testing.T) {
	for reason, a := range map[string]Attempt{
		"the same render again": {Revision: "r", RenderID: "id"}, "no render, so nothing in the history": {Revision: "r"},
	} {
		k := object()
		Claim(k, a)
		next := k.DeepCopy()
		Claim(next, a)
		Renew(k, next, time.Now())
		if equality.Semantic.DeepEqual(k.Status, next.Status) {
			t.Errorf("%s: an equal claim would not be written, and fence nobody off", reason)
		}
	}
}
