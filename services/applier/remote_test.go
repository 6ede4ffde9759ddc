package applier_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/test/controlplane"
)

// TestRemote runs the cases of spec.kubeConfig: one applier, its own control plane and
// another one that is applied to.
func TestRemote(t *testing.T) {
	home := newWorld(t)
	plane := controlplane.StartT(t, controlplane.Options{RequestLog: true, NoNodes: true, NoControllerManager: true})
	admin, err := client.New(plane.RESTConfig(), client.Options{Scheme: home.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	w := &remoteWorld{world: home, far: admin, farPlane: plane}
	type remoteCase struct {
		name   string
		reason string
		run    func(*testing.T, *remoteWorld)
	}
	t.Run("alone", func(t *testing.T) {
		for _, c := range []remoteCase{
			{"shared", "equal kubeconfigs share watches; another user's are apart", remoteShared},
			{"unreachable", "clusters that do not answer hold up nothing", remoteUnreachable},
			{"restart", "a restart asks the other cluster for nothing but what changed meanwhile", remoteRestart},
			{"default account", "decides in both clusters for objects that name none", remoteDefaultAccount},
		} {
			t.Run(c.name, func(t *testing.T) { c.run(t, w) })
		}
	})
	for _, c := range []remoteCase{
		{"life", "apply, drift, prune and deletion happen in the other cluster only", remoteLife},
		{"wait", "a watch of the other cluster ends a wait", remoteWait},
		{"health checks", "listed objects are looked for in the other cluster", remoteHealthChecks},
		{"taken over", "a rival in the other cluster is reported", remoteTakenOver},
		{"service account", "the service account of the other cluster decides", remoteAccount},
		{"service account gone", "a deletion leaves objects behind when the account is gone there", remoteAccountGone},
		{"missing secret", "fails by name and recovers when it is made", remoteMissing},
		{"rotation", "a Secret that changes counts at once when it is labelled", remoteRotation},
		{"moved", "from the own cluster to another one and back", remoteMoved},
		{"secret gone", "a deletion leaves objects behind when the kubeconfig is gone", remoteSecretGone},
		{"config map", "a token of a service account of the namespace", remoteGeneric},
		{"refused", "a kubeconfig that runs programs fails and names the field", remoteRefused},
		{"refused connection", "fails clearly and recovers when the cluster is there", remoteRefusedConnection},
		{"dependency first", "a dependency that is not ready comes before a missing Secret", remoteDependency},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, w)
		})
	}
}

// remoteWorld is a world with another cluster.
type remoteWorld struct {
	*world
	far      client.Client
	farPlane *controlplane.ControlPlane
}

// remoteApp is an app whose objects go to the other cluster, into a namespace of the
// same name.
type remoteApp struct {
	*app
	far client.Client
}

func (w *remoteWorld) newApp(t *testing.T, edit func(*kustomizev1.Kustomization)) *remoteApp {
	t.Helper()
	a := &remoteApp{app: w.world.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.KubeConfig = secretRef("far")
		if edit != nil {
			edit(ks)
		}
	}), far: w.far}
	if err := w.far.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.namespace}}); err != nil {
		t.Fatal(err)
	}
	return a
}

func secretRef(name string) *fluxmeta.KubeConfigReference {
	return &fluxmeta.KubeConfigReference{SecretRef: &fluxmeta.SecretKeyReference{Name: name}}
}

