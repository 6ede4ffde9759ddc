package helm

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/test/controlplane"
	"github.com/sluice-gitops/sluice/test/harness"
)

// world is what all tests of the package share; every test has a namespace of its own in it.
var world *harness.World

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	world, err = harness.NewWorld(ctx, harness.WorldOptions{
		Progress: os.Stderr, Token: "helm-only-token", Plane: controlplane.Options{RequestLog: true},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the world:", err)
		return 1
	}
	code := m.Run()
	if err := world.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "close the world:", err)
		return 1
	}
	return code
}

// limit bounds every wait.
const limit = 60 * time.Second

var (
	releaseKind = schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: "HelmRelease"}
	sourceKind  = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "OCIRepository"}
	chartKind   = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "HelmChart"}
	jobKind     = schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
)

// tenant is a namespace with a repository of charts.
type tenant struct {
	*harness.Tenant
	t *testing.T
}

func newTenant(t *testing.T, name string, files map[string]string) tenant {
	t.Helper()
	base, err := world.NewTenant(within(t), "helm-"+name, files)
	if err != nil {
		t.Fatal(err)
	}
	n := tenant{base, t}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		body, err := os.ReadFile(world.Sluice.Log())
		if err != nil {
			t.Log(err)
			return
		}
		var lines []string
		for line := range strings.Lines(string(body)) {
			if strings.Contains(line, n.Namespace) {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		t.Logf("the process on %s:\n%s", n.Namespace, strings.Join(lines[max(0, len(lines)-40):], "\n"))
	})
	return n
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// release applies a HelmRelease of a chart in the repository, with more lines of its spec.
func (n tenant) release(name, folder, spec string) {
	n.t.Helper()
	manifest := fmt.Sprintf(`apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: %s}
spec:
  interval: 1h
  chart: {spec: {chart: ./%s, reconcileStrategy: Revision, sourceRef: {kind: GitRepository, name: %s}}}
%s`, name, folder, harness.SourceName, indent(spec))
	n.apply(manifest)
}

func indent(spec string) string {
	var out strings.Builder
	for line := range strings.Lines(spec) {
		out.WriteString("  " + line)
	}
	return out.String()
}

func (n tenant) apply(manifest string) {
	n.t.Helper()
	if err := n.Cluster.Apply(within(n.t), n.Namespace, []byte(manifest)); err != nil {
		n.t.Fatal(err)
	}
}

func (n tenant) await(kind schema.GroupVersionKind, name string, ok func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	n.t.Helper()
	var last *unstructured.Unstructured
	_, err := n.Cluster.WaitFor(within(n.t), kind, n.Namespace, name, func(u *unstructured.Unstructured) bool {
		last = u
		return ok(u)
	})
	if err != nil {
		n.t.Fatalf("%v: %s", err, harness.Describe(last))
	}
	return last
}

// ready waits until a release says so at its newest generation.
func (n tenant) ready(name string) *unstructured.Unstructured {
	n.t.Helper()
	return n.await(releaseKind, name, func(u *unstructured.Unstructured) bool { return says("Ready", "True", "", "")(u) && current(u) })
}

func current(u *unstructured.Unstructured) bool {
	observed, _, _ := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	return observed == u.GetGeneration()
}

// says accepts an object with a condition; an empty reason or part of its message is any.
func says(kind, status, reason, part string) func(*unstructured.Unstructured) bool {
	return func(u *unstructured.Unstructured) bool {
		s, r, m := harness.Condition(u, kind)
		return s == status && (reason == "" || r == reason) && strings.Contains(m, part)
	}
}

func all(of ...func(*unstructured.Unstructured) bool) func(*unstructured.Unstructured) bool {
	return func(u *unstructured.Unstructured) bool {
		for _, ok := range of {
			if !ok(u) {
				return false
			}
		}
		return true
	}
}

func gone(u *unstructured.Unstructured) bool { return u == nil }

func holds(key, value string) func(*unstructured.Unstructured) bool {
	return func(u *unstructured.Unstructured) bool {
		if u == nil {
			return false
		}
		have, _, _ := unstructured.NestedString(u.Object, "data", key)
		return have == value
	}
}

// told waits for a Kubernetes Event about a release, and returns it.
func (n tenant) told(name, class, reason, part string) *unstructured.Unstructured {
	n.t.Helper()
	r, err := n.Cluster.Resource(eventKind, n.Namespace)
	if err != nil {
		n.t.Fatal(err)
	}
	var found *unstructured.Unstructured
	var seen []string
	err = harness.Until(within(n.t), 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		list, err := r.List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=HelmRelease,involvedObject.name=" + name})
		if err != nil {
			return false, err
		}
		seen = nil
		for _, e := range list.Items {
			message, _, _ := unstructured.NestedString(e.Object, "message")
			if e.Object["type"] == class && e.Object["reason"] == reason && strings.Contains(message, part) {
				found = &e
				return true, nil
			}
			seen = append(seen, fmt.Sprintf("%s %s: %s", e.Object["type"], e.Object["reason"], message))
		}
		return false, nil
	})
	if err != nil {
		n.t.Fatalf("no Event %s %s about %s with %q: %v; there are:\n%s", class, reason, name, part, err, strings.Join(seen, "\n"))
	}
	return found
}

// patch changes an object by a JSON merge patch.
func (n tenant) patch(kind schema.GroupVersionKind, name, body string) {
	n.t.Helper()
	r, err := n.Cluster.Resource(kind, n.Namespace)
	if err == nil {
		_, err = r.Patch(within(n.t), name, types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "kubectl"})
	}
	if err != nil {
		n.t.Fatal(err)
	}
}
