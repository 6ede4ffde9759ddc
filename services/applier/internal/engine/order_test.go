package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestStagesAndOrder(t *testing.T) {
	e := New(nil, Options{StageKinds: []schema.GroupKind{{Group: "example.com", Kind: "Early"}}})
	var items []*item
	for _, gk := range []schema.GroupKind{
		{Group: "example.com", Kind: "Late"}, {Group: "apps", Kind: "Deployment"}, {Kind: "Service"}, {Kind: "ConfigMap"},
		{Group: "example.com", Kind: "Early"}, {Group: "storage.k8s.io", Kind: "StorageClass"},
		{Group: rbac, Kind: "ClusterRole"}, {Kind: "Namespace"}, {Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"},
		{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"},
	} {
		items = append(items, &item{ref: cluster.Ref{Group: gk.Group, Kind: gk.Kind}})
	}
	var got [][]string
	for _, stage := range e.split(items) {
		var names []string
		for _, i := range stage {
			names = append(names, i.ref.Kind)
		}
		got = append(got, names)
	}
	want := [][]string{
		{"CustomResourceDefinition", "Namespace", "ClusterRole"}, {"StorageClass"}, {"Early"},
		{"ConfigMap", "Service", "Deployment", "Late", "ValidatingWebhookConfiguration"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeletionOrder(t *testing.T) {
	kinds := []string{
		"CustomResourceDefinition", "Namespace", "ServiceAccount", "RoleBinding", "Secret", "Deployment", "Widget",
		"ValidatingWebhookConfiguration",
	}
	for _, tt := range []struct {
		why          string
		impersonated bool
		want         []string
	}{
		{"what others need goes last", false, []string{
			"ValidatingWebhookConfiguration", "Widget", "Deployment", "Secret", "RoleBinding", "ServiceAccount", "Namespace", "CustomResourceDefinition",
		}},
		{"rights that the deletions may need go after everything, the account before them", true, []string{
			"ValidatingWebhookConfiguration", "Widget", "Deployment", "Secret", "Namespace", "CustomResourceDefinition", "ServiceAccount", "RoleBinding",
		}},
	} {
		req := PruneRequest{}
		if tt.impersonated {
			req.Own = &cluster.Client{}
		}
		got := slices.Clone(kinds)
		slices.SortStableFunc(got, func(a, b string) int { return req.rank(cluster.Ref{Kind: a}) - req.rank(cluster.Ref{Kind: b}) })
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.why, diff)
		}
	}
}

func TestMask(t *testing.T) {
	secret := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"data": map[string]any{"a": "aHVudGVyMg==", "b": "not base64!", "short": "MQ=="},
	}}
	got := mask(`Invalid value: "hunter2" (aHVudGVyMg==), "not base64!", 1`, secret)
	if want := `Invalid value: "*****" (*****), "*****", 1`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	secret.SetKind("ConfigMap")
	if got := mask("hunter2", secret); got != "hunter2" {
		t.Errorf("a ConfigMap's text became %s", got)
	}
}

func TestNeedsAddress(t *testing.T) {
	for _, tt := range []struct {
		why  string
		spec map[string]any
		want bool
	}{
		{"the default type", nil, true},
		{"headless", map[string]any{"clusterIP": "None"}, false},
		{"a name only", map[string]any{"type": "ExternalName"}, false},
		{"a load balancer", map[string]any{"type": "LoadBalancer"}, true},
	} {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Service", "spec": tt.spec}}
		if got := needsAddress(o); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.why, got, tt.want)
		}
	}
}

func TestInvalidBundleIsDropped(t *testing.T) {
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"spec": map[string]any{"conversion": map[string]any{"webhook": map[string]any{"clientConfig": map[string]any{"caBundle": "Cg==", "url": "u"}}}},
	}}
	dropInvalidBundle(o)
	got, _, _ := unstructured.NestedMap(o.Object, "spec", "conversion", "webhook", "clientConfig")
	if diff := cmp.Diff(map[string]any{"url": "u"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestErrorTextNamesTheObjectOnce(t *testing.T) {
	i := &item{ref: cluster.Ref{Version: "v1", Kind: "ConfigMap", Name: "x"}}
	err := applyError(i, errors.New("boom"))
	if got, want := err.Error(), "ConfigMap/x apply failed: boom"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A Secret of very many values, of which the API server says very much, must not keep a processor busy for long.
func TestMaskingIsBounded(t *testing.T) {
	data, text := map[string]any{}, strings.Builder{}
	for n := range 50_000 {
		data[fmt.Sprint("k", n)] = fmt.Sprint("hunter", n)
		fmt.Fprintf(&text, "hunter%d is no value; ", n)
	}
	secret := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "stringData": data}}
	if got := mask(text.String(), secret); strings.Contains(got, "hunter") || strings.Contains(got, "is no value") || !strings.Contains(got, "not told") {
		t.Errorf("got %.200s", got)
	}
	if got := mask("hunter7 is no value", secret); got != masked+" is no value" {
		t.Errorf("got %.200s", got)
	}
}
