package applier_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// species is a kind of object that random edits are made of.
type species struct {
	apiVersion, kind string
	// body is the manifest after its metadata, at a value.
	body string
	// owned are patches of fields of the body, to another value; foreign are
	// patches that add a field of a name. VALUE and NAME stand for them.
	owned, foreign []string
	// merges says that the kind has no strategic merge patch.
	merges bool
}

// metadata are patches that fit every kind.
var metadata = struct{ owned, foreign []string }{
	owned: []string{
		`{"metadata":{"labels":{"owned":"VALUE"}}}`, `{"metadata":{"labels":{"owned":null}}}`,
		`{"metadata":{"annotations":{"owned":"VALUE"}}}`,
		`{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":null,"kustomize.toolkit.fluxcd.io/namespace":null}}}`,
	},
	foreign: []string{`{"metadata":{"labels":{"NAME":"x"}}}`, `{"metadata":{"annotations":{"NAME":"x"}}}`},
}

const workload = `{"spec":{"template":{"spec":{"containers":[{"name":"c",%s}]}}}}`

// allSpecies are the kinds of every app of the test. WIDGET stands for the group of
// the custom resource.
var allSpecies = []species{
	{
		apiVersion: "v1", kind: "ConfigMap", body: `data: {v: "VALUE", w: "w-VALUE"}`,
		owned:   []string{`{"data":{"v":"VALUE"}}`, `{"data":{"w":null}}`},
		foreign: []string{`{"data":{"NAME":"x"}}`},
	},
	{
		apiVersion: "v1", kind: "Secret", body: `stringData: {v: "VALUE"}`,
		owned:   []string{`{"data":{"v":"Zm9yZWlnbg=="}}`, `{"data":{"v":null}}`},
		foreign: []string{`{"data":{"NAME":"eA=="}}`},
	},
	{
		apiVersion: "apps/v1", kind: "Deployment",
		body: `spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}, annotations: {owned: "VALUE"}}, ` +
			`spec: {containers: [{name: c, image: "image:VALUE", env: [{name: V, value: "VALUE"}]}]}}}`,
		owned: []string{
			fmt.Sprintf(workload, `"image":"other:VALUE"`), fmt.Sprintf(workload, `"env":[{"name":"V","value":"foreign-VALUE"}]`),
			`{"spec":{"template":{"metadata":{"annotations":{"owned":"foreign-VALUE"}}}}}`,
		},
		foreign: []string{
			fmt.Sprintf(workload, `"env":[{"name":"NAME","value":"x"}]`),
			`{"spec":{"template":{"metadata":{"annotations":{"NAME":"x"}}}}}`,
		},
	},
	{
		apiVersion: "v1", kind: "Service", body: `spec: {clusterIP: None, selector: {a: "VALUE"}, ports: [{name: http, port: 80, targetPort: 8080}]}`,
		owned: []string{`{"spec":{"selector":{"a":"foreign-VALUE"}}}`, `{"spec":{"ports":[{"name":"http","port":80,"targetPort":8081}]}}`},
	},
	{
		apiVersion: "v1", kind: "ServiceAccount", body: `automountServiceAccountToken: false`,
		owned:   []string{`{"automountServiceAccountToken":true}`, `{"automountServiceAccountToken":null}`},
		foreign: []string{`{"secrets":[{"name":"NAME"}]}`},
	},
	{
		apiVersion: "WIDGET/v1", kind: "Widget", body: `spec: {v: "VALUE", deep: {list: ["VALUE", b]}}`, merges: true,
		owned:   []string{`{"spec":{"v":"VALUE"}}`, `{"spec":{"deep":{"list":["foreign-VALUE"]}}}`, `{"spec":{"deep":{"list":null}}}`},
		foreign: []string{`{"spec":{"NAME":"x"}}`, `{"spec":{"deep":{"NAME":"x"}}}`},
	},
}

func (s species) patchType() types.PatchType {
	if s.merges {
		return types.MergePatchType
	}
	return types.StrategicMergePatchType
}

// manifest of an object of the species at a value.
func (s species) manifest(name, value string) string {
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: NS, labels: {owned: l-%s}, annotations: {owned: a-%s}}\n%s\n",
		s.apiVersion, s.kind, name, value, value, strings.ReplaceAll(s.body, "VALUE", value))
}

// wanted is what the API server keeps of a manifest.
func wanted(t *testing.T, manifest, namespace string) map[string]any {
	t.Helper()
	u := unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(manifest, "NS", namespace)), &u.Object); err != nil {
		t.Fatal(err)
	}
	if text, ok := u.Object["stringData"].(map[string]any); ok {
		data := map[string]any{}
		for key, value := range text {
			data[key] = base64.StdEncoding.EncodeToString([]byte(fmt.Sprint(value)))
		}
		delete(u.Object, "stringData")
		u.Object["data"] = data
	}
	return u.Object
}

// fields is a patch as a tree.
func fields(t *testing.T, patch string) map[string]any {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal([]byte(patch), &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// missing says which field of want live has not, "" when it has all. Items of a list
// of objects are found by their names.
func missing(want, live any) string {
	switch want := want.(type) {
	case map[string]any:
		live, _ := live.(map[string]any)
		for key, value := range want {
			has, there := live[key]
			if !there {
				return "/" + key + " is absent"
			}
			if m := missing(value, has); m != "" {
				return "/" + key + m
			}
		}
		return ""
	case []any:
		live, _ := live.([]any)
		if len(want) > 0 && nameOf(want[0]) != "" {
			for _, item := range want {
				if m := missing(item, named(live, nameOf(item))); m != "" {
					return "/" + nameOf(item) + m
				}
			}
			return ""
		}
	}
	if fmt.Sprint(want) != fmt.Sprint(live) {
		return fmt.Sprintf(" is %v, not %v", live, want)
	}
	return ""
}

// overlay sets the fields of a patch, and removes those that are null there.
func overlay(dst map[string]any, patch map[string]any) {
	for key, value := range patch {
		switch value := value.(type) {
		case nil:
			delete(dst, key)
			continue
		case map[string]any:
			if inner, ok := dst[key].(map[string]any); ok {
				overlay(inner, value)
				continue
			}
		case []any:
			if list, ok := dst[key].([]any); ok && len(value) > 0 && nameOf(value[0]) != "" {
				for _, item := range value {
					if inner, ok := named(list, nameOf(item)).(map[string]any); ok {
						overlay(inner, item.(map[string]any))
						continue
					}
					list = append(list, item)
				}
				dst[key] = list
				continue
			}
		}
		dst[key] = value
	}
}

func nameOf(item any) string {
	m, _ := item.(map[string]any)
	name, _ := m["name"].(string)
	return name
}

func named(list []any, name string) any {
	for _, item := range list {
		if nameOf(item) == name {
			return item
		}
	}
	return nil
}
