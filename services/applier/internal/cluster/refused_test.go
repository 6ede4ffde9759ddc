package cluster

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// A tenant's API server must not have the applier ask others for it, such as the machine's metadata, whose answer an
// error would show.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, `{"AccessKeyId":"somebody"}`)
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		client := plainClient(t, nil, func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, other.URL+"/latest/meta-data/iam/security-credentials/role", status)
		})
		_, err := client.Get(t.Context(), Ref{Version: "v1", Kind: "ConfigMap", Namespace: "default", Name: "one"})
		if err == nil || !strings.Contains(err.Error(), "leads elsewhere, and is not followed") || strings.Contains(err.Error(), "meta-data") {
			t.Errorf("status %d: got %v", status, err)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("another server was asked %d times", n)
	}
}
