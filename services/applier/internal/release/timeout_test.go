package release_test

import (
	"fmt"
	"testing"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// TestTimeoutOfEach gives each hook the whole timeout, and no hook more, whoever goes on with the action.
func TestTimeoutOfEach(t *testing.T) {
	const namespace = "timeout-of-each"
	makeNamespace(t, namespace)
	r := revision(namespace, 1, "one")
	r.Hooks = nil
	for i := range 3 {
		r.Hooks = append(r.Hooks, &helmrelease.Hook{
			Name: fmt.Sprint("h", i), Kind: "Pod", Path: "hook", Events: []helmrelease.HookEvent{helmrelease.HookPreInstall},
			Manifest: fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: h%d}\n"+
				"spec: {restartPolicy: Never, automountServiceAccountToken: false, containers: [{name: a, image: example.com/a}]}\n", i),
		})
	}
	set := kubernetes.NewForConfigOrDie(server)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := set.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	now := time.Now()
	// step is that of a process that has nothing of what those before it remembered.
	step := func() (release.Progress, error) {
		a := newApplier(t, namespace, 1<<40)
		runner := release.Runner{
			Client: a.client, Store: a.store, Now: func() time.Time { return now },
			Options: release.Options{Timeout: time.Minute, DisableWait: true},
		}
		all, err := a.store.List(t.Context(), appName)
		if err == nil && len(all) == 0 {
			all = []*helmstore.Record{r}
			err = runner.Begin(t.Context(), r, helmstore.Run{Action: release.Install, UID: "uid"})
		}
		if err != nil {
			t.Fatal(err)
		}
		return runner.Step(t.Context(), all[0], all)
	}
	for i := range 2 {
		if p, err := step(); err != nil || p.Done || p.Left != time.Minute {
			t.Fatalf("when hook %d begins: %+v, error %v", i, p, err)
		}
		now = now.Add(40 * time.Second)
		if p, err := step(); err != nil || p.Done || p.Left != 20*time.Second {
			t.Fatalf("hook %d after 40 s: %+v, error %v", i, p, err)
		}
		pod, err := set.CoreV1().Pods(namespace).Get(t.Context(), fmt.Sprint("h", i), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pod.Status.Phase = corev1.PodSucceeded
		if _, err := set.CoreV1().Pods(namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := step(); err != nil || p.Done {
		t.Fatalf("when the last hook begins: %+v, error %v", p, err)
	}
	now = now.Add(time.Minute)
	if p, err := step(); err == nil || p.Done {
		t.Fatalf("the last hook after a minute: %+v", p)
	} else if want := "failed pre-install: timed out waiting for the condition: Pod/" + namespace + "/h2"; err.Error() != want {
		t.Errorf("the last hook after a minute: %q, want %q", err, want)
	}
}
