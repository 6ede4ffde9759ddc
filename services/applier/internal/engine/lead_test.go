package engine_test

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// deployment is the last object of workload.
var deployment = workload[strings.LastIndex(workload, "---"):]

// unseen waits until the table knows of no such object.
func (f *fixture) unseen(r cluster.Ref) {
	f.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		if _, ok := f.table.Seen(r); !ok {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatal("the table still sees it")
		}
	}
}

// put makes or changes an object as another manager.
func (f *fixture) put(manifest string) {
	f.t.Helper()
	if _, _, err := f.client.ApplyAs(f.t.Context(), "tool", f.objects(manifest)[0], false); err != nil {
		f.t.Fatal(err)
	}
}

// written returns a client, and what lists the resources that it wrote, in the order of the answers.
func (f *fixture) written() (*cluster.Client, func() string) {
	f.t.Helper()
	var (
		mu    sync.Mutex
		names []string
	)
	client := f.through(func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		answer, err := next.RoundTrip(r)
		if err == nil && r.Method == http.MethodPatch && answer.StatusCode < 300 && !r.URL.Query().Has("dryRun") {
			parts := strings.Split(r.URL.Path, "/")
			mu.Lock()
			names = append(names, parts[len(parts)-2])
			mu.Unlock()
		}
		return answer, err
	})
	return client, func() string { return strings.Join(names, " ") }
}

// Of several objects that are known to differ all but one are dry-run; that one is written when
// the others will be taken, so that its refusal leaves them as they were.
func TestLead(t *testing.T) {
	const one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, namespace: NS}\ndata: {k: one}\n"
	var each []string
	for _, name := range []string{"a", "b", "c"} {
		each = append(each, strings.Replace(one, "NAME", name, 1))
	}
	old := strings.Join(each, "---\n")
	newer := strings.ReplaceAll(old, "{k: one}", "{k: two}")
	for _, c := range []struct {
		name, wrong, refusal string // the object that is refused, if one is
		dryRuns, writes      int
	}{
		{"all taken", "", "", 2, 3},
		{"first refused", "a", "ConfigMap/NS/a dry-run failed (Invalid)", 3, 0}, // a dry run says why
		{"last refused", "c", "ConfigMap/NS/c dry-run failed (Invalid)", 3, 0},  // the first as well: all that is wrong is told
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.apply(old)
			f.synced()
			manifests := newer
			if c.wrong != "" {
				manifests = strings.Replace(newer, "{name: "+c.wrong+", namespace: NS}\ndata: {k: two}", "{name: "+c.wrong+", namespace: NS}\ndata: {k/: two}", 1)
			}
			r, err := f.try(manifests)
			refusal := strings.ReplaceAll(c.refusal, "NS", f.namespace)
			if (err != nil) != (c.refusal != "") || err != nil && !strings.Contains(err.Error(), refusal) {
				t.Fatalf("error %v, want %q", err, refusal)
			}
			if r.DryRuns != c.dryRuns || r.Writes != c.writes {
				t.Errorf("%d dry runs and %d writes, want %d and %d", r.DryRuns, r.Writes, c.dryRuns, c.writes)
			}
			want := "two"
			if err != nil {
				want = "one"
			}
			for _, name := range []string{"a", "b", "c"} {
				if got, _, _ := unstructured.NestedString(f.get(f.ref("v1", "ConfigMap", name)).Object, "data", "k"); got != want {
					t.Errorf("%s has %q, want %q", name, got, want)
				}
			}
		})
	}
}

// The object that is written before the others is never one that others of an earlier kind, which are
// still to be written, are made for.
func TestLeadKeepsTheOrder(t *testing.T) {
	const (
		config  = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NS}\ndata: {k: one}\n"
		present = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}\nstringData: {k: one}\n"
		hook    = "---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: NS}\nwebhooks: [{name: hook.example.com, admissionReviewVersions: [v1], sideEffects: None, " +
			"failurePolicy: Ignore, clientConfig: {url: 'https://127.0.0.1:1/x'}, rules: [{apiGroups: [example.com], apiVersions: [v1], resources: [nothings], operations: ['*']}]}]\n"
	)
	for _, c := range []struct{ why, there, manifests, want string }{
		{"what it reads is older", strings.Replace(config, "one", "old", 1), config + deployment, "configmaps deployments"},
		{"what it reads is made with an annotation", "", present + deployment, "secrets deployments"},
		{"a webhook comes last", strings.Replace(config, "one", "old", 1), config + hook, "configmaps validatingwebhookconfigurations"},
		{"it is there already and nobody knew", strings.Replace(strings.TrimPrefix(role, "---"), "get", "list", 1), role + deployment, "roles deployments"},
		{"nothing of an earlier kind is left", "", config + deployment + role, "configmaps roles deployments"},
	} {
		t.Run(c.why, func(t *testing.T) {
			f := newFixture(t)
			f.engine = engine.New(f.table, engine.Options{Parallel: 1})
			if c.there != "" {
				f.put(c.there)
			}
			client, written := f.written()
			f.apply(c.manifests, func(r *engine.Request) { r.Client = client })
			if got := written(); got != c.want {
				t.Errorf("written: %s, want %s", got, c.want)
			}
		})
	}
}

