package engine_test

import (
	"context"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
)

// A forced object is deleted only if the API server would take it afterwards. What
// cannot be created again stays as it is.
func TestForceKeepsWhatCannotBeCreatedAgain(t *testing.T) {
	service := func(name, port string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: NS}\n" +
			"spec: {type: NodePort, selector: {app: a}, ports: [{port: 80, nodePort: " + port + "}]}\n"
	}
	t.Run("a node port that another Service holds", func(t *testing.T) {
		f := newFixture(t)
		f.apply(service("hold", "30777") + "---\n" + service("app", "30778"))
		ref := f.ref("v1", "Service", "app")
		before := f.get(ref).GetUID()
		_, err := f.try(service("hold", "30777")+"---\n"+service("app", "30777"), func(r *engine.Request) { r.Force = true })
		if err == nil || !strings.Contains(err.Error(), "already allocated") {
			t.Errorf("error is %v, want the API server's", err)
		}
		if !f.exists(ref) || f.get(ref).GetUID() != before {
			t.Error("the Service was deleted although it cannot be created again")
		}
	})
	t.Run("no right to create", func(t *testing.T) {
		f := newFixture(t)
		secret := func(v string) string {
			return "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\nimmutable: true\nstringData: {k: " + v + "}\n"
		}
		f.apply(secret("one-secret"))
		ref := f.ref("v1", "Secret", "s")
		before := f.get(ref).GetUID()
		allow(t, f, "get", "list", "patch", "update", "delete")
		client, err := f.cluster.As(f.namespace, "default")
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.try(secret("two-secret"), func(r *engine.Request) { r.Force, r.Client = true, client })
		if err == nil {
			t.Error("an immutable field was changed without the right to create")
		}
		if !f.exists(ref) || f.get(ref).GetUID() != before {
			t.Error("the Secret was deleted by someone who may not create it")
		}
	})
}

// allow gives the namespace's default service account verbs on Secrets.
func allow(t *testing.T, f *fixture, verbs ...string) {
	t.Helper()
	clients, err := kubernetes.NewForConfig(server)
	if err != nil {
		t.Fatal(err)
	}
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "secrets"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: verbs}},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "secrets"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "secrets"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: f.namespace, Name: "default"}},
	}
	ctx := context.Background()
	if _, err := clients.RbacV1().Roles(f.namespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := clients.RbacV1().RoleBindings(f.namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
