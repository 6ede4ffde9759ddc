package plan

import (
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

func TestUpdates(t *testing.T) {
	done := func(k *kustomizev1.Kustomization, revision string) {
		status.Succeed(k, status.Attempt{Revision: revision, RenderID: "id"}, "", time.Unix(1, 0))
	}
	for _, c := range []struct {
		reason           string
		edit             func(*kustomizev1.Kustomization)
		wanted, unblocks bool
	}{
		{"our own status leads to no check", func(k *kustomizev1.Kustomization) { status.Claim(k, status.Attempt{Revision: "2"}) }, false, false},
		{"a new revision wakes dependents only", func(k *kustomizev1.Kustomization) { done(k, "2") }, false, true},
		{"a spec change is looked at", func(k *kustomizev1.Kustomization) { k.Generation++ }, true, false},
		{"a reconcile request is looked at", func(k *kustomizev1.Kustomization) {
			k.Annotations = map[string]string{kube.RequestedAt: "now"}
		}, true, false},
		{"a deletion is looked at", func(k *kustomizev1.Kustomization) { k.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }, true, false},
		{"a label is not our business", func(k *kustomizev1.Kustomization) { k.Labels = map[string]string{"a": "b"} }, false, false},
		{"an expression may read a label", func(k *kustomizev1.Kustomization) {
			k.Spec.DependsOn = []kustomizev1.DependencyReference{{Name: "x", ReadyExpr: "true"}}
			k.Labels = map[string]string{"a": "b"}
		}, true, false},
	} {
		before := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
		done(before, "1")
		now := before.DeepCopy()
		c.edit(now)
		if got := wanted(before, now); got != c.wanted {
			t.Errorf("%s: wanted is %v", c.reason, got)
		}
		if got := unblocks(before, now); got != c.unblocks {
			t.Errorf("%s: unblocks is %v", c.reason, got)
		}
	}
}

func TestFanOut(t *testing.T) {
	release := events.NewKey("HelmRelease", "ns", "app")
	key := events.NewKey("Kustomization", "ns", "app")
	target := func(note bus.Note) []bus.Target {
		return []bus.Target{{Stage: events.StageApply, Key: key, Note: note}}
	}
	built := events.BuildUnchanged{BuildRendered: events.BuildRendered{BuildInput: events.BuildInput{Object: key, Revision: "r"}}}
	hook := events.HookReceived{Resources: []events.Key{events.NewKey("GitRepository", "ns", "repo"), key}}
	for _, c := range []struct {
		reason, subject string
		data            events.Data
		want            []bus.Target
	}{
		{"a build of ours", events.BuildSubject("here", key), built, target(bus.Note{Reason: ReasonBuild, Revision: "r"})},
		{"a build for another cluster", events.BuildSubject("there", key), built, nil},
		{"a build of another kind", events.BuildSubject("here", events.NewKey("Other", "ns", "app")), built, nil},
		{"a release that was rendered", events.BuildSubject("here", release), built, []bus.Target{{Stage: events.StageApply, Key: release, Note: bus.Note{Reason: ReasonBuild, Revision: "r"}}}},
		{"a hook checks the Kustomizations it names", events.HookSubject("ns", "hook"), hook, target(bus.Note{Reason: ReasonHook})},
	} {
		e, err := events.New("builder", key, c.data, time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		got, err := FanOut("here")(t.Context(), e, c.subject)
		if err != nil {
			t.Errorf("%s: %v", c.reason, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
