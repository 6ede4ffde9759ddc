package engine_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
)

// stageError returns the error that says what an attempt waits for, which must come long
// before what it waits for can.
func stageError(t *testing.T, err error, began time.Time) *engine.StageError {
	t.Helper()
	var stage *engine.StageError
	if !errors.As(err, &stage) || stage.Ends() {
		t.Fatalf("the error is %v, want that it waits", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it was waited for %s", took)
	}
	return stage
}

// TestRecreationWaitsForFinalizers: an object whose finalizers keep it is not waited for by the
// call that deletes it, all others of its stage are applied, and it is deleted once.
func TestRecreationWaitsForFinalizers(t *testing.T) {
	secret := func(v string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\nimmutable: true\nstringData: {k: " + v + "}"
	}
	const beside = "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: beside, namespace: NS}\ndata: {k: v}"
	force := func(r *engine.Request) { r.Force = true }
	for _, owned := range []bool{true, false} {
		t.Run(map[bool]string{true: "ours", false: "of nobody"}[owned], func(t *testing.T) {
			f := newFixture(t)
			ref := f.ref("v1", "Secret", "s")
			if owned {
				f.apply(secret("one"))
			} else if _, _, err := f.client.ApplyAs(t.Context(), "tool", f.objects(secret("one"))[0], false); err != nil {
				t.Fatal(err)
			}
			f.edit(ref, "tool", types.MergePatchType, `{"metadata":{"finalizers":["example.com/hold"]}}`)
			old := f.get(ref).GetUID()
			began := time.Now()
			r, err := f.try(secret("two")+beside, force)
			stage := stageError(t, err, began)
			if text := stage.Error(); !strings.Contains(text, ref.String()) || !strings.Contains(text, "held by finalizer example.com/hold") {
				t.Errorf("the error does not name the object and what holds it: %s", text)
			}
			if got := actions(r); got != "ConfigMap/beside created" {
				t.Errorf("beside it: %s", got)
			}
			gates := func() int {
				t.Helper()
				report, err := f.engine.Gates(t.Context(), f.client, f.objects(secret("two")+beside))
				if err != nil {
					t.Fatal(err)
				}
				return len(report.Waiting())
			}
			if n := gates(); n != 1 {
				t.Errorf("%d objects are waited for", n)
			}
			f.engine = engine.New(f.table, engine.Options{}) // another process
			version := f.get(ref).GetResourceVersion()
			_, err = f.try(secret("two")+beside, force)
			stageError(t, err, time.Now())
			if f.get(ref).GetResourceVersion() != version {
				t.Error("what is deleted was written")
			}
			f.edit(ref, "tool", types.MergePatchType, `{"metadata":{"finalizers":null}}`)
			if n := gates(); n != 0 {
				t.Errorf("%d objects are waited for although it is gone", n)
			}
			if got := actions(f.apply(secret("two")+beside, force)); !strings.Contains(got, "Secret/s created") {
				t.Errorf("afterwards: %s", got)
			}
			if f.get(ref).GetUID() == old {
				t.Error("it is the old object")
			}
		})
	}
}

// TestKindThatIsNotServedYetWaits: a definition may be ready a while before the API server
// serves its kind. That holds no call for long, and is an error when it does not end.
func TestKindThatIsNotServedYetWaits(t *testing.T) {
	f := newFixture(t)
	var lags atomic.Bool
	lags.Store(true)
	config := rest.CopyConfig(server)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodPatch || !lags.Load() || !strings.Contains(r.URL.Path, "/widgets/") {
				return next.RoundTrip(r)
			}
			answer := httptest.NewRecorder()
			answer.Header().Set("Content-Type", "application/json")
			answer.WriteHeader(http.StatusNotFound)
			err := json.NewEncoder(answer).Encode(metav1.Status{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound,
				Code: http.StatusNotFound, Message: "the server could not find the requested resource",
			})
			return answer.Result(), err
		})
	})
	late, err := cluster.New(config, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f.client, err = late.Client(); err != nil {
		t.Fatal(err)
	}
	f.engine = engine.New(f.table, engine.Options{})
	group := f.namespace + ".example.com"
	manifests := strings.ReplaceAll(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
---
apiVersion: GROUP/v1
kind: Widget
metadata: {name: w, namespace: NS}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: beside, namespace: NS}`, "GROUP", group)
	began := time.Now()
	_, err = f.try(manifests)
	if text := stageError(t, err, began).Error(); !strings.Contains(text, "Widget/"+f.namespace+"/w") || !strings.Contains(text, "does not serve the kind yet") {
		t.Errorf("the error is %s", text)
	}
	if f.exists(f.ref("v1", "ConfigMap", "beside")) {
		t.Error("another of the stage was made before it is known that the API server takes all")
	}
	again := time.Now()
	_, err = f.try(manifests)
	stageError(t, err, again)
	if took := time.Since(again); took > 2*time.Second {
		t.Errorf("looking again took %s", took)
	}
	lags.Store(false)
	if got := actions(f.apply(manifests)); !strings.Contains(got, "Widget/w created") {
		t.Errorf("afterwards: %s", got)
	}
	lags.Store(true)
	f.engine = engine.New(f.table, engine.Options{ServeTimeout: time.Nanosecond})
	changed := strings.Replace(manifests, "name: w,", "name: other,", 1)
	if _, err = f.try(changed); err == nil || errors.As(err, new(*engine.StageError)) || !strings.Contains(err.Error(), "not find the requested resource") {
		t.Errorf("a kind that is still not served is %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestAgainPutsBackWhatWasApplied: what was applied and changed since is put back, and nothing
// is made or brought forward that was not reached yet.
func TestAgainPutsBackWhatWasApplied(t *testing.T) {
	f := newFixture(t)
	f.apply(pair)
	f.synced()
	ref, next := f.ref("v1", "ConfigMap", "a"), f.ref("v1", "ConfigMap", "c")
	f.edit(ref, "tool", types.MergePatchType, `{"data":{"k":"foreign"}}`)
	f.seen(ref)
	value := func() any {
		t.Helper()
		return f.get(ref).Object["data"].(map[string]any)["k"]
	}
	again := func(r *engine.Request) { r.Again = true }
	newer := strings.Replace(pair, "k: one", "k: two", 1) + "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}"
	if r := f.apply(newer, again); r.Writes+r.DryRuns > 0 || value() != "foreign" || f.exists(next) {
		t.Errorf("of a render that is not applied yet: %s, a holds %v", actions(r), value())
	}
	if r := f.apply(pair, again); r.Writes != 1 || value() != "one" {
		t.Errorf("of the one that is: %s, a holds %v", actions(r), value())
	}
}

// TestWhatIsGivenUpIsNotWaitedFor: nobody waits for the end of an object that left the render
// before it was made anew.
func TestWhatIsGivenUpIsNotWaitedFor(t *testing.T) {
	f := newFixture(t)
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS, finalizers: [example.com/hold]}\nimmutable: true\nstringData: {k: VALUE}"
	f.apply(strings.Replace(secret, "VALUE", "one", 1))
	two := strings.Replace(secret, "VALUE", "two", 1)
	began := time.Now()
	_, err := f.try(two, func(r *engine.Request) { r.Force = true })
	stageError(t, err, began)
	ref := f.ref("v1", "Secret", "s")
	for _, want := range []int{1, 0} {
		report, err := f.engine.Gates(t.Context(), f.client, f.objects(two))
		if err != nil || len(report.Waiting()) != want {
			t.Errorf("%d objects are waited for, want %d: %v", len(report.Waiting()), want, err)
		}
		f.engine.GiveUp(f.owner, []cluster.Ref{ref})
	}
	if len(f.table.Dirty(f.owner)) > 0 {
		t.Error("it is still wanted")
	}
	f.edit(ref, "tool", types.MergePatchType, `{"metadata":{"finalizers":null}}`)
}
