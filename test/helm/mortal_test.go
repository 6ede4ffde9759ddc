package helm

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// mortals is a world whose process reaches the API server through a reaper.
func mortals(t *testing.T) *reaper {
	t.Helper()
	shared := world
	own, err := harness.NewWorld(t.Context(), harness.WorldOptions{Progress: os.Stderr, Token: "helm-only-token", WithoutSluice: true})
	if err != nil {
		t.Fatal(err)
	}
	world = own
	t.Cleanup(func() {
		world = shared
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	r, kubeconfig := newReaper(t, own)
	err = own.Namespace(t.Context(), harness.SystemNamespace)
	var binary string
	if err == nil {
		binary, err = harness.Build(t.Context(), "cmd/sluice", "sluice")
	}
	if err == nil {
		own.Sluice, err = harness.Start(t.Context(), harness.Config{Binary: binary, Kubeconfig: kubeconfig, Dir: filepath.Join(own.Folder, "sluice")})
	}
	if err != nil {
		t.Fatal(err)
	}
	own.OnClose(func() error { return own.Sluice.Close() })
	return r
}

// mortalCharts are a chart for each victim: a moody one with a definition, and with an uninstall that fails as long as there is no
// namespace gate.
func mortalCharts() map[string]string {
	files := map[string]string{}
	for i := range victims {
		for path, body := range moodyChart() {
			files[victimName(i)+strings.TrimPrefix(path, "moody")] = body
		}
		files[victimName(i)+"/templates/gate.yaml"] = `{{- if .Values.gate }}
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}, namespace: {{ .Values.gate }}, annotations: {helm.sh/hook: pre-delete}}
{{- end }}
`
		files[victimName(i)+"/crds/crd.yaml"] = definition("toys", victimName(i)+".example.com", "Toy")
	}
	return files
}

// death is an action that kills who works on it.
type death struct {
	action string
	// begin asks for the action on a HelmRelease, ended says whether it came to its end.
	begin func(name string)
	ended func(*unstructured.Unstructured) bool
	// left looks at what it leaves behind.
	left func(n tenant, name string)
}

// TestMortal kills the process that works on a release after every write to the API server that an install, an upgrade, one
// that is forced, one of a release whose storage somebody edited, one that is rolled back, and an uninstall take, with
// definitions, hooks, waits, tests and status. The next process ends each of them as if nobody had died.
func TestMortal(t *testing.T) {
	reaper := mortals(t)
	n := newTenant(t, "mortal", mortalCharts())
	const first, installed, upgraded, passed = "superseded: Install complete", "deployed: Install complete", "deployed: Upgrade complete", "superseded: Upgrade complete"
	ready := func(revision int) func(*unstructured.Unstructured) bool {
		return all(exists, says("Ready", "True", "", ""), says("TestSuccess", "True", "", fmt.Sprintf(".v%d ", revision)), current)
	}
	for _, d := range []death{
		{
			"install", func(name string) {
				n.release(name, name, "timeout: 20s\nmaxHistory: 0\ntest: {enable: true}\nupgrade: {crds: CreateReplace, remediation: {remediateLastFailure: true}}\n")
			}, ready(1), leaves(installed),
		},
		{
			"upgrade", func(name string) { n.patch(releaseKind, name, `{"spec":{"values":{"value":"b"}}}`) },
			ready(2), leaves(first, upgraded),
		},
		{
			"forced upgrade", func(name string) {
				n.patch(releaseKind, name, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"one","reconcile.fluxcd.io/forceAt":"one"}}}`)
			}, ready(3), leaves(first, passed, upgraded),
		},
		{
			"upgrade of an edited release", func(name string) {
				n.patch(secretKind, "sh.helm.release.v1."+name+".v3", `{"metadata":{"labels":{"by":"hand"}}}`)
				n.patch(releaseKind, name, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"two"}}}`)
			}, ready(4), leaves(first, passed, passed, upgraded),
		},
		{
			"upgrade that is rolled back", func(name string) {
				n.patch(releaseKind, name, `{"spec":{"timeout":"10s","values":{"value":"c","stuck":true}}}`)
			}, func(u *unstructured.Unstructured) bool {
				return current(u) && settled(u, map[string]string{"Released": "False", "Remediated": "True", "Ready": "False", "Stalled": "True"}, "install 0 upgrade 1")
			}, leaves(first, passed, passed, passed, "failed", "deployed: Rollback to 4"),
		},
		{"uninstall", n.uninstall, gone, leavesNothing},
	} {
		if !t.Run(d.action, func(t *testing.T) { tenant{n.Tenant, t}.dies(reaper, d) }) {
			return // the next begins where this one ends
		}
	}
	if reaper.stillborn == 0 {
		t.Error("nobody died between the announcement of a revision and its Secret")
	}
}

