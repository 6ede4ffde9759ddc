package release

import (
	"fmt"
	"strings"
	"testing"

	helmrelease "helm.sh/helm/v3/pkg/release"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster/clustertest"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

// A remote cluster that does not answer holds a worker for as long as one request may take, however many objects a release has.
func TestASilentClusterEndsTheStep(t *testing.T) {
	const objects = 160
	client, waited := clustertest.Silent(t)
	record := &helmstore.Record{Release: &helmrelease.Release{Name: "app", Namespace: "a"}}
	var differences []Difference
	for n := range objects {
		o := cluster.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "a", Name: fmt.Sprint("n", n)}.Object()
		differences = append(differences, Difference{wanted: o})
		record.Manifest += fmt.Sprintf("---\n# Source: a\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: n%d}\n", n)
	}
	runner := &Runner{Client: client}
	for what, work := range map[string]func() error{
		"looking for drift": func() error { _, _, err := runner.Drift(t.Context(), record, true); return err },
		"applying":          func() error { return runner.Correct(t.Context(), differences) },
	} {
		waited.Store(0)
		err := work()
		if !cluster.TimedOut(err) || strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("%s: got %v, want one error of a request that got no answer", what, err)
		}
		if n := waited.Load(); n > parallel {
			t.Errorf("%s: %d requests were waited for, want those of one moment: %d", what, n, parallel)
		}
	}
}
