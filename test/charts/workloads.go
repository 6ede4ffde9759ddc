package charts

// workloads are charts of applications as they are usually written.
func workloads() map[string]Chart {
	return map[string]Chart{
		"database": {database(), []string{
			"", "replicas: 3\npersistence: {size: 5Gi, annotations: {backup: \"yes\"}}\n", "persistence: {enabled: false}\npdb: {enabled: false}\n",
			"auth: {password: \"p@ss: word\\n\", database: shop}\nconfig: {max_connections: 300, shared_buffers: 1GB}\n",
		}, true},
		"agent": {agent(), []string{"", "tolerations: []\nhostNetwork: true\n", "args: {verbose: true, level: 3, name: null}\n"}, true},
		"batch": {batch(), []string{"", "jobs: {report: {schedule: \"*/5 * * * *\", args: [a, b]}}\n", "jobs: null\n", "suspend: true\ndefaults: {limit: 7}\n"}, true},
		"sidecars": {sidecars(), []string{
			"", "sidecars: [{name: log, image: example.com/log}]\nextraEnv: '- {name: RELEASE, value: {{ .Release.Name | quote }}}'\n", "metrics: {enabled: true, port: 9100}\n",
		}, true},
		"scheduled":  {scheduled(), []string{"", "spread: true\nprobes: {liveness: {httpGet: {path: /, port: http}}}\n", "security: {runAsNonRoot: true, runAsUser: 1000}\nnodeSelector: {kubernetes.io/os: linux}\n"}, true},
		"lifecycle":  {lifecycle(), []string{"", "migrate: false\n"}, true},
		"aliases":    {aliases(), []string{"", "blue: {enabled: false}\nred: {size: 9}\n", "global: {suffix: x}\n"}, true},
		"nested":     {nested(), []string{"", "global: {tier: gold}\n", "middle: {inner: {answer: 1}, on: false}\n", "middle: {enabled: false}\n"}, true},
		"overridden": {overridden(), []string{"", "prefix: other\n"}, true},
		"legacy":     {legacy(), []string{"", "service: {type: NodePort}\n"}, true},
	}
}