// All that is refused is told in the order of the kinds.
func TestLeadRefusalsAreInOrder(t *testing.T) {
	f := newFixture(t)
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: NS, annotations: {kustomize.toolkit.fluxcd.io/ssa: IfNotPresent}}\nstringData: {k/: one}\n"
	r, err := f.try(secret + strings.Replace(deployment, "replicas: 0", "replicas: -1", 1))
	if err == nil {
		t.Fatal("it was taken")
	}
	first, last := strings.Index(err.Error(), "Secret/"), strings.Index(err.Error(), "Deployment/")
	if first != 0 || last < 0 || r.Writes != 0 || r.DryRuns != 2 {
		t.Errorf("%d writes, %d dry runs: %v", r.Writes, r.DryRuns, err)
	}
}

// An object that has to be made anew and is kept by its finalizers keeps no other from being applied, also when it
// is the first that differs.
func TestLeadThatWaitsHoldsNothingUp(t *testing.T) {
	f := newFixture(t)
	secret := func(v string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\nimmutable: true\nstringData: {k: " + v + "}\n"
	}
	f.apply(secret("one"))
	f.synced()
	ref := f.ref("v1", "Secret", "s")
	f.edit(ref, "tool", types.MergePatchType, `{"metadata":{"finalizers":["example.com/hold"]}}`)
	f.seen(ref)
	r, err := f.try(secret("two")+deployment, func(r *engine.Request) { r.Force = true })
	stageError(t, err, time.Now())
	if got := actions(r); got != "Deployment/a created" || r.Writes != 2 {
		t.Errorf("%d writes, want the deletion and the Deployment: %q", r.Writes, got)
	}
	f.edit(ref, "tool", types.MergePatchType, `{"metadata":{"finalizers":null}}`)
}

// What is made in the place of an object that was deleted is looked at like anything that was there before, also
// when it is the only object, or the first.
func TestLeadLeavesWhatCameInItsPlace(t *testing.T) {
	one := strings.TrimPrefix(role, "---")
	two := strings.Replace(one, "get", "list", 1)
	theirs := strings.NewReplacer("NS}", "NS, annotations: {kustomize.toolkit.fluxcd.io/reconcile: disabled}}", "get", "watch").Replace(one)
	for _, c := range []struct{ why, manifests string }{
		{"changed", two},
		{"as it was", one},
		{"with others", two + deployment},
	} {
		t.Run(c.why, func(t *testing.T) {
			f := newFixture(t)
			f.apply(one)
			f.synced()
			ref := f.ref("rbac.authorization.k8s.io/v1", "Role", "a")
			if err := f.client.Delete(t.Context(), ref, ""); err != nil {
				t.Fatal(err)
			}
			f.unseen(ref)
			f.put(theirs) // of which no watch of ours tells
			r := f.apply(c.manifests)
			if _, ours := f.get(ref).GetLabels()["kustomize.toolkit.fluxcd.io/name"]; ours || r.Outcomes[0].Action != engine.Skipped {
				t.Errorf("it was written: %s", actions(r))
			}
		})
	}
}

// An object that nobody knew of is written by the rules of a dry run, which the first is spared.
func TestLeadLeavesWhatItDoesNotKnow(t *testing.T) {
	note := func(s string) string {
		return strings.Replace(deployment, "{name: a, namespace: NS}", "{name: a, namespace: NS, annotations: {"+s+"}}", 1)
	}
	inert := strings.TrimSuffix(workload, deployment)
	for _, c := range []struct{ why, there, wanted string }{
		{"not reconciled", note("kustomize.toolkit.fluxcd.io/reconcile: disabled"), deployment},
		{"ignored", note("'kustomize.toolkit.fluxcd.io/ssa': Ignore"), deployment},
		{"made only", deployment, note("'kustomize.toolkit.fluxcd.io/ssa': IfNotPresent")},
	} {
		t.Run(c.why, func(t *testing.T) {
			f := newFixture(t)
			f.put(strings.TrimPrefix(strings.Replace(c.there, "example.org/a", "example.org/theirs", 1), "---"))
			ref := f.ref("apps/v1", "Deployment", "a")
			before := f.get(ref).GetGeneration()
			r := f.apply(inert + c.wanted)
			if f.get(ref).GetGeneration() != before || !strings.HasSuffix(actions(r), "Deployment/a skipped") {
				t.Errorf("it was written: %s", actions(r))
			}
		})
	}
}