// kubeconfig issues a kubeconfig of the other cluster for a user who may do everything.
func (w *remoteWorld) kubeconfig(t *testing.T, user string) *api.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := w.farPlane.Kubeconfig(path, user, "system:masters"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.Load(text)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// secret stores a kubeconfig under the name that apps refer to.
func (a *remoteApp) secret(config *api.Config, labels map[string]string) {
	a.t.Helper()
	text, err := clientcmd.Write(*config)
	if err != nil {
		a.t.Fatal(err)
	}
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "far", Labels: labels}, Data: map[string][]byte{"value": text},
	}
	err = a.Create(a.t.Context(), s)
	if apierrors.IsAlreadyExists(err) {
		err = a.Update(a.t.Context(), s)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// connected returns an app with a kubeconfig of its own user.
func (w *remoteWorld) connected(t *testing.T, edit func(*kustomizev1.Kustomization)) *remoteApp {
	t.Helper()
	a := w.newApp(t, edit)
	a.secret(w.kubeconfig(t, "user-of-"+a.namespace), nil)
	return a
}

func (a *remoteApp) farMap(name string) (*corev1.ConfigMap, error) {
	cm := &corev1.ConfigMap{}
	return cm, a.far.Get(a.t.Context(), client.ObjectKey{Namespace: a.namespace, Name: name}, cm)
}

// farHolds waits until a ConfigMap of the other cluster holds a value under key v; an
// empty one waits until the ConfigMap is gone.
func (a *remoteApp) farHolds(name, value string) {
	a.t.Helper()
	a.until(fmt.Sprintf("far ConfigMap %s holds %q", name, value), func() error {
		cm, err := a.farMap(name)
		if apierrors.IsNotFound(err) && value == "" {
			return nil
		}
		if err == nil && (value == "" || cm.Data["v"] != value) {
			err = fmt.Errorf("holds %q", cm.Data["v"])
		}
		return err
	})
}

// stranger makes sure that a ConfigMap is not in the applier's own cluster.
func (a *remoteApp) stranger(name string) {
	a.t.Helper()
	if _, err := a.configMap(name); !apierrors.IsNotFound(err) {
		a.t.Errorf("ConfigMap %s at home: %v", name, err)
	}
}

func remoteShared(t *testing.T, w *remoteWorld) {
	const watches = "watch configmaps"
	from := time.Now()
	config := w.kubeconfig(t, "shared")
	first := w.newApp(t, nil)
	first.secret(config, nil)
	second := w.newApp(t, nil)
	second.secret(config, nil)
	third := w.connected(t, nil)
	for _, a := range []*remoteApp{first, second, third} {
		a.build(configMap("one", "1"))
		a.ready()
		a.farHolds("one", "1")
		a.stranger("one")
	}
	seen := map[string]int{}
	first.until("three objects were applied over two connections", func() error {
		all, err := w.farPlane.Requests(from, time.Now())
		if err != nil {
			return err
		}
		clear(seen)
		for _, r := range all {
			if strings.HasPrefix(r.UserAgent, userAgent) {
				seen[r.User+": "+r.Verb+" "+r.Resource]++
			}
		}
		if seen["shared: "+watches] == 0 || seen["user-of-"+third.namespace+": "+watches] == 0 {
			return fmt.Errorf("seen %v", seen)
		}
		return nil
	})
	if n := seen["shared: "+watches]; n != 1 {
		t.Errorf("two objects with equal kubeconfigs hold %d watches of ConfigMaps: %v", n, seen)
	}
}

func remoteLife(t *testing.T, w *remoteWorld) {
	a := w.connected(t, nil)
	a.build(configMap("one", "1"), configMap("two", "2"))
	a.ready()
	a.farHolds("one", "1")
	a.stranger("one")

	cm, err := a.farMap("one")
	if err != nil {
		t.Fatal(err)
	}
	cm.Data["v"] = "edited"
	if err := a.far.Update(t.Context(), cm, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	a.journalHas(events.TypeDriftDetected, events.TypeDriftCorrected)
	a.farHolds("one", "1")

	a.moveSource("main@sha1:2")
	a.build(configMap("one", "1"))
	a.ready()
	a.farHolds("two", "")
	a.delete()
	a.farHolds("one", "")
}

func remoteWait(t *testing.T, w *remoteWorld) {
	a := w.connected(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.Wait = true
		ks.Spec.Timeout = &metav1.Duration{Duration: 2 * time.Minute}
	})
	a.build(deployment("web", true))
	a.condition(kube.ConditionReady, "Unknown", "Progressing", "")
	a.journalHas(events.TypeHealth)
	// Nobody runs Deployments there, so the test says how it goes.
	a.until("the Deployment is said to be available", func() error {
		d := &appsv1.Deployment{}
		if err := a.far.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: "web"}, d); err != nil {
			return err
		}
		d.Status = appsv1.DeploymentStatus{
			ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
			Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable"},
				{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"},
			},
		}
		return a.far.Status().Update(t.Context(), d)
	})
	a.ready()
	a.condition(kube.ConditionHealthy, "True", "Succeeded", "Health check passed in")
}

