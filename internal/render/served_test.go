package render

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// oldServer tells its groups and, when it is asked for each, their kinds. It counts these requests: those at once at most, and all.
func oldServer(t *testing.T, groups int, answer http.HandlerFunc) (*discovery.DiscoveryClient, *atomic.Int32, *atomic.Int32) {
	t.Helper()
	now, most, all := &atomic.Int32{}, &atomic.Int32{}, &atomic.Int32{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch q.URL.Path {
		case "/version":
			_, _ = io.WriteString(w, `{"major":"1","minor":"20","gitVersion":"v1.20.0"}`)
		case "/api":
			_, _ = io.WriteString(w, `{"kind":"APIVersions","versions":["v1"]}`)
		case "/apis":
			list := make([]string, groups)
			for n := range list {
				list[n] = fmt.Sprintf(`{"name":"g%d","versions":[{"groupVersion":"g%[1]d/v1","version":"v1"}]}`, n)
			}
			_, _ = fmt.Fprintf(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[%s]}`, strings.Join(list, ","))
		default:
			all.Add(1)
			n := now.Add(1)
			for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
			}
			answer(w, q)
			now.Add(-1)
		}
	}))
	t.Cleanup(front.Close)
	client, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: front.URL, QPS: -1, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return client, most, all
}

func TestServersThatTellOneByOne(t *testing.T) {
	client, _, _ := oldServer(t, 100, func(w http.ResponseWriter, q *http.Request) {
		if strings.HasSuffix(q.URL.Path, "g7/v1") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintf(w, `{"kind":"APIResourceList","groupVersion":%q,"resources":[{"name":"as","kind":"A"}]}`, strings.TrimPrefix(strings.TrimPrefix(q.URL.Path, "/apis/"), "/api/"))
	})
	served, err := Discover(client)
	if err != nil {
		t.Fatal(err)
	}
	if len(served.APIVersions) != 2*101-1 {
		t.Errorf("it serves %d versions and kinds: %v", len(served.APIVersions), served.APIVersions)
	}
	served.APIVersions = nil
	if diff := cmp.Diff(Served{Version: "v1.20.0", Major: "1", Minor: "20"}, served); diff != "" {
		t.Error(diff)
	}
}

// A remote cluster's API server may be a tenant's own, and ask for a request, and a connection, for each of any number of groups.
func TestDiscoveryIsBounded(t *testing.T) {
	large, _, asked := oldServer(t, 5000, func(http.ResponseWriter, *http.Request) {})
	if _, err := Discover(large); err == nil || !strings.Contains(err.Error(), "has 5001 versions of groups, more than 5000") || asked.Load() > 0 {
		t.Errorf("%d were asked about: %v", asked.Load(), err)
	}
	client, most, all := oldServer(t, 1000, func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
	_, err := Discover(client)
	if late := interface{ Timeout() bool }(nil); !errors.As(err, &late) || !late.Timeout() || all.Load() > 32 || most.Load() > 16 {
		t.Errorf("%d were asked about that do not answer, %d at once: %v", all.Load(), most.Load(), err)
	}
}
