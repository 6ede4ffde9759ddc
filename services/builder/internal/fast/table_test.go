package fast_test

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/types"

	"github.com/sluice-gitops/sluice/services/builder/internal/fast/treetest"
)

// kustomization is a root: what package kustomize asks of it, and fields.
func kustomization(fields string) string {
	return "buildMetadata: [" + types.OriginAnnotations + "]\n" + fields
}

func manifest(apiVersion, kind, name, rest string) string {
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n%s", apiVersion, kind, name, rest)
}

const component = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"

var (
	configA  = manifest("v1", "ConfigMap", "a", "data: {k: v}\n")
	secretA  = manifest("v1", "Secret", "a", "stringData: {k: v}\n")
	accountA = manifest("v1", "ServiceAccount", "a", "")
	workload = manifest("apps/v1", "Deployment", "d", "spec: {template: {spec: {serviceAccountName: a, containers: [{name: c, image: app, envFrom: [{configMapRef: {name: a}}]}]}}}\n")
)

func TestTreesThatAreBuiltFast(t *testing.T) {
	tests := []struct {
		reason string
		files  treetest.Files
	}{
		{"namespace leaves cluster-scoped kinds, renames Namespaces and reaches into CRDs and APIServices", treetest.Files{
			"kustomization.yaml": kustomization("resources: [a.yaml]\nnamespace: x\n"),
			"a.yaml": configA + "---\n" + manifest("v1", "Namespace", "old", "") + "---\n" + manifest("rbac.authorization.k8s.io/v1", "ClusterRole", "r", "rules: []\n") +
				"---\n" + manifest("apiregistration.k8s.io/v1", "APIService", "s", "spec: {service: {name: svc}}\n") +
				"---\n" + manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition", "c", "spec: {conversion: {webhook: {clientConfig: {service: {name: s, namespace: o}}}}}\n") +
				"---\n" + manifest("example.com/v1", "Thing", "t", "")}},
		{"namespace changes the subjects named default and those it moves", treetest.Files{
			"kustomization.yaml": kustomization("resources: [a.yaml]\nnamespace: x\n"),
			"a.yaml": accountA + "---\n" + manifest("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "b",
				"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: r}\nsubjects: [{kind: ServiceAccount, name: default}, {kind: ServiceAccount, name: a, namespace: default}, {kind: ServiceAccount, name: other, namespace: y}, {kind: User, name: a}]\n")}},
		{"a subject's namespace is looked for among the old ones when there is any such", treetest.Files{
			"kustomization.yaml":     kustomization("resources: [one, two, bindings.yaml]\n"),
			"one/kustomization.yaml": "resources: [a.yaml]\nnamespace: two\n", "one/a.yaml": accountA + "  namespace: one\n",
			"two/kustomization.yaml": "resources: [b.yaml]\nnamespace: three\n", "two/b.yaml": configA + "---\n" + manifest("v1", "ConfigMap", "b", "") + "  namespace: two\n",
			"bindings.yaml": manifest("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "b",
				"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: r}\nsubjects: [{kind: ServiceAccount, name: a, namespace: two}, {kind: ServiceAccount, name: a, namespace: one}]\n")}},
		{"the same for a binding in a namespace, and an account with a new name", treetest.Files{
			"kustomization.yaml":     kustomization("resources: [one, two.yaml]\n"),
			"one/kustomization.yaml": "resources: [a.yaml]\nnamespace: two\nnamePrefix: p-\n", "one/a.yaml": accountA + "  namespace: one\n",
			"two.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: b, namespace: two}\n" +
				"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}\nsubjects: [{kind: ServiceAccount, name: a, namespace: two}]\n"}},
		{"the same name in several namespaces is no conflict", treetest.Files{
			"kustomization.yaml":     kustomization("resources: [one, two]\n"),
			"one/kustomization.yaml": "resources: [../base]\nnamespace: one\n", "two/kustomization.yaml": "resources: [../base]\nnamespace: two\n",
			"base/kustomization.yaml": "resources: [a.yaml]\n", "base/a.yaml": accountA + "---\n" + configA + "---\n" + workload}},
		{"names with hashes reach workloads, across bases and components", treetest.Files{
			"kustomization.yaml":      kustomization("resources: [base]\ncomponents: [comp]\nnamespace: x\n"),
			"base/kustomization.yaml": "resources: [d.yaml]\nconfigMapGenerator: [{name: a, literals: [k=v]}]\n", "base/d.yaml": workload,
			"comp/kustomization.yaml": component + "configMapGenerator: [{name: a, behavior: merge, literals: [l=w]}]\nsecretGenerator: [{name: a, envs: [e.env]}]\n",
			"comp/e.env":              "A=1\n"}},
		{"a generator replaces and merges what a file brought", treetest.Files{
			"kustomization.yaml": kustomization("resources: [a.yaml]\nconfigMapGenerator: [{name: a, behavior: merge, literals: [l=w]}]\nsecretGenerator: [{name: a, behavior: merge, literals: [l=w]}]\n"),
			"a.yaml":             configA + "---\n" + secretA}},
		{"prefix and suffix rename what refers, too", treetest.Files{
			"kustomization.yaml":      kustomization("resources: [base]\nnamePrefix: p-\nnameSuffix: -s\n"),
			"base/kustomization.yaml": "resources: [a.yaml]\nnamePrefix: q-\n", "base/a.yaml": accountA + "---\n" + configA + "---\n" + workload}},
		{"labels in all their forms", treetest.Files{
			"kustomization.yaml": kustomization("resources: [d.yaml]\ncommonLabels: {a: '1'}\nlabels: [{pairs: {b: x}}, {pairs: {c: x}, includeSelectors: true}, {pairs: {d: x}, includeTemplates: true}, {pairs: {e: x}, fields: [{path: spec/x, create: true}]}]\n"),
			"d.yaml":             workload + "---\n" + manifest("v1", "Service", "s", "spec: {selector: {}}\n")}},
		{"patches in all their forms", treetest.Files{
			"kustomization.yaml": kustomization("resources: [d.yaml, a.yaml]\npatchesStrategicMerge: [m.yaml]\npatchesJson6902: [{target: {version: v1, kind: ConfigMap, name: a}, path: j.yaml}]\n" +
				"patches: [{path: p.yaml}, {path: t.yaml, target: {kind: 'Deploy.*'}}, {target: {kind: ConfigMap}, patch: '[{\"op\": \"test\", \"path\": \"/data/k\", \"value\": \"v\"}]'}, {path: r.yaml, options: {allowNameChange: true}, target: {kind: ServiceAccount}}]\n"),
			"d.yaml": workload, "a.yaml": configA + "---\n" + accountA,
			"m.yaml": manifest("apps/v1", "Deployment", "d", "spec: {replicas: 2}\n"),
			"p.yaml": manifest("apps/v1", "Deployment", "d", "spec: {paused: true}\n") + "---\n" + manifest("v1", "ConfigMap", "a", "data: {l: w}\n"),
			"t.yaml": manifest("apps/v1", "Deployment", "any", "spec: {template: {spec: {containers: [{name: c, tty: true}]}}}\n"),
			"j.yaml": "- {op: add, path: /data/m, value: x}\n", "r.yaml": manifest("v1", "ServiceAccount", "renamed", "")}},
		{"a patch deletes", treetest.Files{
			"kustomization.yaml": kustomization("resources: [a.yaml, d.yaml]\npatches: [{patch: '{$patch: delete, apiVersion: v1, kind: ConfigMap, metadata: {name: a}}'}]\n"),
			"a.yaml":             configA, "d.yaml": workload}},
		{"an object without its origin is said to come from the transformer", treetest.Files{
			"kustomization.yaml": kustomization("resources: [a.yaml]\nnamespace: x\npatches: [{patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: a, annotations: null}}'}]\n"),
			"a.yaml":             configA}},
		{"images and replicas", treetest.Files{
			"kustomization.yaml": kustomization("resources: [d.yaml]\nimages: [{name: app, newName: b, newTag: '1'}]\nreplicas: [{name: d, count: 0}]\n"),
			"d.yaml":             workload + "---\n" + manifest("example.com/v1", "Thing", "t", "spec: {containers: [{image: 'app:2'}]}\n")}},
		{"lists, empty documents, comments, anchors, odd scalars and Windows lines", treetest.Files{
			"kustomization.yaml": kustomization("resources: [a.yaml, b.yaml]\nnamespace: x\n"),
			"a.yaml":             "# head\n---\n---\napiVersion: v1\nkind: ConfigMapList\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: l}}\n",
			"b.yaml": strings.ReplaceAll("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: o # the name\n  annotations: {n: 1}\n"+
				"data: &d {a: yes, b: 1e3, c: 0o7, d: 2001-01-01, e: '1', f: ~}\nbinaryData: *d\n", "\n", "\r\n")}},
		{"objects for tools are left out", treetest.Files{
			"kustomization.yaml": kustomization("resources: [a.yaml, b.yaml]\n"), "a.yaml": configA,
			"b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, annotations: {config.kubernetes.io/local-config: 'true'}}\n"}},
		{"a nested folder, deprecated fields and other names of the file", treetest.Files{
			"kustomization.yml": kustomization("bases: [b]\nimageTags: [{name: app, newTag: '3'}]\n"), "b/Kustomization": "resources: [c/d]\n",
			"b/c/d/kustomization.yaml": "resources: [x.yaml]\nmetadata: {name: deep}\n", "b/c/d/x.yaml": workload}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			if wrong, left := same(t, tt.files, ""); wrong != nil || left != nil {
				t.Errorf("kustomize says %v, fast says %v", wrong, left)
			}
		})
	}
}

