package livestate_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS, labels: {tier: front}, annotations: {note: ours}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: c
        image: one
        args: [a, b]
        ports: [{containerPort: 80, protocol: TCP}, {containerPort: 81, protocol: TCP}]
      - {name: d, image: two}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: sentinel, namespace: NS}
spec: {replicas: 0, selector: {matchLabels: {app: s}}, template: {metadata: {labels: {app: s}}, spec: {containers: [{name: c, image: one}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: NS}
data: {k: one, l: two}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: sentinel, namespace: NS}
data: {k: one}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: NS}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Secret
metadata: {name: sentinel, namespace: NS}
stringData: {k: one}
`

const (
	merge     = types.MergePatchType
	strategic = types.StrategicMergePatchType
	jsonPatch = types.JSONPatchType
	ssa       = types.ApplyPatchType
)

// silent is the expectation that nothing is noticed.
const silent livestate.Why = ""

// TestDrift is the rule that tells drift from noise. Each edit is made by someone
// else; the sentinel of the same kind proves that the watch has passed it.
func TestDrift(t *testing.T) {
	patch := func(manager string, kind types.PatchType, body string, sub ...string) func(*fixture, cluster.Ref) {
		return func(f *fixture, r cluster.Ref) { f.edit(r, manager, kind, body, sub...) }
	}
	for _, tt := range []struct {
		name, why, kind, object string
		edit                    func(*fixture, cluster.Ref)
		want                    livestate.Why
	}{
		{"scalar", "an owned scalar changes", "Deployment", "web", patch("tool", merge, `{"spec":{"paused":false,"replicas":1}}`), livestate.Changed},
		{"label", "an owned label changes", "Deployment", "web", patch("tool", merge, `{"metadata":{"labels":{"tier":"back"}}}`), livestate.Changed},
		{"label-removed", "an owned label goes", "Deployment", "web", patch("tool", merge, `{"metadata":{"labels":{"tier":null}}}`), livestate.Changed},
		{"annotation", "an owned annotation changes", "Deployment", "web", patch("tool", merge, `{"metadata":{"annotations":{"note":"theirs"}}}`), livestate.Changed},
		{"data", "a ConfigMap key changes", "ConfigMap", "settings", patch("tool", merge, `{"data":{"k":"x"}}`), livestate.Changed},
		{"data-removed", "a ConfigMap key goes", "ConfigMap", "settings", patch("tool", merge, `{"data":{"l":null}}`), livestate.Changed},
		{"secret", "a Secret value changes that came as stringData", "Secret", "login", patch("tool", merge, `{"data":{"password":"eA=="}}`), livestate.Changed},
		{"item", "a field of a map-keyed item changes", "Deployment", "web", patch("tool", strategic, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"other"}]}}}}`), livestate.Changed},
		{"item-removed", "a map-keyed item goes", "Deployment", "web", patch("tool", jsonPatch, `[{"op":"remove","path":"/spec/template/spec/containers/1"}]`), livestate.Changed},
		{"atomic", "an atomic list changes", "Deployment", "web", patch("tool", jsonPatch, `[{"op":"replace","path":"/spec/template/spec/containers/0/args","value":["x"]}]`), livestate.Changed},
		{"scale", "kubectl scale changes owned replicas through the subresource", "Deployment", "web", patch("kubectl", merge, `{"spec":{"replicas":2}}`, "scale"), livestate.Changed},
		{"other-apply", "another manager applies another value", "ConfigMap", "settings", patch("other", ssa, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"},"data":{"k":"x"}}`), livestate.Changed},
		{"own-update", "an update under our own name", "ConfigMap", "settings", patch(cluster.Manager, merge, `{"data":{"k":"x"}}`), livestate.Absorb},
		{"own-apply", "an apply under our own name, other value: at most the time moves", "ConfigMap", "settings", func(f *fixture, r cluster.Ref) {
			f.edit(r, cluster.Manager, ssa, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","labels":{"`+cluster.OwnerNameLabel+`":"`+f.owner.Name+`","`+cluster.OwnerNamespaceLabel+`":"flux-system"}},"data":{"k":"x","l":"two"}}`)
		}, "changed or verify"},
		{"emptied", "managedFields are emptied", "ConfigMap", "settings", patch("tool", merge, `{"metadata":{"managedFields":[{}]}}`), livestate.Changed},
		{"restored-fields", "a second write restores managedFields, the value stays foreign", "ConfigMap", "settings", func(f *fixture, r cluster.Ref) {
			before := f.live(r)
			f.edit(r, "tool", merge, `{"data":{"k":"x"}}`)
			entries, err := json.Marshal(map[string]any{"metadata": map[string]any{"managedFields": before.GetManagedFields()}})
			if err != nil {
				f.t.Fatal(err)
			}
			f.edit(r, "tool", merge, string(entries))
		}, livestate.Changed},
		{"kubectl-key", "kubectl adds a field nobody owned", "ConfigMap", "settings", patch("kubectl-edit", merge, `{"data":{"new":"x"}}`), livestate.Absorb},
		{"kubectl-sidecar", "kubectl adds a container", "Deployment", "web", patch("kubectl-patch", strategic, `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"car"}]}}}}`), livestate.Absorb},
		{"kubectl-env", "kubectl adds an environment variable", "Deployment", "web", patch("kubectl-set", strategic, `{"spec":{"template":{"spec":{"containers":[{"name":"c","env":[{"name":"E","value":"x"}]}]}}}}`), livestate.Absorb},
		{"kubectl-default", "kubectl sets a defaulted field", "Deployment", "web", patch("kubectl-edit", merge, `{"spec":{"revisionHistoryLimit":3}}`), livestate.Absorb},
		{"reorder", "a map-keyed list is reordered: no managed field changes, only the generation", "Deployment", "web", patch("tool", jsonPatch, `[{"op":"move","from":"/spec/template/spec/containers/1","path":"/spec/template/spec/containers/0"}]`), livestate.Verify},
		{"foreign-field", "a foreign field appears: a dry run tells", "ConfigMap", "settings", patch("tool", merge, `{"data":{"theirs":"x"}}`), livestate.Verify},
		{"restart", "kubectl rollout restart is let through", "Deployment", "web", patch("kubectl-rollout", strategic, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-01-01T00:00:00Z"}}}}}`), livestate.Verify},
		{"deleted", "the object is deleted", "ConfigMap", "settings", func(f *fixture, r cluster.Ref) {
			if err := f.resource(r).Delete(f.t.Context(), r.Name, metav1.DeleteOptions{}); err != nil {
				f.t.Fatal(err)
			}
		}, livestate.Deleted},
		{"recreated", "the object is made anew by someone else", "ConfigMap", "settings", func(f *fixture, r cluster.Ref) {
			if err := f.resource(r).Delete(f.t.Context(), r.Name, metav1.DeleteOptions{}); err != nil {
				f.t.Fatal(err)
			}
			u := r.Object()
			u.SetLabels(f.owner.Labels())
			if _, err := f.resource(r).Create(f.t.Context(), u, metav1.CreateOptions{FieldManager: "tool"}); err != nil {
				f.t.Fatal(err)
			}
		}, "deleted or changed"},
		{"held", "a finalizer holds a deletion: nothing to do until it is gone", "ConfigMap", "settings", func(f *fixture, r cluster.Ref) {
			f.edit(r, "tool", merge, `{"metadata":{"finalizers":["example.com/hold"]}}`)
			f.next(r)
			if err := f.resource(r).Delete(f.t.Context(), r.Name, metav1.DeleteOptions{}); err != nil {
				f.t.Fatal(err)
			}
			f.edit(r, "tool", merge, `{"metadata":{"finalizers":null}}`)
		}, livestate.Deleted},
		{"unlabelled", "the owner labels go, the object lives", "ConfigMap", "settings", patch("tool", merge, `{"metadata":{"labels":{"`+cluster.OwnerNameLabel+`":null,"`+cluster.OwnerNamespaceLabel+`":null}}}`), livestate.Unlabelled},
		{"half-unlabelled", "one owner label goes", "ConfigMap", "settings", patch("tool", merge, `{"metadata":{"labels":{"`+cluster.OwnerNamespaceLabel+`":null}}}`), livestate.Changed},
		{"rival", "another owner's labels appear", "ConfigMap", "settings", patch("other", merge, `{"metadata":{"labels":{"`+cluster.OwnerNameLabel+`":"rival"}}}`), livestate.Conflict},
		{"status", "a status write is noise", "Deployment", "web", patch("controller", merge, `{"status":{"observedGeneration":7}}`, "status"), silent},
		{"same-value", "an update to the same value is no event", "ConfigMap", "settings", patch("tool", merge, `{"data":{"k":"one"}}`), silent},
		{"opt-out", "an annotation keeps the applier away, its own kubectl entry included", "ConfigMap", "settings", patch("kubectl-annotate", merge, `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/reconcile":"disabled"}},"data":{"k":"mine"}}`), silent},
		{"live-ignore", "ssa: Ignore on the live object too", "ConfigMap", "settings", patch("kubectl-annotate", merge, `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/ssa":"Ignore"}},"data":{"k":"mine"}}`), silent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, livestate.Options{VerifyDelay: 30 * time.Millisecond})
			f.apply(web)
			f.quiet()
			api := "v1"
			if tt.kind == "Deployment" {
				api = "apps/v1"
			}
			r := f.ref(api, tt.kind, tt.object)
			tt.edit(f, r)
			if tt.want != silent {
				got := f.next(r)
				if got.Why != tt.want && !either(tt.want, got.Why) {
					t.Errorf("%s: noticed %q, want %q", tt.why, got.Why, tt.want)
				}
				if got.Why != livestate.Conflict {
					f.restored(r, got.Why)
				}
				return
			}
			f.silentUntilSentinel(r, api, tt.kind)
		})
	}
}

func either(want, got livestate.Why) bool {
	return want == "changed or verify" && (got == livestate.Changed || got == livestate.Verify) ||
		want == "deleted or changed" && (got == livestate.Deleted || got == livestate.Changed)
}

// quiet waits until the second of our own apply is over, in which nothing can be told.
func (f *fixture) quiet() {
	f.t.Helper()
	timer := time.NewTimer(2100 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	for len(f.drift) > 0 {
		<-f.drift
	}
}

// restored applies again and checks that the object is as wanted and noticed no more.
func (f *fixture) restored(r cluster.Ref, why livestate.Why) {
	f.t.Helper()
	if len(f.table.Dirty(f.owner)) == 0 {
		f.t.Errorf("%s is noticed (%s) but not dirty", r, why)
	}
	f.apply(web)
	if r.Kind == "ConfigMap" {
		live, err := f.client.Get(f.t.Context(), r)
		if err != nil {
			f.t.Fatal(err)
		}
		data, _, _ := unstructured.NestedStringMap(live.Object, "data")
		if data["k"] != "one" || data["l"] != "two" || data["new"] != "" || cluster.OwnerOf(live.GetLabels()) != f.owner {
			f.t.Errorf("after the correction data is %v, labels are %v", data, live.GetLabels())
		}
	}
	if r.Kind == "Deployment" && why == livestate.Verify {
		live, err := f.client.Get(f.t.Context(), r)
		if err != nil {
			f.t.Fatal(err)
		}
		if at, found, _ := unstructured.NestedString(live.Object, "spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"); found && at == "" {
			f.t.Error("the restart was undone")
		}
	}
	dirty := f.table.Dirty(f.owner)
	// The controller of a Deployment may answer an edit with writes of its own, each of
	// which has to be looked at.
	for tries := 0; r.Kind == "Deployment" && len(dirty) > 0 && tries < 5; tries++ {
		f.apply(web)
		dirty = f.table.Dirty(f.owner)
	}
	if len(dirty) > 0 {
		f.t.Errorf("still dirty after the correction: %v", dirty)
	}
}

// silentUntilSentinel edits another object of the kind and expects its notice first.
func (f *fixture) silentUntilSentinel(r cluster.Ref, api, kind string) {
	f.t.Helper()
	sentinel := f.ref(api, kind, "sentinel")
	f.edit(sentinel, "kubectl-edit", merge, `{"metadata":{"annotations":{"seen":"yes"}}}`)
	deadline := time.After(15 * time.Second)
	for {
		select {
		case c := <-f.drift:
			for _, n := range c.notices {
				if n.Object.Same(r) {
					f.t.Errorf("noticed %q about %s, want silence", n.Why, r)
				}
				if n.Object.Same(sentinel) {
					return
				}
			}
		case <-deadline:
			f.t.Fatal("the sentinel's edit was not noticed")
		}
	}
}

func TestWhatCouldNotBeToldIsToldAgain(t *testing.T) {
	f := newFixture(t, livestate.Options{Retry: 20 * time.Millisecond})
	f.apply(web)
	f.quiet()
	settings, deployment := f.ref("v1", "ConfigMap", "settings"), f.ref("apps/v1", "Deployment", "web")
	f.refuse.Store(3)
	f.edit(settings, "tool", merge, `{"data":{"k":"x"}}`)
	if n := f.next(settings); n.Why != livestate.Changed {
		t.Errorf("noticed %q", n.Why)
	}
	f.table.Await(f.owner, cluster.Unseen(deployment))
	f.refuse.Store(3)
	f.edit(deployment, "controller", merge, `{"status":{"observedGeneration":9}}`, "status")
	select {
	case <-f.change:
	case <-time.After(10 * time.Second):
		t.Error("nobody was told of a change that is awaited")
	}
}

// live returns an object as it is.
func (f *fixture) live(r cluster.Ref) *unstructured.Unstructured {
	f.t.Helper()
	u, err := f.client.Get(f.t.Context(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	return u
}

func TestAnotherOwnerTakesAnObjectOnce(t *testing.T) {
	f := newFixture(t, livestate.Options{})
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared, namespace: NS}\ndata: {k: old}"
	rival := cluster.Owner{Namespace: "flux-system", Name: "rival"}
	f.apply(manifest)
	f.applyAs(rival, manifest)
	r := f.ref("v1", "ConfigMap", "shared")
	if n := f.next(r); n.Why != livestate.Conflict || n.Rival != rival {
		t.Errorf("noticed %+v, want a conflict with the rival", n)
	}
	if got := f.apply(manifest); got.Writes+got.DryRuns != 0 || got.Outcomes[0].Action != "skipped" {
		t.Errorf("the first owner fights: %+v", got)
	}
	changed := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared, namespace: NS}\ndata: {k: new}"
	if got := f.apply(changed); got.Outcomes[0].Action != "configured" {
		t.Errorf("a new revision takes the object back: %+v", got)
	}
}

func TestFightIsHeldBackAndSaid(t *testing.T) {
	f := newFixture(t, livestate.Options{Corrections: 3, CorrectionInterval: 300 * time.Millisecond})
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\ndata: {k: one}"
	f.apply(manifest)
	r := f.ref("v1", "ConfigMap", "c")
	for n := range 4 {
		f.edit(r, "tool", merge, `{"data":{"k":"x"}}`)
		started := time.Now()
		got := f.next(r)
		if got.Repeated != (n == 3) {
			t.Errorf("correction %d: repeated is %v after %s", n, got.Repeated, time.Since(started))
		}
		f.apply(manifest)
	}
}

func TestWhatTheSecondOfOurApplyHides(t *testing.T) {
	f := newFixture(t, livestate.Options{VerifyDelay: time.Hour})
	f.apply(web)
	deployment, settings := f.ref("apps/v1", "Deployment", "web"), f.ref("v1", "ConfigMap", "settings")
	f.edit(deployment, "controller", merge, `{"status":{"observedGeneration":9}}`, "status")
	f.silentUntilSentinel(deployment, "apps/v1", "Deployment")
	f.edit(settings, "tool", merge, `{"data":{"theirs":"x"}}`)
	f.silentUntilSentinel(settings, "v1", "ConfigMap")
	doubtful := map[cluster.Ref]bool{}
	for _, r := range f.table.Dirty(f.owner) {
		doubtful[r] = true
	}
	if doubtful[deployment] {
		t.Error("a status write right after an apply is noise, and asks for no dry run")
	}
	if !doubtful[settings] {
		t.Error("an event that nothing explains asks for a dry run")
	}
}

func TestAwaitTellsOfAnyChange(t *testing.T) {
	f := newFixture(t, livestate.Options{})
	f.apply(web)
	f.quiet()
	r := f.ref("apps/v1", "Deployment", "web")
	stranger := f.ref("v1", "ConfigMap", "stranger")
	if uncovered, _ := f.table.Await(f.owner, cluster.Unseen(r, stranger)); len(uncovered) != 1 || uncovered[0] != stranger {
		t.Errorf("uncovered: %v", uncovered)
	}
	f.edit(r, "controller", merge, `{"status":{"observedGeneration":9}}`, "status")
	select {
	case owner := <-f.change:
		if owner != f.owner {
			t.Errorf("told %s", owner)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody was told")
	}
}

// TestAwaitKnowsWhatWasLookedAt shows that a version that was looked at is no news, and a newer one is, whether
// the watch showed it before or shows it later.
func TestAwaitKnowsWhatWasLookedAt(t *testing.T) {
	f := newFixture(t, livestate.Options{})
	f.apply(web)
	f.quiet()
	r := f.ref("v1", "ConfigMap", "settings") // which no controller writes
	old := f.live(r).GetResourceVersion()
	if _, stale := f.table.Await(f.owner, []cluster.Seen{{Ref: r, At: old}}); stale {
		t.Error("nothing changed since it was looked at")
	}
	f.edit(r, "tool", merge, `{"data":{"new":"1"}}`)
	<-f.change
	if _, stale := f.table.Await(f.owner, []cluster.Seen{{Ref: r, At: old}}); !stale {
		t.Error("the watch has shown a newer version")
	}
	at := f.live(r).GetResourceVersion()
	if _, stale := f.table.Await(f.owner, []cluster.Seen{{Ref: r, At: at}}); stale {
		t.Error("that is the version which the watch has shown")
	}
	// an answer comes before the watch shows it: then the watch brings no news
	f.table.Await(f.owner, nil)
	f.edit(r, "tool", merge, `{"data":{"new":"2"}}`)
	f.table.Await(f.owner, []cluster.Seen{{Ref: r, At: f.live(r).GetResourceVersion()}})
	f.quiet()
	select {
	case <-f.change:
		t.Error("told of a version that was looked at")
	default:
	}
}

func TestKindComesAndGoes(t *testing.T) {
	f := newFixture(t, livestate.Options{})
	crd := `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: carps.fish.example.com}
spec:
  group: fish.example.com
  names: {kind: Carp, plural: carps, singular: carp, listKind: CarpList}
  scope: Namespaced
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
---
apiVersion: fish.example.com/v1
kind: Carp
metadata: {name: c, namespace: NS}
spec: {weight: 1}
`
	f.apply(crd)
	r := f.ref("fish.example.com/v1", "Carp", "c")
	f.edit(r, "tool", merge, `{"spec":{"weight":2}}`)
	f.next(r)
	f.apply(crd)
	definition := cluster.Ref{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition", Name: "carps.fish.example.com"}
	if err := f.client.Delete(t.Context(), definition, ""); err != nil {
		t.Fatal(err)
	}
	if n := f.next(r); n.Why != livestate.Deleted {
		t.Errorf("noticed %q, want deleted", n.Why)
	}
	until(t, func() bool {
		_, err := f.client.GetMetadata(t.Context(), definition)
		return cluster.IsGone(err)
	})
	f.apply(crd)
	f.edit(r, "tool", merge, `{"spec":{"weight":3}}`)
	if n := f.next(r); n.Why == livestate.Deleted && len(f.table.Dirty(f.owner)) == 0 {
		t.Errorf("noticed %q after the kind came back", n.Why)
	}
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(errors.Join(errors.New("condition not reached"), ctx.Err()))
		}
	}
}
