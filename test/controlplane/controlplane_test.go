package controlplane

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestControlPlane(t *testing.T) {
	c := StartT(t, Options{RequestLog: true})
	client := kubernetes.NewForConfigOrDie(c.RESTConfig())
	t.Run("version", func(t *testing.T) { hasVersion(t, c) })
	t.Run("deployment becomes available", func(t *testing.T) { runsDeployment(t, c, client) })
	t.Run("job completes", func(t *testing.T) { runsJob(t, c, client) })
	t.Run("labelled pod stays pending", func(t *testing.T) { leavesPodPending(t, c, client) })
	t.Run("namespace goes away", func(t *testing.T) { deletesNamespace(t, c, client) })
	t.Run("service account token", func(t *testing.T) { honoursServiceAccount(t, c, client) })
	t.Run("custom resources are served", func(t *testing.T) { servesCustomResources(t, c) })
	t.Run("requests are counted", func(t *testing.T) { countsRequests(t, c) })
	t.Run("processor time", func(t *testing.T) { measuresProcessorTime(t, c) })
}

func TestSideBySide(t *testing.T) {
	ctx := t.Context()
	small := Options{NoNodes: true, NoControllerManager: true}
	first, second := StartT(t, small), StartT(t, small)
	a, b := kubernetes.NewForConfigOrDie(first.RESTConfig()), kubernetes.NewForConfigOrDie(second.RESTConfig())
	only := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "only-in-first"}}
	if _, err := a.CoreV1().ConfigMaps("default").Create(ctx, only, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.CoreV1().ConfigMaps("default").Get(ctx, only.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the second instance answered %v for an object of the first, want not found", err)
	}
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	isGone(t, second)
	if _, err := a.CoreV1().ConfigMaps("default").Get(ctx, only.Name, metav1.GetOptions{}); err != nil {
		t.Errorf("the first instance after the second stopped: %v", err)
	}
}

func TestEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, err := Start(ctx, Options{NoNodes: true, NoControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-c.Done()
	isGone(t, c)
	if c.Err() != nil {
		t.Errorf("an ordinary end is reported as failure: %v", c.Err())
	}
}

func TestDeadComponentEndsAll(t *testing.T) {
	c, err := Start(t.Context(), Options{NoNodes: true, NoControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(c.Processes()[etcd], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	isGone(t, c)
	if c.Err() == nil {
		t.Error("a dead component is not reported")
	}
	if err := c.Stop(); err != nil {
		t.Errorf("stop after the end: %v", err)
	}
}

func TestStartReportsTheLogOfADeadComponent(t *testing.T) {
	_, err := Start(t.Context(), Options{NoNodes: true, NoControllerManager: true, APIServerFlags: []string{"--no-such-flag=1"}})
	if err == nil {
		t.Fatal("a component that cannot start is no error")
	}
	for _, want := range []string{apiServer, "no-such-flag"} {
		if !contains(err, want) {
			t.Errorf("error does not name %q: %v", want, err)
		}
	}
}

// isGone fails the test if a process or the folder is still there.
func isGone(t *testing.T, c *ControlPlane) {
	t.Helper()
	for name, pid := range c.Processes() {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s (process %d) is still there: %v", name, pid, err)
		}
	}
	if _, err := os.Stat(c.Folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder %s is still there: %v", c.Folder, err)
	}
}

func hasVersion(t *testing.T, c *ControlPlane) {
	got, err := version.ParseSemantic(c.ServerVersion)
	if err != nil {
		t.Fatalf("server version: %v", err)
	}
	r, err := newRecipe()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.version, "v"+got.String()); diff != "" {
		t.Errorf("server version (-want +got):\n%s", diff)
	}
}

func podTemplate(labels map[string]string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec: corev1.PodSpec{
			RestartPolicy:  corev1.RestartPolicyAlways,
			InitContainers: []corev1.Container{{Name: "first", Image: "example.com/first:1"}},
			Containers:     []corev1.Container{{Name: "app", Image: "example.com/app:1"}},
		},
	}
}

func runsDeployment(t *testing.T, c *ControlPlane, client kubernetes.Interface) {
	labels, replicas := map[string]string{"app": "web"}, int32(2)
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: podTemplate(labels)},
	}
	deployments := client.AppsV1().Deployments("default")
	if _, err := deployments.Create(t.Context(), deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	eventually(t, c, "the deployment to become available", func(ctx context.Context) error {
		d, err := deployments.Get(ctx, "web", metav1.GetOptions{})
		return expect(err, err == nil && d.Status.AvailableReplicas == replicas, d)
	})
	t.Logf("two replicas available after %s", time.Since(start).Round(time.Millisecond))
	background := metav1.DeletePropagationBackground
	if err := deployments.Delete(t.Context(), "web", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
		t.Fatal(err)
	}
	eventually(t, c, "its pods to be collected", func(ctx context.Context) error {
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		return expect(err, err == nil && len(pods.Items) == 0, len(pods.Items))
	})
}

