package treetest

import "strings"

// manifest is a file with some objects, of any kind and in any style.
func (g *maker) manifest() string {
	var out strings.Builder
	for i := range 1 + g.IntN(4) {
		if i > 0 {
			out.WriteString(g.pick("---\n", "--- # next\n", "---\n---\n", "---\n# nothing here\n---\n"))
		}
		object := g.object()
		if g.often(6) {
			object = "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(object), "\n", "\n  ") + "\n"
		}
		out.WriteString(object)
	}
	text := out.String()
	if g.often(5) {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return text
}

// object is one object, with what kustomize knows of its kind: references, templates,
// selectors, scope.
func (g *maker) object() string {
	body := g.pick(objects...)
	name := g.name()
	meta := "name: " + name
	if strings.Contains(body, "kind: Deployment\n") {
		g.deployments = append(g.deployments, name)
	}
	if namespace := g.namespace(); namespace != "" {
		meta += "\n  namespace: " + namespace
	}
	meta += g.pick("", "", "\n  labels: {app: a}", "\n  annotations: {k: \"v\", n: '1'}", "\n  annotations: {}", "\n  labels:",
		"\n  annotations: {config.kubernetes.io/local-config: \"true\"}", "\n  # why\n  labels: {app: b} # so")
	body = strings.Replace(body, "META", meta, 1)
	for strings.Contains(body, "REF") {
		body = strings.Replace(body, "REF", g.reference(), 1)
	}
	for strings.Contains(body, "NS") {
		body = strings.Replace(body, "NS", g.pick("one", "two", "default", "three"), 1)
	}
	for strings.Contains(body, "VALUE") {
		body = strings.Replace(body, "VALUE", g.pick(scalars...), 1)
	}
	return body
}

// reference is a name that something has, maybe.
func (g *maker) reference() string {
	if len(g.generated) > 0 && g.often(30) {
		return g.pick(g.generated...)
	}
	return g.pick("a", "b", "c") + g.pick("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "20", "25", "30")
}

var scalars = []string{
	"x", "yes", `"yes"`, "1e3", "0o7", "010", "2001-01-01", `"1"`, "'null'", "~", "null", "", "true", "1.50", `"a\tb"`, "|\n    x\n     y\n",
	`""`, ">-\n    folded\n    text\n", "'it''s'", "!!str 1", `"\u0085"`, "12:30", "[]", "{}", "[a, 1, null]", "{b: c}",
}

var objects = []string{
	"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  META\ndata:\n  k: VALUE\n  l: VALUE\n",
	"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  META\ndata: &d {a: b}\nbinaryData: *d\n",
	"apiVersion: v1\nkind: Secret\nmetadata:\n  META\nstringData: {k: VALUE}\n",
	"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  META\nimagePullSecrets: [{name: REF}]\n",
	"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  META\n",
	"apiVersion: v1\nkind: Service\nmetadata:\n  META\nspec:\n  selector: {app: a}\n  ports: [{port: 80}]\n",
	"kind: Namespace\napiVersion: v1\nmetadata:\n  META\n",
	`apiVersion: apps/v1
kind: Deployment
metadata:
  META
spec:
  replicas: 1
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec:
      serviceAccountName: REF
      volumes: [{name: v, configMap: {name: REF}}, {name: w, secret: {secretName: REF}}]
      containers:
      - name: main # the one
        image: app:1
        envFrom: [{configMapRef: {name: REF}}]
        env: [{name: A, value: VALUE}]
      - {name: side, image: side}
`,
	`apiVersion: apps/v1
kind: StatefulSet
metadata:
  META
spec:
  serviceName: REF
  selector: {matchLabels: {app: a}}
  template: {metadata: {labels: {app: a}}, spec: {containers: [{name: main, image: "app:1"}]}}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {storageClassName: REF}}]
`,
	"apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  META\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: app, envFrom: [{secretRef: {name: REF}}]}]}}}}}\n",
	"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  META\nspec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: REF}}\n",
	"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  META\nspec:\n  tls: [{secretName: REF}]\n  rules: [{http: {paths: [{path: /, backend: {service: {name: REF}}}]}}]\n",
	"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  META\nspec: {podSelector: {matchLabels: {app: a}}}\n",
	"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  META\nrules: [{apiGroups: [''], resources: [configmaps], resourceNames: [REF, REF], verbs: [get]}]\n",
	"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  META\nrules: [{apiGroups: [''], resources: [secrets], resourceNames: [REF]}]\n",
	"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata:\n  META\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: REF}\nsubjects: [{kind: ServiceAccount, name: REF}, {kind: ServiceAccount, name: default, namespace: NS}]\n",
	"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata:\n  META\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: REF}\nsubjects:\n- {kind: ServiceAccount, name: REF, namespace: NS}\n- {kind: ServiceAccount, name: REF, namespace: NS}\n",
	"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  META\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: REF}\nsubjects: [{kind: ServiceAccount, name: REF, namespace: NS}, {kind: User, name: REF}]\n",
	"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata:\n  META\nwebhooks: [{name: w, clientConfig: {service: {name: REF, namespace: NS}}}]\n",
	"apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata:\n  META\nspec: {service: {name: REF, namespace: NS}}\n",
	"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  META\nspec:\n  conversion: {webhook: {clientConfig: {service: {namespace: NS, name: REF}}}}\n  names: {kind: Thing}\n  versions: [{schema: {openAPIV3Schema: {properties: {containers: {items: {properties: {image: {}}}}}}}}]\n",
	"apiVersion: example.com/v1\nkind: Thing\nmetadata:\n  META\nspec:\n  containers: [{image: 'app:1'}]\n  value: VALUE\n  more: [VALUE]\n",
	"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  META\nspec: {volumeName: REF, storageClassName: REF}\n",
	"apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  META\nspec: {selector: {matchLabels: {app: a}}}\n",
	"# a comment first\napiVersion: v1\nkind: Pod\nmetadata:\n  META\nspec: {containers: [{name: c, image: app}], serviceAccountName: REF}\n",
}
