package identity

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// accounts is an API server that has one service account.
type accounts struct {
	client.Client
	account corev1.ServiceAccount
}

func (a *accounts) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	into, ok := o.(*corev1.ServiceAccount)
	if !ok {
		return fmt.Errorf("there is no %T", o)
	}
	a.account.DeepCopyInto(into)
	return nil
}

// Whatever a provider is told of a service account makes another identity of it, and nothing
// else: each has connections, watches and tokens of its own.
func TestWhatMakesAnotherIdentity(t *testing.T) {
	server := &accounts{}
	identities := New(server, Config{ServiceAccounts: true})
	key := func() string {
		t.Helper()
		session, err := identities.Session(t.Context(), Identity{Provider: GCP, Namespace: "ns", Account: "a"}, Cluster{Resource: "c"})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(session.Key())
	}
	server.account.UID, server.account.ResourceVersion = "1", "1"
	server.account.Annotations = map[string]string{}
	for _, c := range []struct {
		why    string
		change func(*corev1.ServiceAccount)
		same   bool
	}{
		{"any write", func(a *corev1.ServiceAccount) { a.ResourceVersion = "2" }, true},
		{"a label, a Secret, another annotation", func(a *corev1.ServiceAccount) {
			a.Labels = map[string]string{"a": "b"}
			a.Secrets = []corev1.ObjectReference{{Name: "s"}}
			a.Annotations["note"] = "x"
		}, true},
		{"AWS's role", func(a *corev1.ServiceAccount) { a.Annotations["eks.amazonaws.com/role-arn"] = "x" }, false},
		{"Entra's tenant", func(a *corev1.ServiceAccount) { a.Annotations["azure.workload.identity/tenant-id"] = "x" }, false},
		{"Entra's client", func(a *corev1.ServiceAccount) { a.Annotations["azure.workload.identity/client-id"] = "x" }, false},
		{"Google's account", func(a *corev1.ServiceAccount) { a.Annotations["iam.gke.io/gcp-service-account"] = "x" }, false},
		{"Google's pool", func(a *corev1.ServiceAccount) {
			a.Annotations["gcp.auth.fluxcd.io/workload-identity-provider"] = "x"
		}, false},
		{"an account made anew", func(a *corev1.ServiceAccount) { a.UID = types.UID("2") }, false},
	} {
		before := key()
		c.change(&server.account)
		if same := key() == before; same != c.same {
			t.Errorf("%s: the same identity is %v, want %v", c.why, same, c.same)
		}
	}
}
