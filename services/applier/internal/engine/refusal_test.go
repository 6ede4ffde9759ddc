package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	jobManifest = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x, namespace: NS, annotations: {ANNOTATION}}\n" +
		"spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: IMAGE, env: [{name: TOKEN, value: hunter2}]}]}}}"
	claimManifest   = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: x, namespace: NS}\nspec: {storageClassName: class, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}"
	serviceManifest = "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: NS}\nspec: {clusterIP: ADDRESS, ports: [{port: 80}]}"
	setManifest     = "metadata: {name: x, namespace: NS}\nspec: {serviceName: service, selector: {matchLabels: {SELECTED}}, template: {metadata: {labels: {a: b, c: d}}, spec: {containers: [{name: a, image: i}]}}}"
	roleManifest    = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: x, namespace: NS}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: ROLE}"
	hookManifest    = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: NS}\nwebhooks: [{name: hook.example.com, admissionReviewVersions: [v1], sideEffects: None, " +
		"clientConfig: {url: 'https://127.0.0.1:1/x'}, namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}, rules: [{apiGroups: [''], apiVersions: [v1], resources: [configmaps], operations: ['*']}]}]"
)

// TestWordsOfRefusals shows what people read when the API server refuses an object:
// what is wrong in short, and what to do. The refusals are the API server's own.
func TestWordsOfRefusals(t *testing.T) {
	const anew = "set spec.force: true on the Kustomization, or annotate the object with kustomize.toolkit.fluxcd.io/force: enabled"
	swap := strings.NewReplacer
	for _, tt := range []struct {
		why, name string
		// before is applied first, and changed into what is refused; none when empty.
		before, manifest string
		text             string // all of it, up to the remedy
		remedy           string // a part of it; there is none when empty
		force            bool
	}{
		{
			"a Job's template: no dump of it, then the remedy", "job", jobManifest, swap("IMAGE", "other").Replace(jobManifest),
			`Job/NS/x dry-run failed (Invalid): Job.batch "x" is invalid: spec.template: field is immutable`, anew + ", which deletes it and makes it anew and runs it again", false,
		},
		{
			"a claim's spec: force would lose the data, so it comes last", "claim", claimManifest, swap("class", "other").Replace(claimManifest),
			`PersistentVolumeClaim/NS/x dry-run failed (Invalid): PersistentVolumeClaim "x" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims`,
			"put the old value back in Git, or copy the data to one of another name. To LOSE THE DATA, " + anew, false,
		},
		{
			"a Service's address", "service", swap("ADDRESS", "10.96.7.201").Replace(serviceManifest), swap("ADDRESS", "10.96.7.202").Replace(serviceManifest),
			`Service/NS/x dry-run failed (Invalid): Service "x" is invalid: spec.clusterIPs[0]: may not change once set`, anew, false,
		},
		{
			"a Deployment's selector", "selector", "apiVersion: apps/v1\nkind: Deployment\n" + swap("SELECTED", "a: b").Replace(strings.Replace(setManifest, "serviceName: service, ", "", 1)),
			"apiVersion: apps/v1\nkind: Deployment\n" + swap("SELECTED", "c: d").Replace(strings.Replace(setManifest, "serviceName: service, ", "", 1)),
			`Deployment/NS/x dry-run failed (Invalid): Deployment.apps "x" is invalid: spec.selector: field is immutable`, anew, false,
		},
		{
			"a StatefulSet says it in other words", "statefulset", "apiVersion: apps/v1\nkind: StatefulSet\n" + swap("SELECTED", "a: b").Replace(setManifest),
			"apiVersion: apps/v1\nkind: StatefulSet\n" + swap("SELECTED", "a: b", "serviceName: service", "serviceName: other").Replace(setManifest),
			`StatefulSet/NS/x dry-run failed (Invalid): StatefulSet.apps "x" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template'`, anew, false,
		},
		{
			"so does a RoleBinding", "rolebinding", roleManifest, swap("ROLE", "other").Replace(roleManifest),
			`RoleBinding/NS/x dry-run failed (Invalid): RoleBinding.rbac.authorization.k8s.io "x" is invalid: roleRef: cannot change roleRef`, anew, false,
		},
		{
			"force is set and cannot help: the new one is wrong as well, and that is said", "forced",
			jobManifest, swap("IMAGE", "other", "Never", "Sometimes").Replace(jobManifest),
			`Job/NS/x dry-run failed (Invalid): Job.batch "x" is invalid:`,
			`it may be made anew (force), but is kept, for the API server did not agree to take the new one in its place: Job.batch "x-sluice-trial" is invalid: spec.template.spec.restartPolicy`, true,
		},
		{
			"more than a request may hold", "request", "", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: NS}\ndata: {a: " + strings.Repeat("x", 4<<20) + "}",
			"ConfigMap/NS/x dry-run failed (RequestEntityTooLarge): Request entity too large: limit is 3145728", "bytes and the limit is 3145728: split it, or keep the large data elsewhere", false,
		},
		{
			"more than a ConfigMap may hold", "configmap", "", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: NS}\ndata: {a: " + strings.Repeat("x", 2<<20) + "}",
			`ConfigMap/NS/x dry-run failed (Invalid): ConfigMap "x" is invalid: Too long: may not be more than 1048576 bytes`, "bytes and the limit is 1048576: split it", false,
		},
		{
			"a namespace that is not there", "namespace", "", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: nowhere}",
			`ConfigMap/nowhere/x not found: namespaces "nowhere" not found`, "add Namespace nowhere to this Kustomization, create it, or name the Kustomization that makes it in spec.dependsOn", false,
		},
		{
			"no namespace at all", "unplaced", "", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}",
			"ConfigMap/x namespace not specified: the server could not find the requested resource", "give it metadata.namespace in Git, or set spec.targetNamespace on the Kustomization", false,
		},
		{
			"a kind that is not served", "kind", "", "apiVersion: example.com/v1\nkind: Ghost\nmetadata: {name: x, namespace: NS}",
			`Ghost/NS/x dry-run failed: no matches for kind "Ghost" in version "example.com/v1"`, "add it to this Kustomization, or name the Kustomization that has it in spec.dependsOn", false,
		},
		{
			"a webhook that does not answer", "hook", hookManifest, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: NS}",
			`ConfigMap/NS/x dry-run failed (InternalError): Internal error occurred: failed calling webhook "hook.example.com": failed to call webhook: Post`, "delete webhook hook.example.com from its ValidatingWebhookConfiguration", false,
		},
		{
			"a label that is none: the rule in words, without its expression", "label", "", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: NS, labels: {a: 'b c'}}",
			`ConfigMap/NS/x dry-run failed (Invalid): ConfigMap "x" is invalid: metadata.labels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters`, "", false,
		},
		{
			"a name that is too long is cut where it is quoted", "name", "", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + strings.Repeat("y", 254) + ", namespace: NS}",
			"ConfigMap/NS/" + strings.Repeat("y", 254) + ` dry-run failed (Invalid): ConfigMap "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy" is invalid: metadata.name: Invalid value: "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy": must be no more than 253`,
			"use a name of at most 253 characters; namePrefix and nameSuffix count", false,
		},
		{
			"a field that is unknown", "field", "", "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: NS}\nspec: {wings: 2}",
			"Service/NS/x dry-run failed: failed to create typed patch object (NS/x; /v1, Kind=Service): .spec.wings: field not declared in schema", "check how the field is spelled and indented", false,
		},
		{
			"several fields", "fields", "", "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: NS}\nspec: {ports: [{port: 99999}]}",
			`Service/NS/x dry-run failed (Invalid): Service "x" is invalid: spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive, spec.ports[0].targetPort: Invalid value: 99999: must be between 1 and 65535, inclusive`, "", false,
		},
		{
			"a Secret that is not encoded", "base64", "", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: NS}\ndata: {password: hunter2hunter2}",
			"Secret/NS/x dry-run failed: failed to convert new object (NS/x; /v1, Kind=Secret) to proper version: unable to convert unstructured object to /v1, Kind=Secret: error decoding from json: illegal base64 data at input byte",
			"values of data must be base64: encode them, or write them in plain under stringData", false,
		},
		{
			"a Secret's number", "number", "", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: NS}\ndata: {password: 42}",
			"Secret/NS/x dry-run failed: failed to create typed patch object (NS/x; /v1, Kind=Secret): .data.password: expected string", "quote the value in Git", false,
		},
		{
			"a Secret's map", "map", "", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: NS}\ndata: {password: {deep: hunter2}}",
			"Secret/NS/x dry-run failed: failed to create typed patch object (NS/x; /v1, Kind=Secret): .data.password: expected string", "quote the value in Git", false,
		},
		{
			"a Secret's list", "list", "", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: NS}\ndata: {password: [hunter2]}",
			"Secret/NS/x dry-run failed: failed to create typed patch object (NS/x; /v1, Kind=Secret): .data.password: expected string", "quote the value in Git", false,
		},
		{
			"a Secret that is a text", "text", "", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: NS}\ndata: hunter2",
			"Secret/NS/x dry-run failed: failed to create typed patch object (NS/x; /v1, Kind=Secret): .data: expected map", "", false,
		},
		{
			"a Secret's value in the wrong place", "place", "", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: NS}\nhunter2: hunter2",
			"Secret/NS/x dry-run failed: failed to create typed patch object (NS/x; /v1, Kind=Secret): .*****: field not declared in schema", "check how the field is spelled and indented", false,
		},
		{
			"a Secret of a type that it does not fit", "type", "", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: NS}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: hunter2}",
			`Secret/NS/x dry-run failed (Invalid): Secret "x" is invalid: data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": invalid character 'h' looking for beginning of value`, "", false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			if tt.before != "" {
				f.apply(tt.before)
			}
			if tt.name == "hook" {
				// the API server asks a webhook only some moments after it took its configuration
				f.until(func() bool {
					_, _, err := f.client.Apply(t.Context(), f.objects(tt.manifest)[0], true)
					return err != nil
				})
			}
			_, err := f.try(tt.manifest, func(r *engine.Request) { r.Force = tt.force })
			f.said(err, tt.text, tt.remedy)
			if t.Failed() {
				t.Log(tt.why)
			}
			if tt.name == "hook" {
				hook := schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"}
				if err := f.foreign.Resource(hook).Delete(t.Context(), f.namespace, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// said checks a failure's words.
func (f *fixture) said(err error, text, remedy string) {
	f.t.Helper()
	if err == nil {
		f.t.Fatal("the object was taken")
	}
	got, text := err.Error(), strings.ReplaceAll(text, "NS", f.namespace)
	rest, ok := strings.CutPrefix(got, text)
	if !ok || !strings.Contains(rest, remedy) || remedy == "" && strings.Contains(rest, ": ") && !strings.Contains(rest, "e.g.") {
		f.t.Errorf("error is %q, want %q and the remedy %q", got, text, remedy)
	}
	if len(got) > 800 || strings.Contains(got, "hunter2") || strings.ContainsAny(got, "\n{") {
		f.t.Errorf("error %q is long, or gives a value away", got)
	}
}

// TestWordsOfAdmission names the policy that is in the way, and where to make an exception.
func TestWordsOfAdmission(t *testing.T) {
	f := newFixture(t)
	f.apply("apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: NS}\nspec: {matchConstraints: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}, " +
		"resourceRules: [{apiGroups: [''], apiVersions: [v1], resources: [configmaps], operations: ['*']}]}, validations: [{expression: 'false'}]}" +
		"\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: NS}\nspec: {policyName: NS, validationActions: [Deny]}")
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: NS}"
	f.until(func() bool { // the API server learns of a policy by a watch
		_, _, err := f.client.Apply(t.Context(), f.objects(manifest)[0], true)
		return err != nil
	})
	_, err := f.try(manifest)
	f.said(err, `ConfigMap/NS/x dry-run failed (Invalid): configmaps "x" is forbidden: ValidatingAdmissionPolicy 'NS' with binding 'NS' denied request: failed expression: false`,
		"change the object as policy "+f.namespace+" asks, or exempt it in binding "+f.namespace)
}

// until waits for a condition.
func (f *fixture) until(holds func() bool) {
	f.t.Helper()
	deadline, tick := time.After(20*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatal("it does not come to that")
		}
	}
}

