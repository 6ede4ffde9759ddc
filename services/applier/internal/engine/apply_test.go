package engine_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

const pair = `
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: NS}
data: {k: one}
---
apiVersion: v1
kind: Secret
metadata: {name: b, namespace: NS}
stringData: {password: hunter2}
`

func TestApplyTwiceSendsNothing(t *testing.T) {
	f := newFixture(t)
	first := f.apply(pair)
	if got, want := actions(first), "ConfigMap/a created, Secret/b created"; got != want {
		t.Errorf("first apply: %s, want %s", got, want)
	}
	ref := f.ref("v1", "ConfigMap", "a")
	live := f.get(ref)
	if diff := cmp.Diff(f.owner.Labels(), live.GetLabels()); diff != "" {
		t.Errorf("owner labels: %s", diff)
	}
	secret := f.get(f.ref("v1", "Secret", "b"))
	got, _, _ := unstructured.NestedString(secret.Object, "data", "password")
	if want := base64.StdEncoding.EncodeToString([]byte("hunter2")); got != want {
		t.Errorf("stringData became %q, want %q", got, want)
	}
	f.synced()
	guard := func(r *engine.Request) {
		r.Guard = func(context.Context) error { return errors.New("nothing is to be written") }
	}
	again := f.apply(pair, guard)
	if again.Writes != 0 || again.DryRuns != 0 {
		t.Errorf("an unchanged apply sent %d writes and %d dry runs", again.Writes, again.DryRuns)
	}
	if got, want := actions(again), "ConfigMap/a unchanged, Secret/b unchanged"; got != want {
		t.Errorf("second apply: %s, want %s", got, want)
	}
	one := f.apply(strings.ReplaceAll(pair, "one", "two"))
	if got, want := actions(one), "ConfigMap/a configured, Secret/b unchanged"; got != want || one.Writes != 1 || one.DryRuns != 0 {
		t.Errorf("one changed object: %s with %d writes and %d dry runs, want %s with one write", got, one.Writes, one.DryRuns, want)
	}
}

func TestApplyAfterRestartMovesNoResourceVersion(t *testing.T) {
	f := newFixture(t)
	f.apply(pair)
	refs := []cluster.Ref{f.ref("v1", "ConfigMap", "a"), f.ref("v1", "Secret", "b")}
	before := []string{f.get(refs[0]).GetResourceVersion(), f.get(refs[1]).GetResourceVersion()}
	f.restart()
	again := f.apply(pair)
	if got, want := actions(again), "ConfigMap/a unchanged, Secret/b unchanged"; got != want {
		t.Errorf("after restart: %s, want %s", got, want)
	}
	after := []string{f.get(refs[0]).GetResourceVersion(), f.get(refs[1]).GetResourceVersion()}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("resource versions moved: %s", diff)
	}
}

func TestDefinitionAndObjectInOneCall(t *testing.T) {
	f := newFixture(t)
	r := f.apply(`
apiVersion: fish.example.com/v1
kind: Trout
metadata: {name: t1, namespace: NS-water}
spec: {weight: 3}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: trouts.fish.example.com}
spec:
  group: fish.example.com
  names: {kind: Trout, plural: trouts, singular: trout, listKind: TroutList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {weight: {type: integer}}}}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: NS-water}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: NS-high}
value: 10
`)
	for _, o := range r.Outcomes {
		if o.Action != engine.Created {
			t.Errorf("%s was %s, want created", o.Object, o.Action)
		}
	}
	if len(r.Inventory) != 4 || len(r.Await) != 4 {
		t.Errorf("inventory has %d entries and %d objects are awaited, want 4", len(r.Inventory), len(r.Await))
	}
}

