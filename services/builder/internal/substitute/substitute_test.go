package substitute_test

import (
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/substitute"
)

func config(t *testing.T, meta, data string) []render.Object {
	t.Helper()
	o := &unstructured.Unstructured{}
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n" + meta + "data:\n" + data
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return []render.Object{{Origin: "app/c.yaml", Unstructured: o}}
}

func TestApply(t *testing.T) {
	tests := []struct {
		reason, meta, data string
		always             bool
		variables          map[string]string
		want               map[string]any
	}{
		{reason: "a value is put in", data: "  k: ${a}-x\n", variables: map[string]string{"a": "1a"}, want: map[string]any{"k": "1a-x"}},
		{reason: "a default is used", data: "  k: ${b:=d}\n", variables: map[string]string{"a": "1"}, want: map[string]any{"k": "d"}},
		{reason: "functions work", data: "  k: ${a^^}-${a:1:1}-${#a}-${a/b/x}\n", variables: map[string]string{"a": "abc"}, want: map[string]any{"k": "ABC-b-3-axc"}},
		{reason: "a value that looks like a number becomes one", data: "  k: ${a}\n", variables: map[string]string{"a": "123"}, want: map[string]any{"k": int64(123)}},
		{reason: "a quote in a variable keeps it text", data: "  k: ${q}${a}${q}\n", variables: map[string]string{"a": "123", "q": `"`}, want: map[string]any{"k": "123"}},
		{reason: "a value with quotes keeps it text", data: "  k: ${a}\n", variables: map[string]string{"a": `"true"`}, want: map[string]any{"k": "true"}},
		{reason: "a number with a unit is text", data: "  k: ${a}m\n", variables: map[string]string{"a": "5"}, want: map[string]any{"k": "5m"}},
		{reason: "two dollars give the text of a variable", data: "  k: $${a}\n", variables: map[string]string{"a": "1"}, want: map[string]any{"k": "${a}"}},
		{reason: "a dollar without braces is text", data: "  k: $a\n", variables: map[string]string{"a": "1"}, want: map[string]any{"k": "$a"}},
		{reason: "an annotation opts out", meta: "  annotations:\n    kustomize.toolkit.fluxcd.io/substitute: disabled\n", data: "  k: ${nope}\n",
			variables: map[string]string{"a": "1"}, want: map[string]any{"k": "${nope}"}},
		{reason: "a label opts out", meta: "  labels:\n    kustomize.toolkit.fluxcd.io/substitute: disabled\n", data: "  k: ${nope}\n",
			variables: map[string]string{"a": "1"}, want: map[string]any{"k": "${nope}"}},
		{reason: "without variables nothing is touched", data: "  k: ${nope}\n", want: map[string]any{"k": "${nope}"}},
		{reason: "the strategy Always applies defaults without variables", always: true, data: "  k: ${nope:=d}\n", want: map[string]any{"k": "d"}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			objects := config(t, tt.meta, tt.data)
			post := &kustomizev1.PostBuild{}
			if tt.always {
				post.SubstituteStrategy = kustomizev1.SubstituteStrategyAlways
			}
			if err := substitute.Apply(objects, post, tt.variables); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, objects[0].Object["data"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	tests := []struct {
		reason, data string
		variables    map[string]string
		want         []string
	}{
		{"an unset variable", "  k: ${nope}\n", map[string]string{"a": "1"},
			[]string{"post build failed for 'ConfigMap.v1.[noGrp]/c' from app/c.yaml", "envsubst error: variable substitution failed: variable not set (strict mode)", "nope"}},
		{"a name that is none", "  k: v\n", map[string]string{"a-b": "1"},
			[]string{"'a-b' var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'"}},
		{"text that is no YAML afterwards", "  k: ${a}\n", map[string]string{"a": "'open"},
			[]string{"no valid YAML", "app/c.yaml"}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			err := substitute.Apply(config(t, "", tt.data), &kustomizev1.PostBuild{}, tt.variables)
			if err == nil {
				t.Fatal("want an error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want %q in: %s", want, err)
				}
			}
		})
	}
}

func TestApplyLeavesDefinitionsAlone(t *testing.T) {
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "x"}, "spec": "use ${HOME}",
	}}
	err := substitute.Apply([]render.Object{{Unstructured: o}}, &kustomizev1.PostBuild{}, map[string]string{"a": "1"})
	if err != nil || o.Object["spec"] != "use ${HOME}" {
		t.Errorf("got %v, %v", o.Object["spec"], err)
	}
}

func TestMergeLaterWinsAndJoinsLines(t *testing.T) {
	got := substitute.Merge(map[string]string{"a": "1", "b": "x\ny\n"}, nil, map[string]string{"a": "2"})
	if diff := cmp.Diff(map[string]string{"a": "2", "b": "xy"}, got); diff != "" {
		t.Error(diff)
	}
}

// Variables may come from Secrets: whatever a value does to an object's text, the
// error does not repeat it.
func TestErrorsRepeatNoValue(t *testing.T) {
	const secret = "hunter2secret"
	for _, tt := range []struct{ why, kind, value, want string }{
		{"the kind is empty", "", secret, "kind is empty"},
		{"the kind is no text", "{a: 1}", secret, "kind is empty"},
		{"the text is no YAML any more", "ConfigMap", "*" + secret, "no valid YAML"},
		{"a value opens a list", "ConfigMap", "[" + secret, "no valid YAML"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			objects := []render.Object{{Origin: "app.yaml", Unstructured: &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "v1", "kind": "${K}", "metadata": map[string]any{"name": "a"},
				"stringData": map[string]any{"password": "${PW}"},
			}}}}
			err := substitute.Apply(objects, &kustomizev1.PostBuild{}, map[string]string{"K": tt.kind, "PW": tt.value})
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the value is in the error: %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "app.yaml") {
				t.Errorf("error is %q, want %q and the file", err, tt.want)
			}
		})
	}
}