func remoteHealthChecks(t *testing.T, w *remoteWorld) {
	a := w.connected(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.HealthChecks = []fluxmeta.NamespacedObjectKindReference{{APIVersion: "v1", Kind: "ConfigMap", Namespace: ks.Namespace, Name: "awaited"}}
		ks.Spec.Timeout = &metav1.Duration{Duration: 2 * time.Minute}
	})
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionReady, "Unknown", "Progressing", "")
	a.farHolds("one", "1")
	if err := a.far.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "awaited"}}); err != nil {
		t.Fatal(err)
	}
	a.ready()
}

func remoteTakenOver(t *testing.T, w *remoteWorld) {
	a := w.connected(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	b := a.as("rival")
	b.create(b.name, func(ks *kustomizev1.Kustomization) { ks.Spec.KubeConfig = secretRef("far") })
	b.build(configMap("one", "2"))
	b.ready()
	a.farHolds("one", "2")
	a.event("Warning", "ObjectTakenOver", "rival")
}

func remoteAccount(t *testing.T, w *remoteWorld) {
	a := w.connected(t, asAccount)
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "system:serviceaccount:"+a.namespace+":tenant")
	grantIn(t, w.far, a.namespace)
	a.ready()
	a.farHolds("one", "1")
	a.delete()
	a.farHolds("one", "")
}

func remoteAccountGone(t *testing.T, w *remoteWorld) {
	a := w.connected(t, asAccount)
	grantIn(t, w.far, a.namespace)
	a.build(configMap("one", "1"))
	a.ready()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "tenant"}}
	if err := w.far.Delete(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	a.delete()
	a.farHolds("one", "1")
	a.event("Warning", "PruneFailed", "ConfigMap/"+a.namespace+"/one")
}

func remoteMissing(t *testing.T, w *remoteWorld) {
	a := w.newApp(t, nil)
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", `Secret "far" not found`)
	a.condition(kube.ConditionReconciling, "True", "ProgressingWithRetry", `Secret "far" not found`)
	a.secret(w.kubeconfig(t, "late"), nil)
	a.ready()
	a.farHolds("one", "1")
}

func remoteRotation(t *testing.T, w *remoteWorld) {
	watched := map[string]string{"reconcile.fluxcd.io/watch": "Enabled"}
	a := w.newApp(t, nil)
	a.secret(w.kubeconfig(t, "before-"+a.namespace), watched)
	a.build(configMap("one", "1"))
	a.ready()
	from := time.Now()
	a.secret(w.kubeconfig(t, "after-"+a.namespace), watched)
	a.until("the new user watches what there is, though the interval is an hour", func() error {
		all, err := w.farPlane.Requests(from, time.Now())
		if err != nil {
			return err
		}
		for _, r := range all {
			if r.User == "after-"+a.namespace && r.Verb == "watch" && r.Resource == "configmaps" {
				return nil
			}
		}
		return errors.New("the new user watches nothing")
	})
	a.settled()
	cm, err := a.farMap("one")
	if err != nil {
		t.Fatal(err)
	}
	cm.Data["v"] = "edited"
	if err := w.far.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	a.farHolds("one", "1")
}

func remoteMoved(t *testing.T, w *remoteWorld) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) { ks.Spec.KubeConfig = nil })
	a.secret(w.kubeconfig(t, "moved"), nil)
	a.build(configMap("one", "1"))
	a.ready()
	a.holds("one", "1")
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.KubeConfig = secretRef("far") })
	a.build(configMap("one", "1"))
	a.ready()
	a.farHolds("one", "1")
	a.edit(func(ks *kustomizev1.Kustomization) { ks.Spec.KubeConfig = nil })
	a.build(configMap("one", "1"))
	a.ready()
	a.setValue("one", "v", "edited")
	a.holds("one", "1")
}