func database() map[string]string {
	return map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: database\ndescription: a database with storage\nversion: 12.3.4\nappVersion: \"16.2\"\n",
		"values.yaml": `replicas: 1
image: {registry: example.com, repository: db, tag: ""}
auth: {password: change-me, database: app}
persistence: {enabled: true, size: 1Gi, storageClass: "", annotations: {}}
pdb: {enabled: true, maxUnavailable: 1}
config: {max_connections: 100}
`,
		"templates/_helpers.tpl": `{{- define "database.fullname" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "database.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}
{{- define "database.image" -}}
{{ .Values.image.registry }}/{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
`,
		"templates/statefulset.yaml": `apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "database.fullname" . }}
  labels:
    {{- include "database.labels" . | nindent 4 }}
spec:
  serviceName: {{ include "database.fullname" . }}
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {app.kubernetes.io/instance: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app.kubernetes.io/instance: {{ .Release.Name }}}
      annotations:
        checksum/config: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}
    spec:
      containers:
        - name: db
          image: {{ include "database.image" . | trim }}
          ports: [{name: sql, containerPort: 5432}]
          env:
            - name: PASSWORD
              valueFrom: {secretKeyRef: {name: {{ include "database.fullname" . }}, key: password}}
            {{- if gt (int .Values.replicas) 1 }}
            - {name: PEERS, value: "{{ range $i := until (int .Values.replicas) }}{{ if $i }},{{ end }}{{ include "database.fullname" $ }}-{{ $i }}{{ end }}"}
            {{- end }}
          {{- if .Values.persistence.enabled }}
          volumeMounts: [{name: data, mountPath: /data}]
          {{- end }}
  {{- if .Values.persistence.enabled }}
  volumeClaimTemplates:
    - metadata:
        name: data
        {{- with .Values.persistence.annotations }}
        annotations: {{ toYaml . | nindent 10 }}
        {{- end }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- if .Values.persistence.storageClass }}
        storageClassName: {{ .Values.persistence.storageClass }}
        {{- end }}
        resources: {requests: {storage: {{ .Values.persistence.size }}}}
  {{- end }}
`,
		"templates/service.yaml": `apiVersion: v1
kind: Service
metadata: {name: {{ include "database.fullname" . }}, labels: {{ include "database.labels" . | fromYaml | toJson }}}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  ports: [{name: sql, port: 5432, targetPort: sql}]
  selector: {app.kubernetes.io/instance: {{ .Release.Name }}}
`,
		"templates/secret.yaml": `apiVersion: v1
kind: Secret
metadata: {name: {{ include "database.fullname" . }}}
type: Opaque
data:
  password: {{ .Values.auth.password | b64enc | quote }}
stringData:
  database: {{ .Values.auth.database | quote }}
`,
		"templates/config.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ include "database.fullname" . }}}
data:
  db.conf: |-
    {{- range $key, $value := .Values.config }}
    {{ $key }} = {{ $value }}
    {{- end }}
`,
		"templates/pdb.yaml": `{{- if .Values.pdb.enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: {{ include "database.fullname" . }}}
spec:
  maxUnavailable: {{ .Values.pdb.maxUnavailable }}
  selector: {matchLabels: {app.kubernetes.io/instance: {{ .Release.Name }}}}
{{- end }}
`,
		"templates/NOTES.txt": "Connect to {{ include \"database.fullname\" . }}.{{ .Release.Namespace }}\n",
	}
}

func agent() map[string]string {
	return map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: agent\nversion: 0.9.0-rc.1\nappVersion: v2\n",
		"values.yaml": `tolerations: [{operator: Exists}]
hostNetwork: false
args: {verbose: false, level: 1, name: agent}
rbac: [{apiGroups: [""], resources: [pods, nodes], verbs: [get, list, watch]}]
`,
		"templates/daemonset.yaml": `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: {{ .Release.Name }}-agent}
spec:
  selector: {matchLabels: {app: agent}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: "10%"}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      serviceAccountName: {{ .Release.Name }}-agent
      {{- if .Values.hostNetwork }}
      hostNetwork: true
      dnsPolicy: ClusterFirstWithHostNet
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations:
      {{- toYaml . | nindent 6 }}
      {{- end }}
      containers:
      - name: agent
        image: "example.com/agent:{{ .Chart.AppVersion }}"
        args:
        {{- range $name := keys .Values.args | sortAlpha }}
        {{- $value := index $.Values.args $name }}
        {{- if kindIs "bool" $value }}
        {{- if $value }}
        - --{{ $name }}
        {{- end }}
        {{- else if $value }}
        - --{{ $name }}={{ $value }}
        {{- end }}
        {{- end }}
`,
		"templates/rbac.yaml": `apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Release.Name }}-agent}
automountServiceAccountToken: true
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: {{ .Release.Namespace }}-agent}
rules: {{ toYaml .Values.rbac | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: {{ .Release.Namespace }}-agent}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ .Release.Namespace }}-agent}
subjects: [{kind: ServiceAccount, name: {{ .Release.Name }}-agent, namespace: {{ .Release.Namespace }}}]
`,
	}
}

func batch() map[string]string {
	return map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: batch\nversion: 1.0.0\n",
		"values.yaml": `suspend: false
defaults: {schedule: "0 3 * * *", image: example.com/task, limit: 2, args: []}
jobs:
  clean: {}
  export: {schedule: "@hourly", limit: 1}
`,
		"templates/cronjobs.yaml": `{{- range $name, $own := .Values.jobs }}
{{- $job := merge (deepCopy $own) $.Values.defaults }}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ $.Release.Name }}-{{ $name }}
spec:
  schedule: {{ $job.schedule | quote }}
  suspend: {{ $.Values.suspend }}
  successfulJobsHistoryLimit: {{ $job.limit }}
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - name: {{ $name }}
            image: {{ $job.image }}
            args: {{ $job.args | toJson }}
{{- end }}
`,
	}
}

func sidecars() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: sidecars\nversion: 2.2.2\n",
		"values.yaml": "sidecars: []\nextraEnv: \"\"\nmetrics: {enabled: false, port: 9000}\ninit: [{name: wait, image: example.com/wait, command: [sh, -c, \"until nc -z db 5432; do sleep 1; done\"]}]\n",
		"templates/deployment.yaml": `{{- $containers := list (dict "name" "app" "image" "example.com/app") }}
{{- if .Values.metrics.enabled }}
{{- $containers = append $containers (dict "name" "metrics" "image" "example.com/exporter" "ports" (list (dict "containerPort" .Values.metrics.port))) }}
{{- end }}
{{- $containers = concat $containers .Values.sidecars }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, annotations: {containers: {{ len $containers | quote }}}}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      initContainers: {{ .Values.init | toYaml | nindent 6 }}
      containers:
      {{- range $containers }}
      - {{ toYaml . | nindent 8 | trim }}
        {{- if and (eq .name "app") $.Values.extraEnv }}
        env: {{ tpl $.Values.extraEnv $ | nindent 8 }}
        {{- end }}
      {{- end }}
