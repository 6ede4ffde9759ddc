package release_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// cleanups are actions that fail, and the revisions before them with their objects, oldest first.
var cleanups = []struct {
	action string
	before [][]string
}{
	{release.Upgrade, [][]string{{"one"}}},
	{release.Rollback, [][]string{{"one", "two", "three"}, {"one"}}},
}

// TestCleanupOnFail fails an upgrade and a rollback that are to delete what they made: what they found, which somebody else
// made, and what the revision before has stay, whenever the applier is killed.
func TestCleanupOnFail(t *testing.T) {
	for _, c := range cleanups {
		for requests := int64(0); ; requests++ {
			namespace := fmt.Sprintf("cleanup-%s-%d", c.action, requests)
			whole := newApplier(t, namespace, 1<<40)
			storeFor(t, whole, namespace, c.before)
			version := len(c.before) + 1
			err := whole.failing(t, namespace, c.action, version, requests)
			survived := err == nil
			if !survived && !errors.Is(err, errKilled) {
				t.Fatalf("%s after %d requests: %v", c.action, requests, err)
			}
			if err := whole.failing(t, namespace, c.action, version, 1<<40); err != nil {
				t.Fatalf("%s after %d requests: %v", c.action, requests, err)
			}
			want := []string{fmt.Sprintf("one=%d", version), fmt.Sprintf("two=%d", version)}
			if diff := cmp.Diff(want, objectsIn(t, whole, namespace)); diff != "" {
				t.Errorf("%s killed after %d requests: objects (-want +got):\n%s", c.action, requests, diff)
			}
			if !survived {
				continue
			}
			if requests < 10 {
				t.Errorf("%s was killed at %d points only", c.action, requests)
			}
			break
		}
	}
}

// storeFor stores revisions that others ran: the first was good, and those after it failed. Of their objects "one" is there,
// and somebody else made "two".
func storeFor(t *testing.T, a applier, namespace string, before [][]string) {
	t.Helper()
	makeNamespace(t, namespace)
	for i, names := range before {
		r := revision(namespace, i+1, names...)
		r.Hooks = nil
		r.SetStatus(helmrelease.StatusFailed, "")
		if i == 0 {
			r.SetStatus(helmrelease.StatusDeployed, "")
		}
		if err := a.store.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for name, labels := range map[string]map[string]any{"one": {"app.kubernetes.io/managed-by": "Helm"}, "two": {}} {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{
			"name": name, "namespace": namespace, "labels": labels,
			"annotations": map[string]any{"meta.helm.sh/release-name": appName, "meta.helm.sh/release-namespace": namespace},
		}}}
		if _, _, err := a.client.ApplyAs(t.Context(), "somebody", o, false); err != nil {
			t.Fatal(err)
		}
	}
}

// failing has an applier that is killed after some requests take an action to its failure.
func (a applier) failing(t *testing.T, namespace, action string, version int, requests int64) error {
	t.Helper()
	dying := newApplier(t, namespace, requests)
	runner := release.Runner{Client: dying.client, Store: dying.store, Options: release.Options{Timeout: time.Minute, CleanupOnFail: true}}
	all, err := dying.store.List(t.Context(), appName)
	if err != nil {
		return err
	}
	at := all[len(all)-1]
	if at.Version < version {
		at = revision(namespace, version, "one", "two", "three")
		at.Manifest += "---\n# Source: c\napiVersion: v1\nkind: Service\nmetadata: {name: refused}\nspec: {wings: 2}\n"
		at.Hooks = nil
		all = append(all, at)
		if err := runner.Begin(t.Context(), at, helmstore.Run{Action: action, UID: "uid", To: 1}); err != nil {
			return err
		}
	}
	if at.Run.Over {
		return nil
	}
	_, err = runner.Step(t.Context(), at, all)
	var failed *release.FailedError
	if errors.As(err, &failed) {
		return nil
	}
	return err
}