func runsJob(t *testing.T, c *ControlPlane, client kubernetes.Interface) {
	template := podTemplate(nil)
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "once"}, Spec: batchv1.JobSpec{Template: template}}
	if _, err := client.BatchV1().Jobs("default").Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, c, "the job to complete", func(ctx context.Context) error {
		j, err := client.BatchV1().Jobs("default").Get(ctx, "once", metav1.GetOptions{})
		return expect(err, err == nil && j.Status.Succeeded == 1 && j.Status.CompletionTime != nil, j)
	})
}

func leavesPodPending(t *testing.T, c *ControlPlane, client kubernetes.Interface) {
	template := podTemplate(map[string]string{NeverReadyLabel: "true"})
	pods := client.CoreV1().Pods("default")
	stuck := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "stuck", Labels: template.Labels}, Spec: template.Spec}
	ready := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "ready"}, Spec: template.Spec}
	for _, pod := range []*corev1.Pod{stuck, ready} {
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, c, "the later pod to run", func(ctx context.Context) error {
		p, err := pods.Get(ctx, "ready", metav1.GetOptions{})
		return expect(err, err == nil && p.Status.Phase == corev1.PodRunning, p)
	})
	p, err := pods.Get(t.Context(), "stuck", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Status.Phase != corev1.PodPending {
		t.Errorf("the labelled pod is %s, want pending", p.Status.Phase)
	}
}

func deletesNamespace(t *testing.T, c *ControlPlane, client kubernetes.Interface) {
	namespaces := client.CoreV1().Namespaces()
	if _, err := namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := namespaces.Delete(t.Context(), "team", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, c, "the namespace to go away", func(ctx context.Context) error {
		_, err := namespaces.Get(ctx, "team", metav1.GetOptions{})
		return expect(nil, apierrors.IsNotFound(err), err)
	})
}

func honoursServiceAccount(t *testing.T, c *ControlPlane, client kubernetes.Interface) {
	request, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(c.RESTConfig())
	config.BearerToken = request.Status.Token
	account := kubernetes.NewForConfigOrDie(config)
	me, err := account.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("system:serviceaccount:default:default", me.Status.UserInfo.Username); diff != "" {
		t.Errorf("user of the token (-want +got):\n%s", diff)
	}
	if _, err := account.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an account without a role read Secrets: %v", err)
	}
}

func servesCustomResources(t *testing.T, c *ControlPlane) {
	for range 2 { // a second time changes nothing
		if err := c.InstallCRDs(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	client := dynamic.NewForConfigOrDie(c.RESTConfig())
	resource := schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	if _, err := client.Resource(resource).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("list kustomizations: %v", err)
	}
}

func countsRequests(t *testing.T, c *ControlPlane) {
	config := c.RESTConfig()
	config.UserAgent = "counted/1.0 (test)"
	client := kubernetes.NewForConfigOrDie(config)
	from := time.Now()
	for range 3 {
		if _, err := client.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.Stop()
	want := map[string]int{"list secrets": 3, "watch configmaps": 1}
	eventually(t, c, "the requests to be logged", func(context.Context) error {
		requests, err := c.Requests(from, time.Now())
		counts := map[string]int{}
		for _, r := range requests {
			if r.UserAgent == config.UserAgent {
				counts[r.Verb+" "+r.Resource]++
			}
		}
		return expect(err, cmp.Equal(want, counts), counts)
	})
	none, err := c.Requests(from.Add(-time.Hour), from.Add(-time.Hour))
	if err != nil || len(none) > 0 {
		t.Errorf("an empty window holds %d requests, %v", len(none), err)
	}
}

func measuresProcessorTime(t *testing.T, c *ControlPlane) {
	used, err := c.CPUTime()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs() {
		if used[p.name] <= 0 {
			t.Errorf("%s has used %s", p.name, used[p.name])
		}
	}
	t.Logf("processor time so far: %v", used)
}