// An object that cannot be changed is made anew with the others, once the API server takes all of them.
func TestLeadIsMadeAnew(t *testing.T) {
	f := newFixture(t)
	secret := func(v string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\nimmutable: true\nstringData: {k: " + v + "}\n"
	}
	f.apply(secret("one"))
	f.synced()
	r := f.apply(secret("two")+deployment, func(r *engine.Request) { r.Force = true })
	if got := actions(r); got != "Secret/s created, Deployment/a created" || r.Writes != 3 {
		t.Errorf("%d writes, want a deletion and two objects: %s", r.Writes, got)
	}
}

// What kubectl changed of the object that is written first is taken over like that of any other.
func TestLeadTakesOver(t *testing.T) {
	f := newFixture(t)
	f.apply(role + deployment)
	f.synced()
	ref := f.ref("rbac.authorization.k8s.io/v1", "Role", "a")
	f.edit(ref, "kubectl-edit", types.MergePatchType, `{"metadata":{"labels":{"theirs":"x"}}}`)
	f.seen(ref)
	r := f.apply(strings.NewReplacer("get", "list", "example.org/a", "example.org/b").Replace(role + deployment))
	if _, theirs := f.get(ref).GetLabels()["theirs"]; theirs || actions(r) != "Role/a configured, Deployment/a configured" {
		t.Errorf("kubectl's label is there: %v; %s", theirs, actions(r))
	}
}

// When nobody can say whether the first was written, nothing is taken back that it may need.
func TestLeadOfUnknownOutcome(t *testing.T) {
	f := newFixture(t)
	f.apply(role)
	f.synced()
	var once sync.Once
	client := f.through(func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		answer, err := next.RoundTrip(r)
		if err == nil && r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/roles/") {
			once.Do(func() {
				_ = answer.Body.Close()
				answer.StatusCode, answer.Body = http.StatusInternalServerError, http.NoBody
			})
		}
		return answer, err
	})
	r, err := f.try(strings.Replace(role, "get", "list", 1)+"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: NS}", func(r *engine.Request) { r.Client = client })
	if err != nil || !f.exists(f.ref("v1", "ConfigMap", "a")) {
		t.Errorf("%v, %s", err, actions(r))
	}
}

// An applier that lost its claim before or after it wrote the first leaves what it made to who has it now.
func TestLeadLostClaim(t *testing.T) {
	for when, held := range map[string]int{"before": 1, "after": 2} { // as many calls of the guard go well
		t.Run(when, func(t *testing.T) {
			f := newFixture(t)
			_, err := f.try(workload+role, f.losing(held))
			if !errors.Is(err, errClaimLost) {
				t.Fatal(err)
			}
			for kind, version := range map[string]string{"ConfigMap": "v1", "Service": "v1", "Deployment": "apps/v1", "Role": "rbac.authorization.k8s.io/v1"} {
				if r := f.ref(version, kind, "a"); !f.exists(r) {
					t.Errorf("%s is gone, which the new holder of the claim applied", r)
				}
			}
		})
	}
}

// When the first gets no answer, nothing more is sent: what was made stays for the next attempt.
func TestLeadWithoutAnswer(t *testing.T) {
	f := newFixture(t)
	var after []string
	silent := false
	client := f.through(func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if silent {
			after = append(after, r.Method+" "+r.URL.Path)
		}
		if strings.Contains(r.URL.Path, "/deployments/") {
			silent = true
			return nil, os.ErrDeadlineExceeded
		}
		return next.RoundTrip(r)
	})
	_, err := f.try(workload, func(r *engine.Request) { r.Client = client })
	if !cluster.TimedOut(err) || len(after) > 0 {
		t.Errorf("after %v it sent %v", err, after)
	}
	for _, kind := range []string{"ServiceAccount", "ConfigMap", "Service"} {
		if r := f.ref("v1", kind, "a"); !f.exists(r) {
			t.Errorf("%s was taken back", r)
		}
	}
}