func TestOneInvalidObjectLeavesItsStageAlone(t *testing.T) {
	f := newFixture(t)
	r, err := f.try(`
apiVersion: v1
kind: ConfigMap
metadata: {name: good, namespace: NS}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: bad, namespace: NS}
spec: {replicas: -1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: x, image: app}]}}}
`)
	var object *engine.ObjectError
	if !errors.As(err, &object) || object.Object.Name != "bad" {
		t.Fatalf("error is %v, want one about Deployment bad", err)
	}
	if want := "Deployment/" + f.namespace + "/bad dry-run failed (Invalid): "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %q does not start with %q", err, want)
	}
	if r.Writes != 0 || f.exists(f.ref("v1", "ConfigMap", "good")) {
		t.Error("the good object of the stage was written")
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ why, name, manifest, want string }{
		{"a namespace that is not there", "absent", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: no-such-place}", `ConfigMap/no-such-place/x not found: namespaces "no-such-place" not found`},
		{"no namespace at all", "none", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}", "ConfigMap/x namespace not specified: the server could not find the requested resource"},
		{"an unknown kind", "kind", "apiVersion: example.com/v1\nkind: Ghost\nmetadata: {name: x, namespace: NS}", `Ghost/NS/x dry-run failed: no matches for kind "Ghost" in version "example.com/v1"`},
		{"an unknown field", "field", "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: NS}\nspec: {wings: 2}", "Service/NS/x dry-run failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			_, err := f.try(tt.manifest)
			want := strings.ReplaceAll(tt.want, "NS", f.namespace)
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: error is %v, want %q", tt.why, err, want)
			}
		})
	}
}

func TestImmutableFields(t *testing.T) {
	secret := func(value, annotations string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS, annotations: {" + annotations + "}}\nimmutable: true\nstringData: {k: " + value + "}"
	}
	const force = "kustomize.toolkit.fluxcd.io/force: Enabled"
	for _, tt := range []struct {
		why, name, change string
		force, recreated  bool
	}{
		{"without force it fails", "plain", secret("two-secret", ""), false, false},
		{"with force it is made anew", "spec", secret("two-secret", ""), true, true},
		{"the annotation forces one object", "annotation", secret("two-secret", force), false, true},
		{"an invalid object is not deleted", "invalid", secret("two-secret", "") + "\ntype: kubernetes.io/tls", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.apply(secret("one-secret", ""))
			ref := f.ref("v1", "Secret", "s")
			before := f.get(ref).GetUID()
			r, err := f.try(tt.change, func(r *engine.Request) { r.Force = tt.force })
			if recreated := f.get(ref).GetUID() != before; recreated != tt.recreated {
				t.Fatalf("%s: recreated is %v (%v)", tt.why, recreated, err)
			}
			if tt.recreated {
				if got := actions(r); err != nil || got != "Secret/s created" {
					t.Errorf("%s: %s, %v", tt.why, got, err)
				}
				return
			}
			if err == nil || strings.Contains(err.Error(), "secret\"") {
				t.Errorf("%s: error is %v, want one without Secret values", tt.why, err)
			}
			if tt.name == "plain" && !strings.Contains(err.Error(), "immutable") {
				t.Errorf("%s: error is %v, want the API server's message", tt.why, err)
			}
		})
	}
}

func TestTakeoverFromKubectl(t *testing.T) {
	f := newFixture(t)
	ref := f.ref("apps/v1", "Deployment", "web")
	manifest := `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec: {replicas: 0, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: one}]}}}
`
	theirs := f.objects(manifest)[0]
	theirs.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "by hand"})
	body, err := theirs.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	f.edit(ref, "kubectl", types.ApplyPatchType, string(body))
	f.edit(ref, "kubectl-rollout", types.StrategicMergePatchType, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
	if got := actions(f.apply(manifest)); got != "Deployment/web configured" {
		t.Errorf("takeover: %s", got)
	}
	live := f.get(ref)
	if got := live.GetAnnotations(); got["note"] != "" || got["kubectl.kubernetes.io/last-applied-configuration"] != "" {
		t.Errorf("what kubectl added is still there: %v", got)
	}
	restarted, _, _ := unstructured.NestedString(live.Object, "spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")
	if restarted != "now" {
		t.Error("a rollout restart was undone")
	}
	for _, e := range live.GetManagedFields() {
		if e.Manager == "kubectl" {
			t.Error("kubectl still owns fields")
		}
	}
	f.synced()
	if got := actions(f.apply(manifest)); got != "Deployment/web unchanged" {
		t.Errorf("after the takeover: %s", got)
	}
}

