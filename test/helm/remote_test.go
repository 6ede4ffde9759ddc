package helm

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/harness"
)

// farChart says what it sees of its cluster: a kind that only the other one serves, and an object
// that is only there.
func farChart() map[string]string {
	return map[string]string{
		"far/Chart.yaml":  "apiVersion: v2\nname: far\nversion: 1.0.0\n",
		"far/values.yaml": "message: one\n",
		"far/templates/config.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data:
  message: {{ .Values.message }}
  gadgets: "{{ .Capabilities.APIVersions.Has "far.example.com/v1/Gadget" }}"
  where: {{ dig "data" "where" "nowhere" (lookup "v1" "ConfigMap" .Release.Namespace "place") }}
`,
	}
}

const gadgets = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.far.example.com}
spec:
  group: far.example.com
  scope: Namespaced
  names: {kind: Gadget, listKind: GadgetList, plural: gadgets, singular: gadget}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

var secretKind = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}

// farCluster is another control plane.
type farCluster struct {
	plane      *controlplane.ControlPlane
	cluster    *harness.Cluster
	kubeconfig string
}

func newRemote(t *testing.T) *farCluster {
	t.Helper()
	plane := controlplane.StartT(t, controlplane.Options{NoNodes: true, NoControllerManager: true})
	far, err := harness.Connect(plane.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	r := &farCluster{plane: plane, cluster: far, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := plane.Kubeconfig(r.kubeconfig, "sluice", "system:masters"); err != nil {
		t.Fatal(err)
	}
	if err := far.Apply(within(t), "", []byte(gadgets)); err != nil {
		t.Fatal(err)
	}
	return r
}

// namespace makes the tenant's namespace there too, with an object that says where it is.
func (r *farCluster) namespace(n tenant) {
	n.t.Helper()
	manifest := fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: place, namespace: %s}\ndata: {where: far}\n",
		n.Namespace, n.Namespace)
	if err := r.cluster.Apply(within(n.t), "", []byte(manifest)); err != nil {
		n.t.Fatal(err)
	}
}

func (r *farCluster) await(n tenant, kind schema.GroupVersionKind, name string, ok func(*unstructured.Unstructured) bool) {
	n.t.Helper()
	var last *unstructured.Unstructured
	if _, err := r.cluster.WaitFor(within(n.t), kind, n.Namespace, name, func(u *unstructured.Unstructured) bool {
		last = u
		return ok(u)
	}); err != nil {
		n.t.Fatalf("far away: %v: %v", err, last)
	}
}

// connect stores a kubeconfig under the name that releases refer to.
func (n tenant) connect(kubeconfig string) {
	n.t.Helper()
	if err := world.Secret(within(n.t), n.Namespace, "far", map[string]string{"value": kubeconfig}); err != nil {
		n.t.Fatal(err)
	}
}

func (r *farCluster) text(t *testing.T) string {
	t.Helper()
	body, err := os.ReadFile(r.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

const throughSecret = "kubeConfig: {secretRef: {name: far}}\n"

// TestRemote makes releases in another cluster: what templates see, storage and objects are there.
func TestRemote(t *testing.T) {
	far := newRemote(t)
	t.Run("life", func(t *testing.T) { remoteLife(t, far) })
	t.Run("missing and late", func(t *testing.T) { remoteMissing(t, far) })
	t.Run("secret gone", func(t *testing.T) { remoteSecretGone(t, far) })
	t.Run("unwatched", func(t *testing.T) { remoteUnwatched(t, far) })
	t.Run("config map", remoteConfigMap)
	t.Run("gate", remoteGate)
	t.Run("refused", func(t *testing.T) { remoteRefused(t, far) })
	t.Run("unreachable", remoteUnreachable)
}

func remoteLife(t *testing.T, far *farCluster) {
	n := newTenant(t, "remote-life", farChart())
	far.namespace(n)
	n.connect(far.text(t))
	n.release("app", "far", throughSecret)
	n.ready("app")
	far.await(n, harness.ConfigMapKind, "app", all(holds("message", "one"), holds("gadgets", "true"), holds("where", "far")))
	far.await(n, secretKind, "sh.helm.release.v1.app.v1", func(u *unstructured.Unstructured) bool { return u != nil })
	began := time.Now()
	n.patch(releaseKind, "app", `{"spec":{"values":{"message":"two"}}}`)
	far.await(n, harness.ConfigMapKind, "app", holds("message", "two"))
	t.Logf("new values are live in the other cluster after %s", time.Since(began).Round(time.Millisecond))
	n.ready("app")
	n.await(harness.ConfigMapKind, "app", gone)
	if _, err := action.NewHistory(sdk(t, n.Namespace)).Run("app"); err == nil {
		t.Error("the release is stored at home")
	}
	if err := n.Delete(within(t), releaseKind, "app"); err != nil {
		t.Fatal(err)
	}
	n.await(releaseKind, "app", gone)
	far.await(n, harness.ConfigMapKind, "app", gone)
	far.await(n, secretKind, "sh.helm.release.v1.app.v2", gone)
}

func remoteMissing(t *testing.T, far *farCluster) {
	n := newTenant(t, "remote-missing", farChart())
	far.namespace(n)
	n.release("app", "far", throughSecret)
	n.await(releaseKind, "app", says("Ready", "False", "RESTClientError", `Secret "far" not found`))
	n.connect(far.text(t))
	n.patch(releaseKind, "app", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
	n.ready("app")
	far.await(n, harness.ConfigMapKind, "app", holds("where", "far"))
}

func remoteSecretGone(t *testing.T, far *farCluster) {
	n := newTenant(t, "remote-gone", farChart())
	far.namespace(n)
	n.connect(far.text(t))
	n.release("app", "far", throughSecret)
	n.ready("app")
	for _, gvk := range []schema.GroupVersionKind{secretKind, releaseKind} {
		name := map[string]string{"Secret": "far", "HelmRelease": "app"}[gvk.Kind]
		if err := n.Delete(within(t), gvk, name); err != nil {
			t.Fatal(err)
		}
	}
	n.await(releaseKind, "app", gone)
	far.await(n, harness.ConfigMapKind, "app", holds("message", "one")) // left behind
}

// remoteUnwatched finds at the interval what a kubeconfig's user may not watch.
func remoteUnwatched(t *testing.T, far *farCluster) {
	n := newTenant(t, "remote-unwatched", farChart())
	far.namespace(n)
	if err := far.cluster.Apply(within(t), n.Namespace, []byte(`apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: limited}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: limited}]
