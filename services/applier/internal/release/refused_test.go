package release_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
)

// TestRefused fails an install whose objects the API server does not take, says what is wrong, and
// shows no value of a Secret.
func TestRefused(t *testing.T) {
	var many strings.Builder
	for i := range 900 {
		fmt.Fprintf(&many, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_A_Name_%d}\n", i)
	}
	for _, tt := range []struct{ why, name, manifest, says string }{
		{"a field that is unknown", "field", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {wings: 2}\n", ".spec.wings: field not declared in schema"},
		{"a kind that is not served", "kind", "apiVersion: example.com/v1\nkind: Ghost\nmetadata: {name: x}\n", "no matches for kind"},
		{"a Secret's map", "map", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {password: {deep: hunter2}}\n", "Secret/refused-map/x"},
		{"a Secret that is a text", "text", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: hunter2\n", "Secret/refused-text/x"},
		{"more than an annotation can hold", "many", many.String(), "a lowercase RFC 1123 subdomain"},
	} {
		namespace := "refused-" + tt.name
		makeNamespace(t, namespace)
		a := newApplier(t, namespace, 1<<40)
		record := revision(namespace, 1)
		record.Manifest, record.Hooks = tt.manifest, nil
		runner := release.Runner{Client: a.client, Store: a.store, Options: release.Options{Timeout: time.Minute}}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := runner.Begin(ctx, record, helmstore.Run{Action: release.Install, UID: "uid"}); err != nil {
			t.Fatal(err)
		}
		_, err := runner.Step(ctx, record, []*helmstore.Record{record})
		var failed *release.FailedError
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v, want one with %q", tt.why, err, tt.says)
		}
		all, err := a.store.List(ctx, appName)
		if err != nil || len(all) != 1 || all[0].Info.Status != "failed" || strings.Contains(all[0].Info.Description, "hunter2") {
			t.Errorf("%s: stored is %v, error %v", tt.why, all, err)
		}
		if n := len(all[0].Info.Description); n > 20<<10 { // with the release it has a mebibyte
			t.Errorf("%s: the description has %d bytes", tt.why, n)
		}
		cancel()
	}
}
