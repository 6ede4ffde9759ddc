package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestEncodeKeepsOrderNumbersAndText(t *testing.T) {
	in := []Object{
		{Origin: "b.yaml", Unstructured: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "b"},
			"data": map[string]any{"text": "a\nb <&> \u2028", "empty": ""},
		}}},
		{Unstructured: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "a", "namespace": "x"},
			"spec": map[string]any{"replicas": int64(1 << 60), "ratio": 0.5, "list": []any{}},
		}}},
	}
	body, err := Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Fatalf("decoded differs (-in +out):\n%s", diff)
	}
	again, err := Encode(out)
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != string(body) {
		t.Fatal("the same objects gave other bytes")
	}
}

func TestDecodeNamesTheBrokenLine(t *testing.T) {
	if _, err := Decode([]byte("{\"object\":{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\"}}\n{broken\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Fatalf("got %v, want an error that names line 2", err)
	}
}