func TestControlAnnotations(t *testing.T) {
	const key = "kustomize.toolkit.fluxcd.io/"
	cm := func(annotation, value string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS, annotations: {" + annotation + "}}\ndata: {k: " + value + "}"
	}
	for _, tt := range []struct{ why, name, annotation, first, second, value string }{
		{"never applied", "disabled", key + "reconcile: Disabled", "skipped", "skipped", ""},
		{"never applied either", "ignore", key + "ssa: ignore", "skipped", "skipped", ""},
		{"created and then left alone", "ifnotpresent", key + "ssa: IfNotPresent", "created", "skipped", "one"},
		{"applied, other managers keep theirs", "merge", key + "ssa: Merge", "created", "configured", "two"},
		{"the default by name", "override", key + "ssa: Override", "created", "configured", "two"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			ref := f.ref("v1", "ConfigMap", "c")
			if got := actions(f.apply(cm(tt.annotation, "one"))); got != "ConfigMap/c "+tt.first {
				t.Errorf("%s: first %s", tt.why, got)
			}
			if tt.first == "created" {
				f.edit(ref, "kubectl-edit", types.MergePatchType, `{"data":{"extra":"x"}}`)
			}
			f.restart()
			r := f.apply(cm(tt.annotation, "two"))
			if got := actions(r); got != "ConfigMap/c "+tt.second {
				t.Errorf("%s: second %s", tt.why, got)
			}
			if len(r.Inventory) != 1 {
				t.Error("an object is missing in the inventory")
			}
			if tt.value == "" {
				if f.exists(ref) {
					t.Errorf("%s, but it exists", tt.why)
				}
				return
			}
			data, _, _ := unstructured.NestedStringMap(f.get(ref).Object, "data")
			if data["k"] != tt.value || (data["extra"] == "") != (tt.name == "override") {
				t.Errorf("%s: data is %v", tt.why, data)
			}
		})
	}
}

func TestLiveObjectMayOptOut(t *testing.T) {
	f := newFixture(t)
	ref := f.ref("v1", "ConfigMap", "a")
	f.apply(pair)
	f.edit(ref, "kubectl-annotate", types.MergePatchType, `{"metadata":{"annotations":{"kustomize.toolkit.fluxcd.io/reconcile":"disabled"}},"data":{"k":"mine"}}`)
	f.restart()
	if got := actions(f.apply(strings.ReplaceAll(pair, "one", "two"))); got != "ConfigMap/a skipped, Secret/b unchanged" {
		t.Error(got)
	}
	if data, _, _ := unstructured.NestedString(f.get(ref).Object, "data", "k"); data != "mine" {
		t.Errorf("data.k is %q", data)
	}
}

// frozen is a table that no longer hears the watch, as a paused process has it.
type frozen struct {
	*livestate.Table
	seen     livestate.Slim
	standing livestate.Standing
}

func (f frozen) Seen(cluster.Ref) (livestate.Slim, bool) { return f.seen, true }
func (f frozen) Standing(cluster.Ref, cluster.Owner, string) livestate.Standing {
	return f.standing
}

func TestPrunedObjectDoesNotReturn(t *testing.T) {
	f := newFixture(t)
	one := strings.Split(pair, "---")[0]
	f.apply(one)
	f.synced()
	ref := f.ref("v1", "ConfigMap", "a")
	seen, ok := f.table.Seen(ref)
	if !ok {
		t.Fatal("the table does not know the object")
	}
	if err := f.client.Delete(t.Context(), ref, ""); err != nil {
		t.Fatal(err)
	}
	for _, standing := range []livestate.Standing{livestate.Dirty, livestate.Unknown} {
		paused := engine.New(frozen{Table: f.table, seen: seen, standing: standing}, engine.Options{})
		_, err := paused.Apply(t.Context(), engine.Request{Owner: f.owner, Client: f.client, Objects: f.objects(one)})
		if !errors.Is(err, engine.ErrConflict) {
			t.Errorf("standing %d: error is %v, want a conflict", standing, err)
		}
		if f.exists(ref) {
			t.Errorf("standing %d: the pruned object came back", standing)
		}
	}
}

