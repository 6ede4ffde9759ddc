package clustertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// served is what a silent cluster says that it serves.
var served = map[string]string{
	"/api":  `{"kind":"APIVersions","versions":["v1"]}`,
	"/apis": `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
	"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[
		{"name":"configmaps","kind":"ConfigMap","namespaced":true,"verbs":["get","list","watch"]},
		{"name":"pods","kind":"Pod","namespaced":true,"verbs":["get","list","watch"]}]}`,
}

// Silent returns a client of a cluster that says what it serves, which is ConfigMaps and Pods, and answers nothing else, and
// the number of requests that were waited for. A request ends after 300 ms.
func Silent(t testing.TB) (*cluster.Client, *atomic.Int64) {
	t.Helper()
	waited := &atomic.Int64{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if body, ok := served[q.URL.Path]; ok {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
			return
		}
		waited.Add(1)
		_, _ = io.Copy(io.Discard, q.Body)
		<-q.Context().Done()
	}))
	t.Cleanup(front.Close)
	c, err := cluster.New(&rest.Config{Host: front.URL, Timeout: 300 * time.Millisecond}, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	return client, waited
}