func TestTreesThatAreLeftToKustomize(t *testing.T) {
	tests := []struct {
		reason, fields string
		more           treetest.Files
	}{
		{"vars", "vars: [{name: V, objref: {apiVersion: v1, kind: ConfigMap, name: a}}]", nil},
		{"replacements", "replacements: [{source: {kind: ConfigMap, name: a}, targets: []}]", nil},
		{"an order", "sortOptions: {order: legacy}", nil},
		{"definitions of types", "crds: [crd.json]", treetest.Files{"crd.json": "{}"}},
		{"configuration of transformers", "configurations: [c.yaml]", treetest.Files{"c.yaml": "namePrefix: [{path: metadata/name}]\n"}},
		{"a transformer of its own", "transformers: [t.yaml]", treetest.Files{"t.yaml": "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: t}\nprefix: p-\nfieldSpecs: [{path: metadata/name}]\n"}},
		{"a validator, even if it does nothing", "validators: [t.yaml]", treetest.Files{"t.yaml": "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: t}\nfieldSpecs: [{path: metadata/name}]\n"}},
		{"a schema", "openapi: {version: v1.0.0}", nil},
		{"notes of kustomize's that stay", "buildMetadata: [originAnnotations, transformerAnnotations]", nil},
		{"annotations that mean something to kustomize", "commonAnnotations: {config.kubernetes.io/x: y}", nil},
		{"the same in a patch", "patches: [{path: p.yaml}]", treetest.Files{"p.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {config.kubernetes.io/origin: x}}\n"}},
		{"a JSON patch that looks at all annotations", "patches: [{target: {kind: ConfigMap}, patch: '[{\"op\": \"copy\", \"from\": \"/metadata/annotations\", \"path\": \"/data/n\"}]'}]", nil},
		{"an object with notes of kustomize's", "resources: [a.yaml, n.yaml]", treetest.Files{"n.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: n, annotations: {alpha.config.kubernetes.io/transformations: x}}\n"}},
		{"an object twice", "resources: [a.yaml, again.yaml]", treetest.Files{"again.yaml": configA}},
		{"two objects that a namespace makes one", "resources: [a.yaml, again.yaml]\nnamespace: x", treetest.Files{"again.yaml": configA + "  namespace: y\n"}},
		{"two objects that a patch makes one", "resources: [a.yaml, b.yaml]\npatches: [{target: {name: b}, patch: '[{\"op\": \"replace\", \"path\": \"/metadata/name\", \"value\": \"a\"}]'}]",
			treetest.Files{"b.yaml": manifest("v1", "ConfigMap", "b", "")}},
		{"a file that is not there", "resources: [gone.yaml]", nil},
		{"a file that is no YAML", "resources: [bad.yaml]", treetest.Files{"bad.yaml": "a: b: c"}},
		{"a patch for nothing", "patches: [{patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: gone}}'}]", nil},
		{"replicas of nothing", "replicas: [{name: gone, count: 1}]", nil},
		{"a name that could mean two objects", "resources: [one, two, b.yaml]", treetest.Files{
			"one/kustomization.yaml": "resources: [../base]\nnamespace: one\n", "two/kustomization.yaml": "resources: [../base]\nnamespace: two\n",
			"base/kustomization.yaml": "resources: [a.yaml]\n", "base/a.yaml": accountA,
			"b.yaml": manifest("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "b", "roleRef: {kind: ClusterRole, name: r}\nsubjects: [{kind: ServiceAccount, name: a}]\n")}},
		{"a loop", "resources: [b]", treetest.Files{"b/kustomization.yaml": "resources: [../b/../c]\n", "c/kustomization.yaml": "resources: [../b]\n"}},
		{"a component as a base", "resources: [c]", treetest.Files{"c/kustomization.yaml": component + "namespace: x\n"}},
		{"a base as a component", "components: [c]", treetest.Files{"c/kustomization.yaml": "namespace: x\n"}},
		{"a path that two lines made", "resources: ['b - ../c']", treetest.Files{"c/kustomization.yaml": "namespace: x\n"}},
		{"an absolute path", "resources: [/tree/a.yaml]", nil},
		{"an address", "resources: ['http://127.0.0.1:1/a.yaml']", nil},
		{"a subject that makes kustomize panic", "resources: [b.yaml]\nnamespace: x", treetest.Files{
			"b.yaml": manifest("rbac.authorization.k8s.io/v1", "RoleBinding", "b", "subjects: [text]\n")}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			fields := tt.fields
			if !strings.Contains(fields, "resources:") {
				fields += "\nresources: [a.yaml]"
			}
			if !strings.Contains(fields, "buildMetadata:") {
				fields = kustomization(fields)
			}
			files := treetest.Files{"kustomization.yaml": fields, "a.yaml": configA}
			for name, body := range tt.more {
				files[name] = body
			}
			if _, left := same(t, files, ""); left == nil {
				t.Error("built fast")
			}
		})
	}
}
