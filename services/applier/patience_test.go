package applier_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// unbound is a manifest of a claim for storage that no cluster has: it is never
// ready, and costs no Pod.
func unbound(name string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s, namespace: NS}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: none
  resources: {requests: {storage: 1Gi}}
`, name)
}

// soon is how long others may take beside the hundred, also on a busy machine. They must
// take two seconds, which the log is for; one that waits for the worker takes ten minutes.
const soon = 10 * time.Second

// within fails when what began a while ago took longer than soon, and logs what it took.
func within(t *testing.T, what string, began time.Time) {
	t.Helper()
	took := time.Since(began)
	t.Logf("%s live after %s", what, took.Round(time.Millisecond))
	if took > soon {
		t.Errorf("%s took %s, want at most %s", what, took, soon)
	}
}

// hundred has more objects that do not get ready than workers; all of them still wait
// when others are applied.
func hundred(t *testing.T, w *world) {
	const crowd, workers = 100, 1
	w.stop()
	defer func() { w.stop = w.start(applier.Settings{}) }()
	stop := w.run("", applier.Config{Single: true, Concurrency: workers})
	defer stop()
	patient := func(ks *kustomizev1.Kustomization) {
		ks.Spec.Wait = true
		ks.Spec.Timeout = &metav1.Duration{Duration: 10 * time.Minute}
	}
	one := w.newApp(t, patient)
	stuck := []*app{one}
	for i := range crowd - 1 {
		next := one.as(fmt.Sprintf("stuck-%d", i))
		one.create(next.name, patient)
		stuck = append(stuck, next)
	}
	for _, a := range stuck {
		a.build(unbound(a.name))
	}
	waits := func() int {
		list := &kustomizev1.KustomizationList{}
		if err := w.List(t.Context(), list, client.InNamespace(one.namespace)); err != nil {
			t.Fatal(err)
		}
		n := 0
		for i := range list.Items {
			if status.WaitOn(&list.Items[i]) {
				n++
			}
		}
		return n
	}
	began := time.Now()
	one.untilWithin(2*patience, "all of them wait", func() error {
		if n := waits(); n != crowd {
			return fmt.Errorf("%d wait", n)
		}
		return nil
	})
	t.Logf("%d applied and waiting after %s", crowd, time.Since(began).Round(time.Millisecond))

	began = time.Now()
	other := w.newApp(t, nil)
	other.build(configMap("other", "1"))
	other.ready()
	within(t, "another namespace's object", began)

	began = time.Now()
	neighbour := one.as("neighbour")
	one.create(neighbour.name, nil)
	neighbour.build(configMap("neighbour", "1"))
	neighbour.ready()
	within(t, "their own namespace's object", began)
	if n := waits(); n != crowd {
		t.Errorf("%d wait, want %d", n, crowd)
	}

	began = time.Now()
	stuck[crowd/2].moveSource("main@sha1:fix")
	stuck[crowd/2].build(configMap("fixed", "1"))
	stuck[crowd/2].ready()
	within(t, "a fix for one of them", began)
	if n := waits(); n != crowd-1 {
		t.Errorf("%d wait, want %d", n, crowd-1)
	}

	sent := one.sentDuring(10 * time.Second)
	t.Logf("requests while the others wait, in 10 s: %v", sent)
	if sent["get persistentvolumeclaims"] > crowd {
		t.Errorf("waiting is not cheap: %v", sent)
	}
}

// deadline begins a wait, restarts the applier on streams that forgot it, and
// expects the wait to go on from where it was.
func deadline(t *testing.T, w *world) {
	a := w.newApp(t, waiting)
	a.build(unbound("stuck"))
	a.condition(kube.ConditionHealthy, "Unknown", "Progressing", "Running health checks")
	a.settled()
	before := a.get()
	w.stop()
	for _, stream := range []string{events.StreamEvents, events.CheckStream(events.StageApply)} {
		w.wipe(t, stream)
	}
	w.stop = w.start(applier.Settings{})
	a.until("a build is taken", func() error { return a.tryPublish(a.seal(a.keys, unbound("stuck"))) })
	healthy := meta.FindStatusCondition(before.Status.Conditions, kube.ConditionHealthy)
	end := healthy.LastTransitionTime.Add(before.GetTimeout())
	a.untilWithin(time.Until(end)+patience/2, "the wait times out", func() error {
		if !slices.ContainsFunc(a.messages("Warning", "HealthCheckFailed"), func(string) bool { return true }) {
			return fmt.Errorf("no event yet")
		}
		return nil
	})
	if late := time.Since(end); late > patience/3 || late < -time.Second {
		t.Errorf("the wait ended %s after its deadline", late)
	}
}
