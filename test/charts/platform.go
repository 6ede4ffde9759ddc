package charts

// platform are charts of what clusters are set up with.
func platform() map[string]Chart {
	return map[string]Chart{
		"gateway":   {gateway(), []string{"", "tls: false\nhosts: {a.example.com: {paths: [/]}}\n", "annotations: {example.com/rewrite: \"/$1\", example.com/size: \"0\"}\n"}, true},
		"operator":  {operator(), []string{"", "instances: [one, two]\nwatch: \"\"\n"}, true},
		"policies":  {policies(), []string{"", "quota: {pods: \"10\", requests.cpu: 4}\nopen: true\n"}, true},
		"webhook":   {webhook(), []string{"", "failurePolicy: Fail\nselector: {matchLabels: {nobody: has}}\n"}, true},
		"storage":   {storage(), []string{"", "claims: {a: 1Gi, b: 2Gi}\n"}, true},
		"roles":     {roles(), []string{"", "users: {}\n", "users: {eve: [viewer, editor], bob: []}\n"}, true},
		"kept":      {kept(), []string{"", "keep: false\n"}, true},
		"endpoints": {endpoints(), []string{"", "address: 192.0.2.7\nname: db.example.com\n"}, true},
	}
}

func gateway() map[string]string {
	return map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: gateway\nversion: 4.1.0\n",
		"values.yaml": `tls: true
annotations: {}
hosts:
  a.example.com: {paths: [/, /api]}
  b.example.com: {paths: [/v1], service: other, port: 9090}
`,
		"templates/ingress.yaml": `{{- $fullName := printf "%s-gateway" .Release.Name -}}
{{- range $host, $c := .Values.hosts }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ $fullName }}-{{ $host | replace "." "-" }}
  {{- if or $.Values.annotations $.Values.tls }}
  annotations:
    {{- if $.Values.tls }}
    example.com/issuer: "letsencrypt"
    {{- end }}
    {{- range $k, $v := $.Values.annotations }}
    {{ $k }}: {{ $v | quote }}
    {{- end }}
  {{- end }}
spec:
  ingressClassName: public
  {{- if $.Values.tls }}
  tls:
  - hosts: [{{ $host | quote }}]
    secretName: {{ $host | replace "." "-" }}-tls
  {{- end }}
  rules:
  - host: {{ $host }}
    http:
      paths:
      {{- range $c.paths }}
      - path: {{ . }}
        pathType: {{ eq . "/" | ternary "Prefix" "ImplementationSpecific" }}
        backend: {service: {name: {{ $c.service | default $fullName }}, port: {number: {{ $c.port | default 80 }}}}}
      {{- end }}
{{- end }}
`,
		"templates/service.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: {{ .Release.Name }}-gateway}\nspec:\n  type: LoadBalancer\n  loadBalancerSourceRanges: [10.0.0.0/8]\n  externalTrafficPolicy: Local\n  allocateLoadBalancerNodePorts: false\n  ports: [{name: http, port: 80}, {name: https, port: 443, targetPort: 8443}]\n  selector: {app: gateway}\n",
	}
}

func operator() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: operator\nversion: 0.30.1\nappVersion: v0.30.1\n",
		"values.yaml": "instances: [main]\nwatch: all\n",
		"crds/widgets.yaml": `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.corpus.example.com}
spec:
  group: corpus.example.com
  scope: Namespaced
  names: {kind: Widget, listKind: WidgetList, plural: widgets, singular: widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, default: 3}
              tags: {type: array, items: {type: string}}
`,
		"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}-operator}
spec:
  selector: {matchLabels: {app: operator}}
  template:
    metadata: {labels: {app: operator}}
    spec:
      containers:
      - name: manager
        image: example.com/operator:{{ .Chart.AppVersion }}
        args:
        - --leader-elect
        {{- if .Values.watch }}
        - --watch={{ .Values.watch }}
        {{- else }}
        - --watch={{ .Release.Namespace }}
        {{- end }}
        env: [{name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}]
`,
		"templates/widgets.yaml": `{{- range .Values.instances }}
---
apiVersion: corpus.example.com/v1
kind: Widget
metadata: {name: {{ $.Release.Name }}-{{ . }}}
spec: {tags: [{{ . }}, "{{ $.Chart.Version }}"]}
{{- end }}
`,
	}
}

func policies() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: policies\nversion: 1.0.0\nkubeVersion: \">=1.25.0-0\"\n",
		"values.yaml": "quota: {pods: \"50\"}\nopen: false\n",
		"templates/network.yaml": `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default}
