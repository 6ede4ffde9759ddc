package engine_test

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"k8s.io/apimachinery/pkg/types"
)

const workload = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: a, namespace: NS}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: NS}
data: {k: one}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: NS}
spec: {selector: {app: a}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: NS}
spec:
  replicas: 0
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec: {containers: [{name: main, image: example.org/a}]}
`

// role is made before a Deployment of its stage, so that this one is dry-run.
const role = `---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: a, namespace: NS}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
`

// What does nothing by itself is made without a dry run, and nothing of a stage is left
// when one of its objects is refused.
func TestInert(t *testing.T) {
	versions := map[string]string{"Deployment": "apps/v1", "Role": "rbac.authorization.k8s.io/v1"}
	all := []string{"ServiceAccount", "ConfigMap", "Service", "Deployment", "Role"}
	wrongConfig := strings.ReplaceAll(workload, "{k: one}", `{"k/": one}`)
	for _, c := range []struct {
		name, reason string
		manifests    string
		before       func(f *fixture)
		careful      bool
		dryRuns      int
		refusal      string // "" when the apply succeeds
		left         string // kinds that exist afterwards
		actions      string
	}{
		{"new", "no dry run for four new objects", workload, nil, false, 0, "", "ServiceAccount ConfigMap Service Deployment",
			"ServiceAccount/a created, ConfigMap/a created, Service/a created, Deployment/a created"},
		{"refused-first", "the object that is made after them is refused: the inert ones are taken back", strings.ReplaceAll(workload, "replicas: 0", "replicas: -1"), nil,
			false, 1, "Deployment/NS/a dry-run failed (Invalid)", "", ""},
		{"refused-inert", "an inert object is refused: the others are taken back", wrongConfig, nil,
			false, 1, "ConfigMap/NS/a dry-run failed (Invalid)", "", ""},
		{"refused-other", "an object that needs a dry run is refused: nothing is made", strings.ReplaceAll(workload+role, "replicas: 0", "replicas: -1"), nil,
			false, 2, "Deployment/NS/a dry-run failed (Invalid)", "", ""},
		{"exists", "an object that was there is tried, and taken over before what reads it is made", workload, func(f *fixture) {
			f.edit(f.ref("v1", "ConfigMap", "a"), "kubectl", types.ApplyPatchType, "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: theirs, more: x}}")
		}, false, 2, "", "ServiceAccount ConfigMap Service Deployment",
			"ServiceAccount/a created, ConfigMap/a configured, Service/a created, Deployment/a created"},
		{"exists-refused", "an object that was there stays as it was when another is refused", wrongConfig, func(f *fixture) {
			f.edit(f.ref("v1", "Service", "a"), "other", types.ApplyPatchType, "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 1}]}}")
		}, false, 2, "ConfigMap/NS/a dry-run failed (Invalid)", "Service", ""},
		{"balancer", "a Service for which something is made outside is tried", strings.ReplaceAll(workload, "spec: {selector", "spec: {type: LoadBalancer, selector"), nil,
			false, 1, "", "ServiceAccount ConfigMap Service Deployment", "ServiceAccount/a created, ConfigMap/a created, Service/a created, Deployment/a created"},
		{"outside", "so is one that takes traffic of addresses outside", strings.ReplaceAll(workload, "spec: {selector", "spec: {externalIPs: [192.0.2.7], selector"), nil,
			false, 1, "", "ServiceAccount ConfigMap Service Deployment", "ServiceAccount/a created, ConfigMap/a created, Service/a created, Deployment/a created"},
		{"held", "what could not be taken back at once is tried", strings.Replace(wrongConfig, "{name: a,", "{name: a, finalizers: [example.com/hold],", 1), nil,
			false, 2, "ConfigMap/NS/a dry-run failed (Invalid)", "", ""},
		{"careful", "after a failure everything is tried", workload, nil, true, 4, "", "ServiceAccount ConfigMap Service Deployment",
			"ServiceAccount/a created, ConfigMap/a created, Service/a created, Deployment/a created"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			if c.before != nil {
				c.before(f)
			}
			r, err := f.try(c.manifests, func(r *engine.Request) { r.Careful = c.careful })
			refusal := strings.ReplaceAll(c.refusal, "NS", f.namespace)
			if (err != nil) != (c.refusal != "") || err != nil && !strings.Contains(err.Error(), refusal) {
				t.Fatalf("%s: error %v, want %q", c.reason, err, refusal)
			}
			if r.DryRuns != c.dryRuns {
				t.Errorf("%s: %d dry runs, want %d", c.reason, r.DryRuns, c.dryRuns)
			}
			if err != nil && r.Writes != 0 {
				t.Errorf("%s: a refused stage counts %d writes", c.reason, r.Writes)
			}
			if got := actions(r); got != c.actions {
				t.Errorf("%s: %s, want %s", c.reason, got, c.actions)
			}
			var left []string
			for _, kind := range all {
				if f.exists(f.ref(cmp.Or(versions[kind], "v1"), kind, "a")) {
					left = append(left, kind)
				}
			}
			if got := strings.Join(left, " "); got != c.left {
				t.Errorf("%s: %q exist, want %q", c.reason, got, c.left)
			}
		})
	}
}

// An applier that lost its claim between two batches leaves what it made to who has it now.
func TestInertLostClaim(t *testing.T) {
	f := newFixture(t)
	const objects = 140 // more than a batch
	var all []string
	for n := range objects {
		all = append(all, fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d, namespace: NS}", n))
	}
	_, err := f.try(strings.Join(all, "\n---\n"), f.losing(1))
	if !errors.Is(err, errClaimLost) {
		t.Fatal(err)
	}
	for n := range objects {
		if r := f.ref("v1", "ConfigMap", fmt.Sprintf("c%d", n)); !f.exists(r) {
			t.Fatalf("%s is gone, which the new holder of the claim applied", r)
		}
	}
}
