package fetcher_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/minio/minio-go/v7"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// busyWait is longer than the first tries of a failed pass are apart.
const busyWait = 2 * time.Second

// busyDoor answers requests with status 429 and asks to wait, until it is opened; then it sends
// them on.
type busyDoor struct {
	host string

	mu     sync.Mutex
	opened bool
	asked  []time.Time
}

func (d *busyDoor) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened = true
}

// heeded fails the test unless the first who was told to wait did, and all who ask likewise.
func (d *busyDoor) heeded(t *testing.T) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if gap := d.asked[1].Sub(d.asked[0]); gap < busyWait {
		t.Errorf("asked again after %s", gap)
	}
}

func newBusyDoor(t *testing.T, to string) *busyDoor {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: target.Scheme, Host: target.Host})
		r.Out.Host = r.In.Host // it may be signed
	}}
	d := &busyDoor{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.asked = append(d.asked, time.Now())
		busy := !d.opened
		d.mu.Unlock()
		if busy {
			rw.Header().Set("Retry-After", "2")
			rw.WriteHeader(http.StatusTooManyRequests)
			return
		}
		forward.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	d.host = strings.TrimPrefix(server.URL, "http://")
	return d
}

// busyServers are servers of every kind that ask to wait: nobody who asks them likewise does
// so before, and the objects say until when they wait.
func busyServers(t *testing.T, w *world) {
	repo := gittest.NewRepo(t, w.root, "busy")
	repo.Commit("main", "first", map[string]string{"a.yaml": "a"})
	gittest.NewRepo(t, w.root, "busy-other").Commit("main", "first", map[string]string{"a.yaml": "a"})
	registry := newRegistry(t, false, nil)
	for _, name := range []string{"busy", "busy-other"} {
		registry.push(t, name, "v1", nil, layer{mediaType: fluxLayer, content: tarred(t, map[string]string{"a.yaml": "a"})})
	}
	charts := chartRepository(t, "app@1.0.0")
	bucket := newStorage(t, w.storage, "busy", nil)
	bucket.put(map[string]string{"a.yaml": "a"})
	if err := bucket.client.MakeBucket(t.Context(), "busy-other", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	keys := w.secret("busy-keys", map[string]string{"accesskey": w.storage.AccessKey, "secretkey": w.storage.SecretKey})
	hour := metav1.Duration{Duration: time.Hour}
	for kind, c := range map[string]struct {
		to string
		// object returns the one or the other object of a host.
		object func(host, name string, meta metav1.ObjectMeta) (client.Object, *[]metav1.Condition)
	}{
		"git": {w.http.URL, func(host, name string, meta metav1.ObjectMeta) (client.Object, *[]metav1.Condition) {
			o := &sourcev1.GitRepository{ObjectMeta: meta, Spec: sourcev1.GitRepositorySpec{
				URL: "http://" + host + "/" + name, Reference: branch("main"), Interval: hour,
			}}
			return o, &o.Status.Conditions
		}},
		"oci": {"http://" + registry.host, func(host, name string, meta metav1.ObjectMeta) (client.Object, *[]metav1.Condition) {
			o := &sourcev1.OCIRepository{ObjectMeta: meta, Spec: sourcev1.OCIRepositorySpec{
				URL: "oci://" + host + "/" + name, Reference: &sourcev1.OCIRepositoryRef{Tag: "v1"}, Insecure: true, Interval: hour,
			}}
			return o, &o.Status.Conditions
		}},
		"helm": {charts.URL, func(host, name string, meta metav1.ObjectMeta) (client.Object, *[]metav1.Condition) {
			o := &sourcev1.HelmRepository{ObjectMeta: meta, Spec: sourcev1.HelmRepositorySpec{URL: "http://" + host + "?" + name, Interval: hour}}
			return o, &o.Status.Conditions
		}},
		"bucket": {"http://" + bucket.host, func(host, name string, meta metav1.ObjectMeta) (client.Object, *[]metav1.Condition) {
			o := &sourcev1.Bucket{ObjectMeta: meta, Spec: sourcev1.BucketSpec{
				BucketName: name, Endpoint: host, Insecure: true, Region: "us-east-1", SecretRef: keys, Interval: hour,
			}}
			return o, &o.Status.Conditions
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			in := w.in(t)
			door := newBusyDoor(t, c.to)
			asks := door.host + " asks to wait until "
			var created []client.Object
			var conditions []*[]metav1.Condition
			for _, name := range []string{"busy", "busy-other"} {
				o, said := c.object(door.host, name, metav1.ObjectMeta{Namespace: "default", Name: name + "-" + kind})
				if err := in.client.Create(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				awaitObject(in, "the wait of "+name, o, func(client.Object) bool { return fails(*said, "FetchFailed", "ServerBusy", asks) })
				created, conditions = append(created, o), append(conditions, said)
			}
			in.kubernetesEvent("busy-"+kind, "ServerBusy", asks)
			door.open()
			for n, o := range created {
				awaitObject(in, "the artifact of "+o.GetName(), o, func(client.Object) bool { return isReady(*conditions[n]) })
			}
			door.heeded(t)
			if !strings.Contains(string(w.log.bytes()), "host="+door.host) {
				t.Error("the log does not name the host that asks to wait")
			}
		})
	}
}

func isReady(conditions []metav1.Condition) bool {
	for _, c := range conditions {
		if c.Type == meta.ReadyCondition {
			return c.Status == metav1.ConditionTrue
		}
	}
	return false
}