`,
		"templates/service.yaml": `{{- if .Values.metrics.enabled -}}
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}-metrics, annotations: {prometheus.io/port: {{ .Values.metrics.port | quote }}}}
spec: {ports: [{name: metrics, port: {{ .Values.metrics.port }}}], selector: {app: {{ .Release.Name }}}}
{{- end -}}
`,
	}
}

func scheduled() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v2\nname: scheduled\nversion: 3.0.0\n",
		"values.yaml": "spread: false\nprobes: {}\nsecurity: {}\nnodeSelector: {}\nannotations: {}\n",
		"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: 2
  revisionHistoryLimit: 3
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations: {{- toYaml .Values.annotations | nindent 8 }}
    spec:
      terminationGracePeriodSeconds: 5
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 100
            podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: {{ .Release.Name }}}}}
      {{- if .Values.spread }}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: {{ .Release.Name }}}}}
      {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- if .Values.security }}
      securityContext: {{ toYaml .Values.security | nindent 8 }}
      {{- end }}
      containers:
      - name: app
        image: example.com/app
        ports: [{name: http, containerPort: 8080, protocol: TCP}]
        {{- range $kind, $probe := .Values.probes }}
        {{ $kind }}Probe: {{ toYaml $probe | nindent 10 }}
        {{- end }}
        lifecycle: {preStop: {exec: {command: [sleep, "1"]}}}
        resources: {requests: {cpu: 0.1, memory: 128974848}, limits: {memory: 0.5Gi}}
        volumeMounts: [{name: tmp, mountPath: /tmp}]
      volumes: [{name: tmp, emptyDir: {sizeLimit: 64Mi}}]
`,
		"templates/hpa.yaml": `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: {{ .Release.Name }}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .Release.Name }}}
  minReplicas: 2
  maxReplicas: 4
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
`,
	}
}

func lifecycle() map[string]string {
	job := func(name, hook, weight, policy string) string {
		return `apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-` + name + `
  annotations: {helm.sh/hook: "` + hook + `", helm.sh/hook-weight: "` + weight + `", helm.sh/hook-delete-policy: "` + policy + `"}
spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: a, image: example.com/job}]}}}
`
	}
	return map[string]string{
		"Chart.yaml":               "apiVersion: v2\nname: lifecycle\nversion: 1.0.0\n",
		"values.yaml":              "migrate: true\n",
		"templates/migrate.yaml":   "{{- if .Values.migrate }}\n" + job("migrate", "pre-install,pre-upgrade", "0", "before-hook-creation,hook-succeeded") + "{{- end }}\n",
		"templates/settings.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-settings, annotations: {helm.sh/hook: pre-install, helm.sh/hook-weight: \"-10\"}}\ndata: {a: b}\n",
		"templates/announce.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-announce, annotations: {helm.sh/hook: post-install}}\ndata: {revision: \"{{ .Release.Revision }}\"}\n",
		"templates/app.yaml":       "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {install: \"{{ .Release.IsInstall }}\"}\n",
		"templates/tests/ask.yaml": job("ask", "test", "0", "before-hook-creation"),
		"templates/bye.yaml":       job("bye", "pre-delete", "0", "hook-succeeded"),
	}
}

