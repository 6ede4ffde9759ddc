package helm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
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
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/test/harness"
)

// victims is how many releases die, each after one write more than the one before.
const victims = 32

// mortal is the name of a victim, which all that is asked about it has in its address.
var mortal = regexp.MustCompile(`k[0-9]{2}x`)

// reaper is a way to the API server on which victims die: from the write on that comes after those they have left, nothing
// about them is answered any more, as if the process that works on them had been killed.
type reaper struct {
	to http.Handler

	mu   sync.Mutex
	left map[string]int // of all that are to die
	dead map[string]bool
	// lose is what the next write of a victim's status says that is answered with a conflict.
	lose string
}

func (r *reaper) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if lost, err := r.loses(req); err != nil || lost {
		refuse(w, http.StatusConflict, metav1.StatusReasonConflict)
		return
	}
	if victim := mortal.FindString(req.URL.String()); victim != "" && r.reaps(victim, req.Method) {
		refuse(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable) // a client asks again for long that gets no answer at all
		return
	}
	r.to.ServeHTTP(w, req)
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

// mortals is a world whose process reaches the API server through a reaper.
func mortals(t *testing.T) *reaper {
	t.Helper()
	shared := world
	own, err := harness.NewWorld(t.Context(), harness.WorldOptions{Progress: os.Stderr, Token: "helm-only-token", WithoutSluice: true})
	if err != nil {
		t.Fatal(err)
	}
	world = own
	t.Cleanup(func() {
		world = shared
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	r, kubeconfig := newReaper(t, own)
	err = own.Namespace(t.Context(), harness.SystemNamespace)
	var binary string
	if err == nil {
		binary, err = harness.Build(t.Context(), "cmd/sluice", "sluice")
	}
	if err == nil {
		own.Sluice, err = harness.Start(t.Context(), harness.Config{Binary: binary, Kubeconfig: kubeconfig, Dir: filepath.Join(own.Folder, "sluice")})
	}
	if err != nil {
		t.Fatal(err)
	}
	own.OnClose(func() error { return own.Sluice.Close() })
	return r
}

// mortalCharts are a chart for each victim: a moody one with a definition.
func mortalCharts() map[string]string {
	files := map[string]string{}
	for i := range victims {
		for path, body := range moodyChart() {
			files[victimName(i)+strings.TrimPrefix(path, "moody")] = body
		}
		files[victimName(i)+"/crds/crd.yaml"] = definition("toys", victimName(i)+".example.com", "Toy")
	}
	return files
}

// TestMortal kills the process that works on a release after every write to the API server that an install, an upgrade, one
// that is forced, one of a release whose storage somebody edited, one that is rolled back, and an uninstall take, with
// definitions, hooks, waits, tests and status. The next process ends each of them as if nobody had died.
func TestMortal(t *testing.T) {
	reaper := mortals(t)
	n := newTenant(t, "mortal", mortalCharts())
	const installed, upgraded, passed = "deployed: Install complete", "deployed: Upgrade complete", "superseded: Upgrade complete"
	ready := func(revision int) func(*unstructured.Unstructured) bool {
		return all(exists, says("Ready", "True", "", ""), says("TestSuccess", "True", "", fmt.Sprintf(".v%d ", revision)), current)
	}
	for _, s := range []struct {
		action  string
		begin   func(name string)
		ended   func(*unstructured.Unstructured) bool
		history []string
	}{
		{
			"install", func(name string) {
				n.release(name, name, "timeout: 20s\nmaxHistory: 0\ntest: {enable: true}\nupgrade: {crds: CreateReplace, remediation: {remediateLastFailure: true}}\n")
			}, ready(1), []string{installed},
		},
		{
			"upgrade", func(name string) { n.patch(releaseKind, name, `{"spec":{"values":{"value":"b"}}}`) },
			ready(2), []string{"superseded: Install complete", upgraded},
		},
		{
			"forced upgrade", func(name string) {
				n.patch(releaseKind, name, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"one","reconcile.fluxcd.io/forceAt":"one"}}}`)
			}, ready(3), []string{"superseded: Install complete", passed, upgraded},
		},
		{
			"upgrade of an edited release", func(name string) {
				n.patch(secretKind, "sh.helm.release.v1."+name+".v3", `{"metadata":{"labels":{"by":"hand"}}}`)
				n.patch(releaseKind, name, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"two"}}}`)
			}, ready(4), []string{"superseded: Install complete", passed, passed, upgraded},
		},
		{
			"upgrade that is rolled back", func(name string) {
				n.patch(releaseKind, name, `{"spec":{"timeout":"10s","values":{"value":"c","stuck":true}}}`)
			}, func(u *unstructured.Unstructured) bool {
				return current(u) && settled(u, map[string]string{"Released": "False", "Remediated": "True", "Ready": "False", "Stalled": "True"}, "install 0 upgrade 1")
			}, []string{"superseded: Install complete", passed, passed, passed, "failed", "deployed: Rollback to 4"},
		},
		{
			"uninstall", func(name string) {
				if err := n.Delete(within(t), releaseKind, name); err != nil {
					t.Fatal(err)
				}
			}, gone, nil,
		},
	} {
		t.Run(s.action, func(t *testing.T) {
			n := tenant{n.Tenant, t}
			began := time.Now()
			reaper.arm()
			for i := range victims {
				s.begin(victimName(i))
			}
			survivors := n.outlive(reaper, s.ended)
			world.Sluice.Process.Kill()
			<-world.Sluice.Process.Done()
			killed := len(reaper.disarm())
			if err := world.Sluice.Restart(within(t)); err != nil {
				t.Fatal(err)
			}
			for i := range victims {
				victim := victimName(i)
				n.await(releaseKind, victim, s.ended)
				if s.history == nil {
					n.unreleased(victim)
					n.await(harness.DeploymentKind, victim, gone)
					continue
				}
				if diff := cmp.Diff(s.history, outline(history(t, n.Namespace, victim), s.history)); diff != "" {
					t.Errorf("killed after %d writes: helm history (-want +got):\n%s", i, diff)
				}
			}
			t.Logf("%d were killed, %d got to the end, in %s", killed, survivors, time.Since(began).Round(time.Second))
			if survivors == 0 {
				t.Errorf("%s takes more than %d writes: there are too few victims", s.action, victims)
			}
			if killed < 6 {
				t.Errorf("%s was killed at %d points only", s.action, killed)
			}
		})
	}
}

