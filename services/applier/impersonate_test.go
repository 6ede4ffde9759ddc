package applier_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier"
)

func remoteDefaultAccount(t *testing.T, w *remoteWorld) {
	w.with(applier.Settings{DefaultServiceAccount: "tenant"}, func() {
		near := w.world.newApp(t, nil)
		far := w.connected(t, nil)
		for _, a := range []*app{near, far.app} {
			a.build(configMap("one", "1"))
			a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "system:serviceaccount:"+a.namespace+":tenant")
		}
		grantIn(t, w.Client, near.namespace)
		grantIn(t, w.far, far.namespace)
		near.ready()
		far.ready()
		far.farHolds("one", "1")
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: near.namespace, Name: "tenant"}}
		if err := w.Delete(t.Context(), account); err != nil {
			t.Fatal(err)
		}
		near.delete()
		near.holds("one", "1")
		near.event("Warning", "PruneFailed", "ConfigMap/"+near.namespace+"/one")
	})
}
