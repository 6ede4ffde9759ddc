package health

import (
	"testing"

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