`)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := far.plane.Kubeconfig(path, "limited"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n.connect(string(text))
	n.release("app", "far", throughSecret+"driftDetection: {mode: enabled}\n")
	n.ready("app")
	n.patch(releaseKind, "app", `{"spec":{"interval":"2s"}}`)
	n.ready("app")
	if err := far.cluster.Apply(within(t), n.Namespace, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {message: edited}\n")); err != nil {
		t.Fatal(err)
	}
	far.await(n, harness.ConfigMapKind, "app", holds("message", "one"))
}

// remoteConfigMap reaches the own cluster as another one, with a token of a service account.
func remoteConfigMap(t *testing.T) {
	n := newTenant(t, "remote-token", farChart())
	var ca strings.Builder
	for line := range strings.Lines(string(world.REST.CAData)) {
		ca.WriteString("    " + line)
	}
	n.apply(fmt.Sprintf(`apiVersion: v1
kind: ServiceAccount
metadata: {name: tenant}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tenant}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: tenant}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: far}
data:
  provider: generic
  address: %s
  audiences: https://kubernetes.default.svc
  serviceAccountName: tenant
  ca.crt: |
%s`, world.REST.Host, ca.String()))
	n.release("app", "far", "kubeConfig: {configMapRef: {name: far}}\n")
	n.ready("app")
	n.await(harness.ConfigMapKind, "app", all(holds("gadgets", "false"), holds("where", "nowhere")))
}

// remoteGate asks for the identity that a service account has at a cloud, which is not allowed.
func remoteGate(t *testing.T) {
	n := newTenant(t, "remote-gate", farChart())
	n.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: far}\n" +
		"data: {provider: gcp, cluster: projects/p/locations/l/clusters/c, serviceAccountName: tenant}\n")
	n.release("app", "far", "kubeConfig: {configMapRef: {name: far}}\n")
	n.await(releaseKind, "app", says("Stalled", "True", "FeatureGateDisabled", "please enable the ObjectLevelWorkloadIdentity feature gate"))
}

func remoteRefused(t *testing.T, far *farCluster) {
	n := newTenant(t, "remote-refused", farChart())
	marker := filepath.Join(t.TempDir(), "it-ran")
	for _, tt := range []struct {
		why  string
		user *api.AuthInfo
		want string
	}{
		{"a program would run with the applier's rights", &api.AuthInfo{Exec: &api.ExecConfig{
			APIVersion: "client.authentication.k8s.io/v1", Command: "touch", Args: []string{marker}, InteractiveMode: api.NeverExecInteractiveMode,
		}}, "user.exec is refused"},
		{"a plugin", &api.AuthInfo{AuthProvider: &api.AuthProviderConfig{Name: "oidc"}}, "auth-provider"},
		{"a file of the applier", &api.AuthInfo{TokenFile: "/var/run/secrets/token"}, "tokenFile"},
	} {
		config, err := clientcmd.LoadFromFile(far.kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		for name := range config.AuthInfos {
			config.AuthInfos[name] = tt.user
		}
		text, err := clientcmd.Write(*config)
		if err != nil {
			t.Fatal(err)
		}
		n.connect(string(text))
		n.release("app", "far", throughSecret)
		n.patch(releaseKind, "app", fmt.Sprintf(`{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, tt.want))
		n.await(releaseKind, "app", says("Ready", "False", "RESTClientError", tt.want))
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("the program ran")
	}
}

// remoteUnreachable shows that a cluster that takes connections and never answers holds up neither
// the builder nor the applier, however many releases are for it.
func remoteUnreachable(t *testing.T) {
	n := newTenant(t, "remote-silent", farChart())
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	config := api.NewConfig()
	config.Clusters["c"] = &api.Cluster{Server: "https://" + listener.Addr().String()}
	config.AuthInfos["u"] = &api.AuthInfo{Token: "any"}
	config.Contexts["x"] = &api.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	text, err := clientcmd.Write(*config)
	if err != nil {
		t.Fatal(err)
	}
	n.connect(string(text))
	const many = 12
	for i := range many {
		n.release(fmt.Sprintf("lost-%d", i), "far", throughSecret)
	}
	n.release("near", "far", "")
	began := time.Now()
	n.ready("near")
	t.Logf("a release at home is ready after %s, beside %d for a cluster that never answers", time.Since(began).Round(time.Millisecond), many)
	n.await(releaseKind, "lost-0", says("Ready", "False", "RESTClientError", "no answer within 8s"))
	n.patch(releaseKind, "near", `{"spec":{"values":{"message":"two"}}}`)
	n.await(harness.ConfigMapKind, "near", holds("message", "two"))
}
