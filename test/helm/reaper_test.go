package helm

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/test/harness"
)

// victims is how many releases die, each after one write more than the one before.
const victims = 36

// mortal is the name of a victim, which all that is asked about it has in its address, and born what makes a revision of it,
// which has the name in its body.
var (
	mortal = regexp.MustCompile(`k[0-9]{2}x`)
	born   = regexp.MustCompile(`sh\.helm\.release\.v1\.(k[0-9]{2}x)`)
)

// reaper is a way to the API server on which victims die: from the write on that comes after those they have left, nothing
// about them is answered any more, as if the process that works on them had been killed.
type reaper struct {
	to http.Handler

	mu   sync.Mutex
	left map[string]int // of all that are to die
	dead map[string]bool
	// stillborn is how many died as they stored a revision that they had announced.
	stillborn int
	// lose is what the next write of a victim's status says that is answered with a conflict.
	lose string
}

func (r *reaper) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if lost, err := r.loses(req); err != nil || lost {
		refuse(w, http.StatusConflict, metav1.StatusReasonConflict)
		return
	}
	victim, err := victimOf(req)
	if err != nil || victim != "" && r.reaps(victim, req.Method) {
		refuse(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable) // a client asks again for long that gets no answer at all
		return
	}
	r.to.ServeHTTP(w, req)
}

// victimOf is the victim that a request is about; empty when it is about none.
func victimOf(req *http.Request) (string, error) {
	if victim := mortal.FindString(req.URL.String()); victim != "" || req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/secrets") {
		return victim, nil
	}
	body, err := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(body))
	if made := born.FindSubmatch(body); made != nil {
		return string(made[1]), err
	}
	return "", err
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": %q, "code": %d, "message": "by the test"}`, reason, code)
}

func (r *reaper) loses(req *http.Request) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lose == "" || req.Method != http.MethodPatch || !strings.HasSuffix(req.URL.Path, "/status") || !mortal.MatchString(req.URL.Path) {
		return false, nil
	}
	body, err := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(body))
	lost := bytes.Contains(body, []byte(r.lose))
	if lost {
		r.lose = ""
	}
	return lost, err
}

func (r *reaper) reaps(victim, method string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, mortal := r.left[victim]
	if !mortal {
		return false
	}
	if method == http.MethodGet {
		return r.dead[victim]
	}
	r.left[victim] = left - 1
	if left == 0 && method == http.MethodPost {
		r.stillborn++
	}
	if left <= 0 {
		r.dead[victim] = true
	}
	return r.dead[victim]
}

// arm gives each victim its number of writes, disarm all of them any number. It returns who died.
func (r *reaper) arm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left, r.dead = map[string]int{}, map[string]bool{}
	for i := range victims {
		r.left[victimName(i)] = i
	}
}

func (r *reaper) disarm() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	dead := r.dead
	r.left, r.dead = nil, nil
	return dead
}

func (r *reaper) isDead(victim string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dead[victim]
}

func victimName(i int) string { return fmt.Sprintf("k%02dx", i) }

// newReaper starts a reaper in front of a world's API server, and returns it with a kubeconfig that leads there.
func newReaper(t *testing.T, w *harness.World) (*reaper, string) {
	t.Helper()
	transport, err := rest.TransportFor(w.REST)
	if err != nil {
		t.Fatal(err)
	}
	host, err := url.Parse(w.REST.Host)
	if err != nil {
		t.Fatal(err)
	}
	r := &reaper{to: &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(host) }, Transport: transport, FlushInterval: -1,
	}}
	server := httptest.NewServer(r)
	w.OnClose(func() error { server.CloseClientConnections(); server.Close(); return nil })
	path := filepath.Join(t.TempDir(), "kubeconfig")
	body := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: %q}}]\ncontexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n", server.URL)
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	return r, path
}