// TestLostWrite loses the write of the status that says how an upgrade ended: that is told once all the same.
func TestLostWrite(t *testing.T) {
	reaper := mortals(t)
	n := newTenant(t, "lost-write", mortalCharts())
	victim := victimName(0)
	n.release(victim, victim, "")
	n.ready(victim)
	reaper.mu.Lock()
	reaper.lose = "UpgradeSucceeded"
	reaper.mu.Unlock()
	n.patch(releaseKind, victim, `{"spec":{"values":{"value":"b"}}}`)
	n.await(releaseKind, victim, all(says("Ready", "True", "UpgradeSucceeded", ""), current))
	reaper.mu.Lock()
	if reaper.lose != "" {
		t.Error("no write was lost")
	}
	reaper.mu.Unlock()
	n.patch(releaseKind, victim, `{"spec":{"values":{"value":"c"}}}`) // whose event comes after all of those
	n.await(releaseKind, victim, all(says("Ready", "True", "UpgradeSucceeded", victim+".v3 "), current))
	told := map[string]int64{}
	err := harness.Until(within(t), 200*time.Millisecond, func(ctx context.Context) (bool, error) {
		r, err := n.Cluster.Resource(eventKind, n.Namespace)
		if err != nil {
			return false, err
		}
		list, err := r.List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + victim + ",reason=UpgradeSucceeded"})
		if err != nil {
			return false, err
		}
		clear(told)
		for _, e := range list.Items {
			message, _, _ := unstructured.NestedString(e.Object, "message")
			count, _, _ := unstructured.NestedInt64(e.Object, "count")
			told[message] += count
		}
		return len(told) == 2, nil
	})
	if err != nil {
		t.Fatalf("%v: told was %v", err, told)
	}
	for message, times := range told {
		if times != 1 {
			t.Errorf("told %d times: %s", times, message)
		}
	}
}

// outlive waits until each victim is dead or at its end, and says how many are at their end.
func (n tenant) outlive(r *reaper, ended func(*unstructured.Unstructured) bool) (survivors int) {
	n.t.Helper()
	open := map[string]bool{}
	for i := range victims {
		open[victimName(i)] = true
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), 3*limit) // they are many
	defer cancel()
	err := harness.Until(ctx, 200*time.Millisecond, func(ctx context.Context) (bool, error) {
		for victim := range maps.Clone(open) {
			if r.isDead(victim) {
				delete(open, victim)
				continue
			}
			u, err := n.Cluster.Get(ctx, releaseKind, n.Namespace, victim)
			if err != nil && !apierrors.IsNotFound(err) {
				return false, err
			}
			if err != nil {
				u = nil
			}
			if ended(u) {
				survivors++
				delete(open, victim)
			}
		}
		return len(open) == 0, nil
	})
	if err != nil {
		n.t.Fatalf("%v: these neither die nor end: %v", err, open)
	}
	return survivors
}
