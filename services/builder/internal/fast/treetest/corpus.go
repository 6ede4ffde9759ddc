package treetest

import (
	"fmt"
	"strings"
)

// Repository is a repository in the shape that teams give theirs.
type Repository struct {
	Shape string
	Files Files
	// Folder is what is built.
	Folder string
	// Objects is how many it has.
	Objects int
}

// Corpus are repositories in the shapes that teams use.
func Corpus() []Repository {
	return []Repository{environments(), tenants(), operator(), {"5,000 objects in one overlay", Big(5_000), "app", 5_000}}
}

// environments is an app with a base, a component, and an overlay a stage that
// generates its configuration.
func environments() Repository {
	files := Files{
		"apps/shop/base/kustomization.yaml": `resources: [app.yaml, rbac.yaml]
configMapGenerator:
- name: settings
  files: [settings.toml]
secretGenerator:
- name: token
  literals: [token=change-me]
labels:
- pairs: {app.kubernetes.io/part-of: shop}
  includeTemplates: true
`,
		"apps/shop/base/settings.toml": "[http]\nport = 8080\n",
		"apps/shop/base/app.yaml": strings.NewReplacer("NAME", "shop", "        envFrom:\n", "        envFrom:\n        - configMapRef:\n            name: settings\n        - secretRef:\n            name: token\n").
			Replace(app),
		"apps/shop/base/rbac.yaml": `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: shop}
rules:
- {apiGroups: [""], resources: [configmaps], resourceNames: [settings], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: shop}
subjects:
- {kind: ServiceAccount, name: shop, namespace: default}
`,
		"components/debug/kustomization.yaml": `apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
configMapGenerator:
- name: settings
  behavior: merge
  literals: [debug=true]
patches:
- target: {kind: Deployment}
  patch: |
    - {op: add, path: /spec/template/spec/containers/0/env, value: [{name: DEBUG, value: "1"}]}
`,
		"clusters/staging/shop/kustomization.yaml": `namespace: shop-staging
resources: [../../../apps/shop/base, namespace.yaml]
components: [../../../components/debug]
images:
- {name: registry.example.com/app, newTag: 1.3.0-rc1}
replicas:
- {name: shop, count: 1}
patches:
- path: host.yaml
`,
		"clusters/staging/shop/namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop-staging}\n",
		"clusters/staging/shop/host.yaml": `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules:
  - host: shop.staging.example.com
`,
	}
	return Repository{"a base, an overlay a stage, a component and generated configuration", files, "clusters/staging/shop", 10}
}

// tenants is one base in many namespaces, with bindings in each.
func tenants() Repository {
	const count = 40
	files := Files{
		"base/kustomization.yaml": "resources: [account.yaml, quota.yaml]\n",
		"base/account.yaml": `apiVersion: v1
kind: ServiceAccount
metadata: {name: reconciler}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reconciler}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: admin}
subjects: [{kind: ServiceAccount, name: reconciler}, {kind: Group, name: team, apiGroup: rbac.authorization.k8s.io}]
`,
		"base/quota.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: tenant}\n---\napiVersion: v1\nkind: ResourceQuota\nmetadata: {name: quota}\nspec: {hard: {pods: '10'}}\n",
	}
	var all []string
	for i := range count {
		name := fmt.Sprintf("tenant-%02d", i)
		all = append(all, "../"+name)
		files[name+"/kustomization.yaml"] = fmt.Sprintf("namespace: %s\nresources: [../base]\ncommonAnnotations: {tenant: %q}\n", name, name)
	}
	files["all/kustomization.yaml"] = "resources: [" + strings.Join(all, ", ") + "]\n"
	return Repository{"one base in many namespaces", files, "all", 4 * count}
}

// operator is what a Helm chart leaves behind: types, webhooks and roles for the
// whole cluster, and objects of the types.
func operator() Repository {
	const types = 25
	var crds, custom strings.Builder
	for i := range types {
		fmt.Fprintf(&crds, `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: kind%[1]ds.example.com
  annotations: {controller-gen.kubebuilder.io/version: v0.21.0}
  labels: {helm.sh/chart: operator-1.2.3, app.kubernetes.io/managed-by: Helm}
spec:
  group: example.com
  names: {kind: Kind%[1]d, plural: kind%[1]ds}
  scope: Namespaced
  conversion: {strategy: Webhook, webhook: {clientConfig: {service: {name: operator, namespace: system, path: /convert}}, conversionReviewVersions: [v1]}}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        description: |-
          Kind%[1]d is one of many.

          It says what it says: "so".
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {image: {type: string, default: "yes"}, ratio: {type: number, minimum: 0.5, maximum: 1e3}}}
`, i)
		fmt.Fprintf(&custom, "---\napiVersion: example.com/v1\nkind: Kind%d\nmetadata: {name: it}\nspec: {image: app:1, ratio: 1.50}\n", i)
	}
	files := Files{
		"operator/kustomization.yaml": "namespace: operators\nresources: [crds.yaml, cluster.yaml, custom.yaml]\ncommonLabels: {team: platform}\n",
		"operator/crds.yaml":          crds.String(),
		"operator/custom.yaml":        custom.String(),
		"operator/cluster.yaml": strings.ReplaceAll(app, "NAME", "operator") + `---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: operator}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: operator}
subjects: [{kind: ServiceAccount, name: operator, namespace: default}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: operator}
webhooks: [{name: v.example.com, clientConfig: {service: {name: operator, namespace: default}}, sideEffects: None, admissionReviewVersions: [v1]}]
`,
	}
	return Repository{"types, webhooks and roles as a chart renders them", files, "operator", 2*types + 8}
}
