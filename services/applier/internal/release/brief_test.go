package release_test

import (
	"fmt"
	"testing"
	"time"

	helmrelease "helm.sh/helm/v3/pkg/release"

	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// TestBrief shows when a wait is written to the storage: not in the first moment, if all that was done can be
// done again, and from then on.
func TestBrief(t *testing.T) {
	const workload = "---\n# Source: a\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: w}\nspec:\n" +
		"  selector: {matchLabels: {app: w}}\n  template: {metadata: {labels: {app: w}}, spec: {containers: [{name: w, image: example.com/w}]}}\n"
	for i, c := range []struct {
		reason string
		brief  time.Duration
		hooks  bool
		ahead  bool
	}{
		{"a moment is not written", time.Minute, false, true},
		{"what lasts is", 0, false, false},
		{"and so is what comes after a hook, which must not run again", time.Minute, true, false},
	} {
		t.Run(c.reason, func(t *testing.T) {
			namespace := fmt.Sprintf("brief-%d", i)
			makeNamespace(t, namespace)
			a := newApplier(t, namespace, 1<<40)
			made := revision(namespace, 1)
			made.Manifest = workload
			if !c.hooks {
				made.Hooks = nil
			}
			runner := release.Runner{Client: a.client, Store: a.store, Options: release.Options{Timeout: time.Minute, Brief: c.brief}}
			if err := runner.Begin(t.Context(), made, helmstore.Run{Action: release.Install, UID: "uid"}); err != nil {
				t.Fatal(err)
			}
			mark := made.Mark()
			progress, err := runner.Step(t.Context(), made, []*helmstore.Record{made})
			if err != nil || progress.Done {
				t.Fatalf("done %t, error %v; want it to wait for the Deployment", progress.Done, err)
			}
			stored, err := made.Stored()
			if err != nil {
				t.Fatal(err)
			}
			if progress.Ahead != c.ahead || (made.Mark() == mark) != c.ahead || (stored.Phase != made.Run.Phase) != c.ahead {
				t.Errorf("ahead %t, stored phase %q, at %q", progress.Ahead, stored.Phase, made.Run.Phase)
			}
			all, err := a.store.List(t.Context(), appName)
			if err != nil {
				t.Fatal(err)
			}
			if all[0].Mark() != made.Mark() || all[0].Info.Status != helmrelease.StatusPendingInstall {
				t.Errorf("stored: %s with mark %s, want %s", all[0].Info.Status, all[0].Mark(), made.Mark())
			}
		})
	}
}
