package health

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/sluice-gitops/sluice/services/applier/internal/cel"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestEvaluate(t *testing.T) {
	for _, tt := range []struct{ why, manifest, want string }{
		{"a ConfigMap is ready at once", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}", "Current"},
		{"a running Job is awaited", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nstatus: {startTime: now, active: 1}", "InProgress"},
		{"a complete Job is ready", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nstatus: {conditions: [{type: Complete, status: 'True'}]}", "Current"},
		{"a failed Job has failed", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nstatus: {conditions: [{type: Failed, status: 'True'}]}", "Failed"},
		{"a suspended Job counts as ready", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nspec: {suspend: true}", "Current"},
		{"a Deployment without status is in progress", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, generation: 1}\nspec: {replicas: 1}", "InProgress"},
		{"a stalled Deployment has failed", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, generation: 1}\nspec: {replicas: 1}\nstatus: {observedGeneration: 1, conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]}", "Failed"},
		{"a custom resource goes by Ready", "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x}\nstatus: {conditions: [{type: Ready, status: 'False'}]}", "InProgress"},
	} {
		body, err := yaml.YAMLToJSON([]byte(tt.manifest))
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(body); err != nil {
			t.Fatal(err)
		}
		got, err := Rules(nil).Evaluate(t.Context(), u)
		if err != nil || got.Status != tt.want {
			t.Errorf("%s: %+v, %v", tt.why, got, err)
		}
	}
}

func TestAbsentJobCountsAsReady(t *testing.T) {
	if got := absent(cluster.Ref{Group: "batch", Version: "v1", Kind: "Job", Name: "x"}); got.Status != "Current" {
		t.Errorf("a Job removed by its time to live is %s", got.Status)
	}
	got := absent(cluster.Ref{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: "a", Name: "b"})
	if want := "[Deployment/a/b status: 'NotFound']"; List([]State{got}) != want {
		t.Errorf("%s, want %s", List([]State{got}), want)
	}
}

// What an object's own controller says of it may be of any length, in a cluster that a tenant runs.
func TestWhatIsToldOfAnObjectIsBounded(t *testing.T) {
	much := strings.Repeat("ü→", 1<<20)
	object := func(fields map[string]any) *unstructured.Unstructured {
		u := cluster.Ref{Group: "example.com", Version: "v1", Kind: "X", Namespace: "a", Name: "b"}.Object()
		for k, v := range fields {
			if err := unstructured.SetNestedField(u.Object, v, strings.Split(k, ".")...); err != nil {
				t.Fatal(err)
			}
		}
		return u
	}
	conditions := func(kind string) []any {
		return []any{map[string]any{"type": kind, "status": "True", "reason": "Much", "message": much}}
	}
	compiler, err := cel.NewCompiler()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := Compile(compiler, []kustomize.CustomHealthCheck{{
		APIVersion: "example.com/v1", Kind: "X", HealthCheckExpressions: kustomize.HealthCheckExpressions{Current: "int(status.number) > 0"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const deleted, at = "metadata.deletionTimestamp", "2026-01-01T00:00:00Z"
	for _, tt := range []struct {
		why    string
		rules  Rules
		fields map[string]any
	}{
		{"a condition", nil, map[string]any{"status.conditions": conditions("Stalled")}},
		{"an expression's error", rules, map[string]any{"status.number": much}},
		{"finalizers", nil, map[string]any{deleted: at, "metadata.finalizers": []any{much}}},
		{"what a namespace has left", nil, map[string]any{
			deleted: at, "status.conditions": conditions("NamespaceContentRemaining"),
		}},
	} {
		got, err := tt.rules.Evaluate(t.Context(), object(tt.fields))
		if err != nil {
			t.Fatal(err)
		}
		if text := got.Message + got.Error; len(text) > maxMessage || text == "" || !utf8.ValidString(text) {
			t.Errorf("%s: %d bytes are told: %.40q", tt.why, len(text), text)
		}
	}
}