spec:
  podSelector: {}
  policyTypes: [Ingress{{ if not .Values.open }}, Egress{{ end }}]
  ingress:
  {{- if .Values.open }}
  - {}
  {{- else }}
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ .Release.Namespace }}}}}]
    ports: [{protocol: TCP, port: 80, endPort: 90}]
  {{- end }}
`,
		"templates/limits.yaml": `apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec: {hard: {{ toJson .Values.quota }}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec: {limits: [{type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 0.1}}]}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: {{ .Release.Namespace }}-high}
value: {{ if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}1000{{ else }}100{{ end }}
globalDefault: false
description: {{ printf "of %s" .Release.Namespace | quote }}
`,
	}
}

func webhook() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: webhook\nversion: 1.0.0\n",
		"values.yaml": "failurePolicy: Ignore\nselector: {matchLabels: {somebody: has}}\n",
		"templates/webhook.yaml": `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: {{ .Release.Namespace }}-webhook}
webhooks:
- name: check.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: {{ .Values.failurePolicy }}
  timeoutSeconds: 1
  namespaceSelector: {{ .Values.selector | toJson }}
  clientConfig: {service: {name: webhook, namespace: {{ .Release.Namespace }}, path: /check}}
  rules: [{apiGroups: [example.com], apiVersions: ["*"], operations: [CREATE], resources: [nothings]}]
---
apiVersion: v1
kind: Service
metadata: {name: webhook}
spec: {ports: [{port: 443, targetPort: webhook}], selector: {app: webhook}, internalTrafficPolicy: Cluster}
`,
	}
}

func storage() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: storage\nversion: 1.0.0\n",
		"values.yaml": "claims: {data: 1Gi}\n",
		"files/seed":  "a\x01b\n",
		"templates/storage.yaml": `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: {{ .Release.Namespace }}-fast}
provisioner: example.com/none
parameters: {type: ssd, iops: "3000"}
allowVolumeExpansion: true
volumeBindingMode: WaitForFirstConsumer
{{- range $name, $size := .Values.claims }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: {{ $name }}}
spec: {accessModes: [ReadWriteOnce], storageClassName: {{ $.Release.Namespace }}-fast, resources: {requests: {storage: {{ $size }}}}}
{{- end }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: seed}
binaryData:
  seed: {{ .Files.Get "files/seed" | b64enc }}
`,
	}
}

func roles() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: roles\nversion: 1.0.0\n",
		"values.yaml": "users: {ann: [viewer]}\nroles: {viewer: [get, list], editor: [get, list, update, patch]}\n",
		"templates/roles.yaml": `{{- range $role, $verbs := .Values.roles }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: {{ $role }}, labels: {level: "{{ len $verbs }}"}}
rules:
- apiGroups: ["", apps]
  resources: [configmaps, deployments]
  verbs: {{ $verbs | toJson }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ $role }}]
  verbs: [get]
{{- end }}
{{- range $user, $roles := .Values.users }}
{{- range $roles }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: {{ $user }}-{{ . }}}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ . }}}
subjects: [{kind: User, name: {{ $user }}, apiGroup: rbac.authorization.k8s.io}]
{{- end }}
{{- end }}
`,
		"templates/aggregate.yaml": "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: {{ .Release.Namespace }}-all}\naggregationRule: {clusterRoleSelectors: [{matchLabels: {nothing: has-this}}]}\nrules: []\n",
	}
}

func kept() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: kept\nversion: 1.0.0\n",
		"values.yaml": "keep: true\n",
		"templates/a.yaml": `apiVersion: v1
kind: Secret
metadata:
  name: credentials
  {{- if .Values.keep }}
  annotations: {helm.sh/resource-policy: keep}
  {{- end }}
type: kubernetes.io/basic-auth
immutable: true
stringData: {username: admin, password: "{{ (lookup "v1" "Secret" .Release.Namespace "absent").data | default "drawn" }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: lookup}
data: {found: "{{ if lookup "v1" "Namespace" "" .Release.Namespace }}yes{{ else }}no{{ end }}"}
`,
	}
}

func endpoints() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: endpoints\nversion: 1.0.0\n",
		"values.yaml": "address: 192.0.2.1\nname: example.com\n",
		"templates/a.yaml": `apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: {{ .Values.name }}}
---
apiVersion: v1
kind: Service
metadata: {name: legacy-db}
spec: {ports: [{port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: legacy-db-1, labels: {kubernetes.io/service-name: legacy-db}}
addressType: IPv4
ports: [{port: 5432}]
endpoints: [{addresses: [{{ .Values.address }}]}]
`,
	}
}