func remoteSecretGone(t *testing.T, w *remoteWorld) {
	a := w.connected(t, nil)
	a.build(configMap("one", "1"))
	a.ready()
	if err := a.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "far"}}); err != nil {
		t.Fatal(err)
	}
	a.delete()
	a.farHolds("one", "1")
	a.event("Warning", "PruneFailed", "ConfigMap/"+a.namespace+"/one")
}

// remoteGeneric reaches the applier's own cluster as if it were another one: it is the
// one that trusts the tokens that it issues.
func remoteGeneric(t *testing.T, w *remoteWorld) {
	a := w.world.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.KubeConfig = &fluxmeta.KubeConfigReference{ConfigMapRef: &fluxmeta.LocalObjectReference{Name: "far"}}
	})
	grantIn(t, w.Client, a.namespace)
	reach := w.plane.RESTConfig()
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "far"},
		Data: map[string]string{
			"provider": "generic", "address": reach.Host, "ca.crt": string(reach.CAData),
			"audiences": "https://kubernetes.default.svc\n", "serviceAccountName": "tenant",
		},
	}
	if err := w.Create(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	a.build(configMap("one", "1"))
	a.ready()
	a.holds("one", "1")
	all, err := w.plane.Requests(from, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	applied := ""
	for _, r := range all {
		if r.Verb == "patch" && r.Namespace == a.namespace && r.Name == "one" && r.Resource == "configmaps" {
			applied = r.User
		}
	}
	if want := "system:serviceaccount:" + a.namespace + ":tenant"; applied != want {
		t.Errorf("applied as %q, want %s", applied, want)
	}
}

func remoteRefused(t *testing.T, w *remoteWorld) {
	a := w.newApp(t, nil)
	marker := filepath.Join(t.TempDir(), "it-ran")
	config := w.kubeconfig(t, "exec")
	config.AuthInfos["exec"] = &api.AuthInfo{Exec: &api.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", Command: "touch", Args: []string{marker}, InteractiveMode: api.NeverExecInteractiveMode,
	}}
	a.secret(config, nil)
	a.build(configMap("one", "1"))
	ks := a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "user.exec is refused")
	if c := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReady); !strings.Contains(c.Message, `Secret "far"`) || strings.Contains(c.Message, "touch") {
		t.Errorf("message is %q", c.Message)
	}
	if _, err := os.Stat(marker); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the program ran: %v", err)
	}
	a.secret(w.kubeconfig(t, "mended"), nil)
	a.ready()
}

func remoteDependency(t *testing.T, w *remoteWorld) {
	a := w.newApp(t, func(ks *kustomizev1.Kustomization) {
		ks.Spec.DependsOn = []kustomizev1.DependencyReference{{Name: "maker"}}
	})
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionReady, "False", "DependencyNotReady", "maker")
	maker := a.as("maker")
	maker.create(maker.name, nil)
	maker.build(configMap("made", "1"))
	maker.ready()
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", `Secret "far" not found`)
}

// remoteRefusedConnection begins with an address that nobody listens on, which later
// leads to the cluster.
func remoteRefusedConnection(t *testing.T, w *remoteWorld) {
	var listen net.ListenConfig
	reserved, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := reserved.Addr().String()
	if err := reserved.Close(); err != nil {
		t.Fatal(err)
	}
	a := w.newApp(t, nil)
	config := w.kubeconfig(t, "shut")
	server := config.Clusters["controlplane"].Server
	config.Clusters["controlplane"].Server = "https://" + address
	a.secret(config, nil)
	a.build(configMap("one", "1"))
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "cannot reach cluster https://"+address)
	a.condition(kube.ConditionReady, "False", "ReconciliationFailed", "connection refused")

	listener, err := listen.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go forward(t.Context(), listener, strings.TrimPrefix(server, "https://"))
	a.ready()
	a.farHolds("one", "1")
}
