package cluster

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// silentCluster is one whose API server takes requests and answers none; it counts them.
func silentCluster(t *testing.T) (*Cluster, *atomic.Int64) {
	t.Helper()
	requests := &atomic.Int64{}
	front := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		<-r.Context().Done()
	}))
	t.Cleanup(front.Close)
	c, err := New(&rest.Config{Host: front.URL, Timeout: 200 * time.Millisecond}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c, requests
}

// Where objects live is asked for until the first answer that does not come: it is no worker's time, object by object.
func TestPlaceEndsWhereNobodyAnswers(t *testing.T) {
	c, requests := silentCluster(t)
	var objects []*unstructured.Unstructured
	for n := range 20 {
		objects = append(objects, Ref{Group: fmt.Sprintf("g%d.io", n/2), Version: "v1", Kind: "A", Namespace: "a", Name: fmt.Sprint(n)}.Object())
	}
	if err := c.Place(t.Context(), objects); !TimedOut(err) {
		t.Errorf("got %v", err)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests were waited for", n)
	}
}

// Who asked at the same time is told the same, and does not wait as long after the first.
func TestKindsOfASilentClusterAreAskedForOnce(t *testing.T) {
	c, requests := silentCluster(t)
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			if _, err := c.Mapping(schema.GroupVersionKind{Version: "v1", Kind: fmt.Sprint("K", n)}); !TimedOut(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests were waited for", n)
	}
}

// A server that is not ready is as good as dead; one that refuses the probe is alive.
func TestPing(t *testing.T) {
	for code, alive := range map[int]bool{200: true, 401: true, 403: true, 404: true, 429: true, 500: false, 502: false, 503: false} {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		c, err := New(&rest.Config{Host: front.URL, Timeout: time.Second}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		client, err := c.Client()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Ping(t.Context()); (err == nil) != alive {
			t.Errorf("status %d: %v", code, err)
		}
		front.Close()
	}
}