// dies has an action kill whoever works on it, after each write another one, and starts a process that survives.
func (n tenant) dies(reaper *reaper, d death) {
	n.t.Helper()
	began := time.Now()
	reaper.arm()
	for i := range victims {
		d.begin(victimName(i))
	}
	survivors := n.outlive(reaper, d.ended)
	world.Sluice.Process.Kill()
	<-world.Sluice.Process.Done()
	killed := len(reaper.disarm())
	if err := world.Sluice.Restart(within(n.t)); err != nil {
		n.t.Fatal(err)
	}
	for i := range victims {
		n.await(releaseKind, victimName(i), d.ended)
		d.left(n, victimName(i)) // who was killed after i writes
	}
	n.t.Logf("%d were killed, %d got to the end, in %s", killed, survivors, time.Since(began).Round(time.Second))
	if survivors == 0 {
		n.t.Errorf("%s takes more than %d writes: there are too few victims", d.action, victims)
	}
	if killed < 6 {
		n.t.Errorf("%s was killed at %d points only", d.action, killed)
	}
}

// leaves compares helm's history of a release; without a description any will do.
func leaves(want ...string) func(n tenant, name string) {
	return func(n tenant, name string) {
		n.t.Helper()
		if diff := cmp.Diff(want, outline(history(n.t, n.Namespace, name), want)); diff != "" {
			n.t.Errorf("%s: helm history (-want +got):\n%s", name, diff)
		}
	}
}

// leavesNothing looks for anything of a release.
func leavesNothing(n tenant, name string) {
	n.t.Helper()
	n.unreleased(name)
	n.await(harness.DeploymentKind, name, gone)
}

func (n tenant) uninstall(name string) {
	n.t.Helper()
	if err := n.Delete(within(n.t), releaseKind, name); err != nil {
		n.t.Fatal(err)
	}
}

// TestLostWrite loses the write of the status that says how an upgrade ended: that is told once all the same.
func TestLostWrite(t *testing.T) {
	reaper := mortals(t)
	n := newTenant(t, "lost-write", mortalCharts())
	victim := victimName(0)
	n.release(victim, victim, "")
	n.ready(victim)
	reaper.mu.Lock()
	reaper.lose = "UpgradeSucceeded"
	reaper.mu.Unlock()
	n.patch(releaseKind, victim, `{"spec":{"values":{"value":"b"}}}`)
	n.await(releaseKind, victim, all(says("Ready", "True", "UpgradeSucceeded", ""), current))
	reaper.mu.Lock()
	if reaper.lose != "" {
		t.Error("no write was lost")
	}
	reaper.mu.Unlock()
	n.patch(releaseKind, victim, `{"spec":{"values":{"value":"c"}}}`) // whose event comes after all of those
	n.await(releaseKind, victim, all(says("Ready", "True", "UpgradeSucceeded", victim+".v3 "), current))
	told := map[string]int64{}
	err := harness.Until(within(t), 200*time.Millisecond, func(ctx context.Context) (bool, error) {
		r, err := n.Cluster.Resource(eventKind, n.Namespace)
		if err != nil {
			return false, err
		}
		list, err := r.List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + victim + ",reason=UpgradeSucceeded"})
		if err != nil {
			return false, err
		}
		clear(told)
		for _, e := range list.Items {
			message, _, _ := unstructured.NestedString(e.Object, "message")
			count, _, _ := unstructured.NestedInt64(e.Object, "count")
			told[message] += count
		}
		return len(told) == 2, nil
	})
	if err != nil {
		t.Fatalf("%v: told was %v", err, told)
	}
	for message, times := range told {
		if times != 1 {
			t.Errorf("told %d times: %s", times, message)
		}
	}
}

// outlive waits until each victim is dead or at its end, and says how many are at their end.
func (n tenant) outlive(r *reaper, ended func(*unstructured.Unstructured) bool) (survivors int) {
	n.t.Helper()
	open := map[string]bool{}
	for i := range victims {
		open[victimName(i)] = true
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), 3*limit) // they are many
	defer cancel()
	err := harness.Until(ctx, 200*time.Millisecond, func(ctx context.Context) (bool, error) {
		for victim := range maps.Clone(open) {
			if r.isDead(victim) {
				delete(open, victim)
				continue
			}
			u, err := n.Cluster.Get(ctx, releaseKind, n.Namespace, victim)
			if err != nil && !apierrors.IsNotFound(err) {
				return false, err
			}
			if err != nil {
				u = nil
			}
			if ended(u) {
				survivors++
				delete(open, victim)
			}
		}
		return len(open) == 0, nil
	})
	if err != nil {
		n.t.Fatalf("%v: these neither die nor end: %v", err, open)
	}
	return survivors
}