func aliases() map[string]string {
	worker := map[string]string{
		"Chart.yaml":             "apiVersion: v2\nname: worker\nversion: 0.1.0\n",
		"values.yaml":            "size: 1\ncolor: none\nglobal: {suffix: \"\"}\n",
		"templates/_helpers.tpl": "{{- define \"worker.name\" -}}{{ list .Release.Name .Chart.Name .Values.global.suffix | compact | join \"-\" }}{{- end -}}",
		"templates/config.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ include \"worker.name\" . }}}\ndata: {size: {{ .Values.size | quote }}, color: {{ .Values.color }}, path: {{ .Template.Name }}}\n",
	}
	return joined(map[string]string{
		"Chart.yaml": `apiVersion: v2
name: aliases
version: 0.1.0
dependencies:
- {name: worker, version: ">=0.1.0", repository: "", alias: red}
- {name: worker, version: 0.1.x, repository: "", alias: blue, condition: blue.enabled}
- {name: worker, version: 0.1.0, repository: ""}
`,
		"values.yaml": "red: {color: red}\nblue: {color: blue, size: 2, enabled: true}\nworker: {size: 3}\n",
	}, Under("charts/worker", worker))
}

func nested() map[string]string {
	inner := map[string]string{
		"Chart.yaml":          "apiVersion: v2\nname: inner\nversion: 1.0.0\n",
		"values.yaml":         "answer: 42\nglobal: {tier: bronze}\nexports: {settings: {shared: from-inner}}\n",
		"templates/deep.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-inner}\ndata: {answer: {{ .Values.answer | quote }}, tier: {{ .Values.global.tier }}}\n",
	}
	middle := joined(map[string]string{
		"Chart.yaml":         "apiVersion: v2\nname: middle\nversion: 1.0.0\ndependencies:\n- {name: inner, version: 1.0.0, repository: \"\", condition: on, import-values: [settings]}\n",
		"values.yaml":        "on: true\nshared: own\n",
		"templates/mid.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-middle}\ndata: {shared: {{ .Values.shared }}, subcharts: {{ keys .Subcharts | sortAlpha | join \",\" | quote }}}\n",
	}, Under("charts/inner", inner))
	return joined(map[string]string{
		"Chart.yaml":         "apiVersion: v2\nname: nested\nversion: 1.0.0\ndependencies:\n- {name: middle, version: 1.0.0, repository: \"\", condition: middle.enabled}\n",
		"values.yaml":        "middle: {inner: {answer: 7}}\nglobal: {tier: silver}\n",
		"templates/top.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-top}\ndata: {tier: {{ .Values.global.tier }}}\n",
	}, Under("charts/middle", middle))
}

func overridden() map[string]string {
	child := map[string]string{
		"Chart.yaml":             "apiVersion: v2\nname: child\nversion: 1.0.0\n",
		"templates/_helpers.tpl": "{{- define \"shared.name\" -}}child-{{ .Release.Name }}{{- end -}}\n{{- define \"child.extra\" -}}none{{- end -}}",
		"templates/a.yaml":       "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ include \"shared.name\" . }}}\ndata: {extra: {{ template \"child.extra\" . }}}\n",
	}
	return joined(map[string]string{
		"Chart.yaml":             "apiVersion: v2\nname: overridden\nversion: 1.0.0\ndependencies: [{name: child, version: 1.0.0, repository: \"\"}]\n",
		"values.yaml":            "prefix: parent\n",
		"templates/_helpers.tpl": "{{- define \"child.extra\" -}}overridden by {{ .Chart.Name }}{{- end -}}",
		"templates/b.yaml":       "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Values.prefix }}-{{ .Release.Name }}}\ndata: {base: {{ .Template.BasePath }}}\n",
	}, Under("charts/child", child))
}

func legacy() map[string]string {
	return map[string]string{
		"Chart.yaml":  "apiVersion: v1\nname: legacy\nversion: 0.0.7\nappVersion: 1.0\nengine: gotpl\n",
		"values.yaml": "service: {type: ClusterIP}\n",
		"templates/all.yaml": `# Everything in one file, as it was done.
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}-legacy
  labels: {chart: "{{ .Chart.Name }}-{{ .Chart.Version }}", release: "{{ .Release.Name }}", heritage: "{{ .Release.Service }}"}
spec:
  type: {{ .Values.service.type }}
  sessionAffinity: ClientIP
  ports:
    - port: 80
      targetPort: 8080
  selector: {app: legacy}

---

---
apiVersion: v1
kind: ReplicationController
metadata: {name: {{ .Release.Name }}-legacy}
spec:
  replicas: 0
  selector: {app: legacy}
  template:
    metadata: {labels: {app: legacy}}
    spec: {containers: [{name: a, image: example.com/a}]}
`,
	}
}