// An object that somebody made anew is not what the table knows: nothing is written,
// and with force nothing deleted.
func TestReplacedObjectIsLookedAtAgain(t *testing.T) {
	f := newFixture(t)
	f.apply("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: carps.replaced.example.com}\n" +
		"spec: {group: replaced.example.com, scope: Namespaced, names: {kind: Carp, plural: carps}, " +
		"versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}\n" +
		"---\napiVersion: replaced.example.com/v1\nkind: Carp\nmetadata: {name: a, namespace: NS}\nspec: {weight: 1}\n")
	for _, c := range []struct{ version, kind, manifest string }{
		{"v1", "ConfigMap", strings.Split(pair, "---")[0]},
		{"replaced.example.com/v1", "Carp", "apiVersion: replaced.example.com/v1\nkind: Carp\nmetadata: {name: a, namespace: NS}\nspec: {weight: 2}\n"},
	} {
		f.apply(c.manifest)
		ref := f.ref(c.version, c.kind, "a")
		live := f.get(ref)
		old := livestate.Slim{UID: "another", ResourceVersion: "1", Owner: f.owner}
		for _, standing := range []livestate.Standing{livestate.Dirty, livestate.Unknown} {
			stale := engine.New(frozen{Table: f.table, seen: old, standing: standing}, engine.Options{})
			_, err := stale.Apply(t.Context(), engine.Request{Owner: f.owner, Client: f.client, Force: true, Objects: f.objects(c.manifest)})
			if !errors.Is(err, engine.ErrConflict) {
				t.Errorf("%s, standing %d: error is %v, want a conflict", c.kind, standing, err)
			}
			if now := f.get(ref); now.GetResourceVersion() != live.GetResourceVersion() {
				t.Errorf("%s, standing %d: the object was written", c.kind, standing)
			}
		}
	}
}

func TestGuardStopsBeforeTheFirstWrite(t *testing.T) {
	f := newFixture(t)
	lost := errors.New("lease lost")
	r, err := f.try(pair, func(r *engine.Request) { r.Guard = func(context.Context) error { return lost } })
	if !errors.Is(err, lost) || r.Writes != 0 || f.exists(f.ref("v1", "ConfigMap", "a")) {
		t.Errorf("error is %v after %d writes", err, r.Writes)
	}
}

func TestImpersonationLimitsWhatIsApplied(t *testing.T) {
	f := newFixture(t)
	if _, err := f.cluster.As(f.namespace, ""); err == nil {
		t.Error("an empty service account must be refused")
	}
	client, err := f.cluster.As(f.namespace, "default")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.try(pair, func(r *engine.Request) { r.Client = client })
	if err == nil || !strings.Contains(err.Error(), "system:serviceaccount:"+f.namespace+":default") || !strings.Contains(err.Error(), "dry-run failed (Forbidden)") {
		t.Errorf("error is %v", err)
	}
}

func TestManyObjectsInParallel(t *testing.T) {
	f := newFixture(t)
	var manifests []string
	for n := range 300 {
		kind := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d, namespace: NS}\ndata: {k: v}"
		if n%10 == 0 {
			kind = "apiVersion: v1\nkind: Service\nmetadata: {name: c%d, namespace: NS}\nspec: {ports: [{port: 80}], selector: {a: b}}"
		}
		manifests = append(manifests, fmt.Sprintf(kind, n))
	}
	all := strings.Join(manifests, "\n---\n")
	start := time.Now()
	r := f.apply(all)
	t.Logf("300 objects: %s, %d writes, %d dry runs", time.Since(start).Round(time.Millisecond), r.Writes, r.DryRuns)
	if created := strings.Count(actions(r), " created"); created != 300 {
		t.Errorf("%d of 300 were created", created)
	}
	f.synced()
	start = time.Now()
	if again := f.apply(all); again.Writes+again.DryRuns != 0 {
		t.Errorf("unchanged, yet %d writes and %d dry runs", again.Writes, again.DryRuns)
	}
	t.Logf("unchanged: %s", time.Since(start).Round(time.Microsecond))
}