// TestWordsOfForbiddenObjects names who needs which right.
func TestWordsOfForbiddenObjects(t *testing.T) {
	f := newFixture(t)
	weak, err := f.cluster.As(f.namespace, "tenant")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ why, manifest, text, remedy string }{
		{"a namespaced kind", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, namespace: NS}",
			"Deployment/NS/x dry-run failed (Forbidden): deployments.apps", "let service account NS/tenant patch deployments.apps in namespace NS, with a Role and RoleBinding"},
		{"a kind of the cluster", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}",
			"Namespace/x dry-run failed (Forbidden): namespaces", "let service account NS/tenant patch namespaces in the cluster, with a ClusterRole and ClusterRoleBinding"},
	} {
		_, err := f.try(tt.manifest, func(r *engine.Request) { r.Client = weak })
		f.said(err, tt.text, strings.ReplaceAll(tt.remedy, "NS", f.namespace))
	}
}

// TestManyFailures bounds what is said of many objects that fail, and names them all
// where there is room.
func TestManyFailures(t *testing.T) {
	f := newFixture(t)
	var manifests []string
	for n := range 30 {
		manifests = append(manifests, fmt.Sprintf("apiVersion: example.com/v1\nkind: Ghost\nmetadata: {name: ghost-%02d, namespace: NS}", n))
	}
	_, err := f.try(strings.Join(manifests, "\n---\n"))
	var failures engine.ObjectErrors
	if !errors.As(err, &failures) || len(failures) != len(manifests) {
		t.Fatalf("error is %v", err)
	}
	for _, limit := range []int{512, 1024, 4096, 1 << 20} {
		text := engine.Brief(err, limit)
		named, more := 0, 0
		for n := range manifests {
			if strings.Contains(text, fmt.Sprintf("ghost-%02d dry-run failed: no matches for kind", n)) {
				named++
			}
		}
		if _, tail, cut := strings.Cut(text, "\nand "); cut {
			if _, err := fmt.Sscanf(tail, "%d more failed", &more); err != nil {
				t.Errorf("%d bytes: %q", limit, tail)
			}
		}
		if len(text) > limit || named == 0 || named+more != len(manifests) || strings.Count(text, "spec.dependsOn") != 1 {
			t.Errorf("%d bytes: %d told, %d counted in %d bytes: %q", limit, named, more, len(text), text)
		}
	}
	if got := engine.Brief(context.Canceled, 100); got != context.Canceled.Error() {
		t.Errorf("another error is %q", got)
	}
}
