package helm

import (
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/sluice-gitops/sluice/test/harness"
)

// secret stores what is labelled as a revision of the release app.
func (n tenant) secret(name, status, version string, body []byte) error {
	_, err := kubernetes.NewForConfigOrDie(world.REST).CoreV1().Secrets(n.Namespace).Create(within(n.t), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"owner": "helm", "name": "app", "status": status, "version": version}},
		Type:       "helm.sh/release.v1", Data: map[string][]byte{"release": body},
	}, metav1.CreateOptions{})
	return err
}

// chartless is a revision of the release app that says nothing of its chart.
func (n tenant) chartless(version int) []byte {
	return encoded(n.t, map[string]any{
		"name": "app", "namespace": n.Namespace, "version": version, "info": map[string]any{"status": "deployed"}, "hooks": []any{nil},
		"manifest": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n",
	})
}

// TestPreserveBesideJunk preserves values of a release beside more Secrets than are remembered that have its labels and are
// no revisions.
func TestPreserveBesideJunk(t *testing.T) {
	n := newTenant(t, "beside-junk", webChart())
	n.release("app", "web", "")
	n.ready("app")
	var g errgroup.Group
	g.SetLimit(16)
	for i := range 1100 {
		g.Go(func() error { return n.secret(fmt.Sprint("junk-", i), "x", "none", nil) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	n.patch(releaseKind, "app", `{"spec":{"upgrade":{"preserveValues":true},"values":{"message":"two"}}}`)
	n.await(releaseKind, "app", all(says("Ready", "True", "UpgradeSucceeded", "app.v2 "), current))
}

// TestNoChart preserves the values of a revision that somebody stored without a chart.
func TestNoChart(t *testing.T) {
	n := newTenant(t, "no-chart", webChart())
	n.release("app", "web", "")
	n.ready("app")
	if err := n.secret("sh.helm.release.v1.app.v2", "deployed", "2", n.chartless(2)); err != nil {
		t.Fatal(err)
	}
	n.patch(releaseKind, "app", `{"spec":{"upgrade":{"preserveValues":true},"values":{"message":"two"}}}`)
	n.await(releaseKind, "app", all(says("Ready", "True", "UpgradeSucceeded", "app.v3 "), current))
}

// TestChartTakenAway takes the chart out of the revision that the status knows. It is upgraded, or uninstalled with its
// HelmRelease, as one that is not known.
func TestChartTakenAway(t *testing.T) {
	for _, end := range []string{"upgraded", "deleted"} {
		t.Run(end, func(t *testing.T) {
			n := newTenant(t, "chart-taken-"+end, webChart())
			n.release("app", "web", "")
			n.ready("app")
			secrets := kubernetes.NewForConfigOrDie(world.REST).CoreV1().Secrets(n.Namespace)
			s, err := secrets.Get(within(t), "sh.helm.release.v1.app.v1", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s.Data["release"] = n.chartless(1)
			if _, err := secrets.Update(within(t), s, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if end == "upgraded" {
				n.patch(releaseKind, "app", `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"now"}}}`)
				n.await(releaseKind, "app", func(u *unstructured.Unstructured) bool {
					return says("Released", "True", "UpgradeSucceeded", "app.v2 ")(u)
				})
				return
			}
			if err := n.Delete(within(t), releaseKind, "app"); err != nil {
				t.Fatal(err)
			}
			n.await(releaseKind, "app", gone)
			n.await(harness.ConfigMapKind, "app", gone)
		})
	}
}
