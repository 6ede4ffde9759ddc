package deploy_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sluice-gitops/sluice/deploy/crds"
	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/harness"
)

const patience = 3 * time.Minute

var deploymentKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}

// render returns the objects of a folder below deploy/.
func render(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := harness.Manifests(folder)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// tokenOf writes a kubeconfig with a token of a service account of sluice-system.
func tokenOf(ctx context.Context, t *testing.T, plane *controlplane.ControlPlane, account string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := harness.ActAs(ctx, plane.RESTConfig(), account, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// world is a control plane with simulated nodes that nothing is installed on yet.
func world(t *testing.T) (*controlplane.ControlPlane, *harness.Cluster) {
	t.Helper()
	plane := controlplane.StartT(t)
	cluster, err := harness.Connect(plane.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return plane, cluster
}

func apply(ctx context.Context, t *testing.T, cluster *harness.Cluster, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		if err := cluster.ApplyObject(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		if _, err := cluster.WaitFor(ctx, o.GroupVersionKind(), "", o.GetName(), func(u *unstructured.Unstructured) bool {
			status, _, _ := harness.Condition(u, "Established")
			return status == "True"
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// available waits until the pods of every Deployment were admitted and run.
func available(ctx context.Context, t *testing.T, cluster *harness.Cluster, objects []*unstructured.Unstructured) int {
	t.Helper()
	count := 0
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		count++
		if _, err := cluster.WaitFor(ctx, deploymentKind, o.GetNamespace(), o.GetName(), func(u *unstructured.Unstructured) bool {
			status, _, _ := harness.Condition(u, "Available")
			return status == "True"
		}); err != nil {
			t.Fatalf("the namespace admits no pod of %s, or none runs: %v", o.GetName(), err)
		}
	}
	return count
}

func TestFourServices(t *testing.T) {
	_, cluster := world(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	objects := render(t, "kubernetes")
	apply(ctx, t, cluster, objects)
	if n := available(ctx, t, cluster, objects); n != 4 {
		t.Errorf("the base has %d Deployments, want the four services", n)
	}
}

func TestEveryDefinitionIsListed(t *testing.T) {
	documents, err := crds.All()
	if err != nil {
		t.Fatal(err)
	}
	if objects := render(t, "crds"); len(objects) != len(documents) {
		t.Errorf("deploy/crds/kustomization.yaml lists %d definitions, the folder has %d", len(objects), len(documents))
	}
}

// The pods ask for nothing that a namespace of the level restricted refuses, write to
// no file system but their own folders, and leave nothing out that we promise.
func TestPodsAreRestricted(t *testing.T) {
	for _, folder := range []string{"kubernetes", "kubernetes/one-process"} {
		for _, o := range render(t, folder) {
			if o.GetKind() != "Deployment" {
				continue
			}
			containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range containers {
				container := c.(map[string]any)
				readOnly, _, _ := unstructured.NestedBool(container, "securityContext", "readOnlyRootFilesystem")
				if !readOnly {
					t.Errorf("%s: the root file system of %s can be written", o.GetName(), o.GetName())
				}
				for _, probe := range []string{"livenessProbe", "readinessProbe"} {
					if container[probe] == nil {
						t.Errorf("%s has no %s", o.GetName(), probe)
					}
				}
			}
		}
	}
}

// No service but the applier can write anything but its own custom resources'
// status, its lease and Kubernetes Events; and with components/impersonation not even the applier.
func TestRightsAreSmall(t *testing.T) {
	for _, o := range render(t, "kubernetes") {
		if o.GetKind() != "ClusterRole" {
			continue
		}
		rules, _, err := unstructured.NestedSlice(o.Object, "rules")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rules {
			rule := r.(map[string]any)
			for _, verb := range texts(rule["verbs"]) {
				if problem := excess(texts(rule["apiGroups"]), texts(rule["resources"]), verb); problem != "" {
					t.Errorf("%s: %s", o.GetName(), problem)
				}
			}
		}
	}
	tokens, told := 0, 0
	for _, o := range render(t, "kubernetes/identified") {
		if o.GetName() == "sluice-fetcher-identities" {
			tokens++
		}
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if o.GetKind() == "Deployment" && slices.ContainsFunc(containers[0].(map[string]any)["env"].([]any), func(v any) bool {
			return v.(map[string]any)["name"] == "SLUICE_OBJECT_LEVEL_WORKLOAD_IDENTITY"
		}) {
			told++
		}
	}
	if tokens != 2 {
		t.Errorf("%d objects give the right to ask for tokens, want a role and its binding", tokens)
	}
	if told != 2 {
		t.Errorf("%d services are told that they may ask for tokens, want the fetcher and the applier", told)
	}
	for _, o := range render(t, "kubernetes/impersonated") {
		if ref, _, _ := unstructured.NestedString(o.Object, "roleRef", "name"); ref == "cluster-admin" {
			t.Errorf("%s still grants cluster-admin", o.GetName())
		}
	}
}

func excess(groups, resources []string, verb string) string {
	switch {
	case slices.Contains([]string{"get", "list", "watch"}, verb):
		return ""
	case verb == "patch" && strings.HasSuffix(groups[0], ".toolkit.fluxcd.io"):
		return ""
	case verb == "patch" && groups[0] == "source.extensions.fluxcd.io":
		return ""
	case slices.Equal(resources, []string{"externalartifacts"}) && (verb == "create" || verb == "delete"): // an ArtifactGenerator's
		return ""
	case slices.Equal(resources, []string{"helmcharts"}) && (verb == "create" || verb == "delete"): // a HelmRelease's
		return ""
	case slices.Equal(resources, []string{"events"}) && (verb == "create" || verb == "patch"):
		return ""
	case slices.Equal(resources, []string{"serviceaccounts"}) && verb == "impersonate":
		return ""
	case slices.Equal(resources, []string{"serviceaccounts/token"}) && verb == "create": // no more than impersonation gives
		return ""
	}
	return fmt.Sprintf("may %s %v of %v", verb, resources, groups)
}

func texts(list any) []string {
	var out []string
	items, _ := list.([]any)
	for _, item := range items {
		out = append(out, fmt.Sprint(item))
	}
	return out
}

// The API server tells the requests of a service apart by namespace, so that one
// tenant's do not wait there behind another's.
func TestRequestsAreToldApart(t *testing.T) {
	plane, cluster := world(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	objects := render(t, "kubernetes/one-process")
	apply(ctx, t, cluster, objects)
	var want string
	for _, o := range objects {
		if o.GetKind() != "FlowSchema" {
			continue
		}
		if _, err := cluster.WaitFor(ctx, o.GroupVersionKind(), "", o.GetName(), func(u *unstructured.Unstructured) bool {
			if u != nil {
				want = string(u.GetUID())
			}
			return u != nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	reach, err := clientcmd.BuildConfigFromFlags("", tokenOf(ctx, t, plane, "sluice"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(reach)
	if err != nil {
		t.Fatal(err)
	}
	const header = "X-Kubernetes-Pf-Flowschema-Uid"
	var got string
	err = harness.Until(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, reach.Host+"/api/v1/namespaces/default/configmaps", nil)
		if err != nil {
			return false, err
		}
		response, err := client.Do(request)
		if err != nil {
			return false, err
		}
		got = response.Header.Get(header)
		return want != "" && got == want, response.Body.Close()
	})
	if err != nil {
		t.Errorf("requests are of flow schema %q, want %s: %v", got, want, err)
	}
}

// In a cluster without the custom resource definitions sluice says what is missing, and
// begins when it comes.
func TestDefinitionsComeLater(t *testing.T) {
	dir := t.TempDir()
	plane, cluster := world(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	binary, err := harness.Build(ctx, "cmd/sluice", "sluice")
	if err != nil {
		t.Fatal(err)
	}
	// Start ends what does not get ready, and says why.
	const remedy = "kubectl apply --server-side -k deploy/crds"
	early, giveUp := context.WithTimeout(ctx, 10*time.Second)
	defer giveUp()
	_, err = harness.Start(early, harness.Config{Binary: binary, Kubeconfig: plane.KubeconfigPath, Dir: dir})
	if err == nil || !strings.Contains(err.Error(), remedy) {
		t.Errorf("without definitions sluice says %v, want how to install them", err)
	}
	started := make(chan error, 1)
	go func() {
		sluice, err := harness.Start(ctx, harness.Config{Binary: binary, Kubeconfig: plane.KubeconfigPath, Dir: t.TempDir()})
		if err == nil {
			err = sluice.Close()
		}
		started <- err
	}()
	apply(ctx, t, cluster, render(t, "crds"))
	if err := <-started; err != nil {
		t.Errorf("sluice does not begin when the definitions are there: %v", err)
	}
}

// A push goes live through sluice run that has the rights of its service account and
// no others.
func TestOneProcessWithItsOwnRights(t *testing.T) {
	dir := t.TempDir() // before the cleanups that still need what is in it
	plane, cluster := world(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	objects := render(t, "kubernetes/one-process")
	apply(ctx, t, cluster, objects)

	admin, err := harness.NewWorld(ctx, harness.WorldOptions{Kubeconfig: plane.KubeconfigPath, Token: "deploy-test", WithoutSluice: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := admin.Close(); err != nil {
			t.Error(err)
		}
	})
	binary, err := harness.Build(ctx, "cmd/sluice", "sluice")
	if err != nil {
		t.Fatal(err)
	}
	sluice, err := harness.Start(ctx, harness.Config{Binary: binary, Kubeconfig: tokenOf(ctx, t, plane, "sluice"), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	admin.OnClose(sluice.Close)
	admin.Sluice = sluice
	tenant, err := admin.NewTenant(ctx, "team-a", map[string]string{"app/settings.yaml": settings("one")})
	if err != nil {
		t.Fatalf("%v\n%s", err, sluice.Tail())
	}
	if err := tenant.Kustomization(ctx, "app", map[string]any{"path": "./app"}); err != nil {
		t.Fatal(err)
	}
	if err := tenant.Live(ctx, "app"); err != nil {
		t.Fatalf("%v\n%s", err, sluice.Tail())
	}
	if err := tenant.Push(ctx, map[string]string{"app/settings.yaml": settings("two")}); err != nil {
		t.Fatal(err)
	}
	if err := tenant.Live(ctx, "app"); err != nil {
		t.Fatalf("%v\n%s", err, sluice.Tail())
	}
	if text := sluice.Tail(); strings.Contains(text, "is forbidden") {
		t.Errorf("a right is missing:\n%s", text)
	}
}

func settings(value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {value: " + value + "}\n"
}
