package release

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	helmrelease "helm.sh/helm/v3/pkg/release"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmstore"
)

// A remote cluster that does not answer holds a worker for as long as one request may take, however many objects a release has.
func TestASilentClusterEndsTheStep(t *testing.T) {
	const objects = 160
	var waited atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch q.URL.Path {
		case "/api":
			_, _ = io.WriteString(w, `{"kind":"APIVersions","versions":["v1"]}`)
		case "/apis":
			_, _ = io.WriteString(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`)
		case "/api/v1":
			_, _ = io.WriteString(w, `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"configmaps","kind":"ConfigMap","namespaced":true}]}`)
		default:
			waited.Add(1)
			_, _ = io.Copy(io.Discard, q.Body)
			<-q.Context().Done()
		}
	}))
	defer front.Close()
	c, err := cluster.New(&rest.Config{Host: front.URL, Timeout: 300 * time.Millisecond}, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
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
