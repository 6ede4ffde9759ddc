package fetcher_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/git/gittest"
)

// late is how many further answers there may be for those who are woken while the first is
// under way, far fewer than there are objects.
const late = 3

// door sends requests to servers by who they come from, and counts them.
type door struct {
	url string

	mu     sync.Mutex
	counts map[string]int
}

// newDoor opens a door for users, each with the password <user>-password, to the servers
// that are named. "listing of <server>" lets a user list repositories and download nothing.
func newDoor(t *testing.T, servers map[string]string) *door {
	t.Helper()
	d := &door{counts: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		to, known := servers[user]
		if !known || password != user+"-password" {
			http.Error(rw, "no", http.StatusUnauthorized)
			return
		}
		d.mu.Lock()
		d.counts[user+" "+r.Method]++
		d.mu.Unlock()
		if of, only := strings.CutPrefix(to, "listing of "); only {
			if r.Method != http.MethodGet {
				http.Error(rw, "no", http.StatusForbidden)
				return
			}
			to = of
		}
		target, err := url.Parse(to)
		if err != nil {
			t.Error(err)
		}
		r.Header.Del("Authorization")
		(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}).ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// take returns how often each user asked by each method since the last call.
func (d *door) take() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.counts
	d.counts = map[string]int{}
	return taken
}

// logIn makes the Secret "login" of a user in a namespace, which is made too.
func (w *world) logIn(namespace, user string) {
	w.t.Helper()
	if err := w.client.Create(w.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		w.t.Fatal(err)
	}
	login := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "login"},
		StringData: map[string]string{"username": user, "password": user + "-password"},
	}
	if err := w.client.Create(w.t.Context(), login); err != nil {
		w.t.Fatal(err)
	}
}

// push tells the fetcher of a push that concerns the objects.
func (w *world) push(keys ...events.Key) {
	w.t.Helper()
	hook := events.HookReceived{Receiver: events.NewKey("Receiver", "default", "push"), Resources: keys}
	e, err := events.New("webhook", hook.Receiver, hook, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	log, err := w.bus.Open(w.t.Context(), events.HookSubject("default", "push"))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := log.Append(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
}

// Who reads the same repository with equal credentials shares listing and download, from
// whatever namespace; nobody gets what was read with others'.
func sharedRepositories(t *testing.T, w *world) {
	const each = 8
	ours, others := t.TempDir(), t.TempDir()
	repo := gittest.NewRepo(t, ours, "shared")
	first := repo.Commit("main", "first", map[string]string{"whose": "ours"})
	other := gittest.NewRepo(t, others, "shared").Commit("main", "first", map[string]string{"whose": "theirs"})
	ourServer, otherServer := gittest.ServeHTTP(t, ours, false, nil), gittest.ServeHTTP(t, others, false, nil)
	d := newDoor(t, map[string]string{
		"us": ourServer.URL, "them": otherServer.URL, "mallory": "listing of " + ourServer.URL,
	})
	users := map[string]string{"share-a": "us", "share-b": "us", "share-c": "them", "share-d": "mallory", "share-e": "nobody"}
	var all []client.Object
	var keys []events.Key
	for namespace, user := range users {
		w.logIn(namespace, user)
		for i := range each {
			obj := &sourcev1.GitRepository{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("shared-%d", i)},
				Spec: sourcev1.GitRepositorySpec{
					URL: d.url + "/shared", Reference: branch("main"), Interval: metav1.Duration{Duration: time.Hour},
				},
			}
			obj.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
			all, keys = append(all, obj), append(keys, events.NewKey("GitRepository", namespace, obj.Name))
		}
	}
	w.createAll(all)
	settled := func(ourRevision string) {
		t.Helper()
		for _, k := range keys {
			var obj sourcev1.GitRepository
			w.eventually("the artifact of "+k.String(), func() bool {
				obj = sourcev1.GitRepository{}
				if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: k.Namespace, Name: k.Name}, &obj); err != nil {
					return false
				}
				switch users[k.Namespace] {
				case "us":
					return at("main@sha1:" + ourRevision)(&obj)
				case "them":
					return at("main@sha1:" + other)(&obj)
				case "mallory":
					return broken("FetchFailed", "GitOperationFailed", "authorization failed (HTTP 403)")(&obj)
				}
				return broken("FetchFailed", "GitOperationFailed", "authentication required (HTTP 401)")(&obj)
			}, func() any { return obj.Status })
			if got := obj.Status.Artifact; got != nil && users[k.Namespace] != "us" && users[k.Namespace] != "them" {
				t.Errorf("%s got %+v", k, got)
			}
		}
	}
	settled(first)
	if counts := d.take(); counts["us POST"] != 1 || counts["them POST"] != 1 {
		t.Errorf("downloads of objects made at once: %v", counts)
	}
	second := repo.Commit("main", "second", map[string]string{"whose": "still ours"})
	began := time.Now()
	w.push(keys...)
	settled(second)
	// An answer stays for flight.Keep: on a slow machine there may be more of them. Those whose
	// checks are sent when it is under way get the next one.
	periods := 1 + int(time.Since(began)/flight.Keep)
	counts := d.take()
	if counts["us POST"] != 1 || counts["them POST"] != 0 {
		t.Errorf("downloads after a push: %v", counts)
	}
	for _, user := range []string{"us", "them"} {
		if n := counts[user+" GET"]; n < 1 || n > periods+late {
			t.Errorf("%s listed %d times after one push, want %d at most", user, n, periods+late)
		}
	}
}

// count returns how many of the requests hold all the parts.
func count(requests []string, parts ...string) int {
	n := 0
	for _, r := range requests {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(r, part)
		}
		if all {
			n++
		}
	}
	return n
}

// Who reads the same artifact of a registry with equal logins shares digest and download.
func sharedArtifacts(t *testing.T, w *world) {
	const each = 8
	registry := newRegistry(t, true, nil)
	content := layer{mediaType: fluxLayer, content: tarred(t, map[string]string{"a.yaml": "a"})}
	digest := registry.push(t, "shared", "v1", nil, content)
	w.pullSecret("shared-good", registry.host, registryUser, registryPassword)
	w.pullSecret("shared-same", registry.host, registryUser, registryPassword)
	w.pullSecret("shared-wrong", registry.host, registryUser, "another")
	var all []client.Object
	var keys []events.Key
	for _, secret := range []string{"shared-good", "shared-same", "shared-wrong"} {
		for i := range each {
			all = append(all, &sourcev1.OCIRepository{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%d", secret, i)},
				Spec: sourcev1.OCIRepositorySpec{
					URL: "oci://" + registry.host + "/shared", Reference: &sourcev1.OCIRepositoryRef{Tag: "v1"},
					SecretRef: local(secret), Interval: metav1.Duration{Duration: time.Hour},
				},
			})
			keys = append(keys, events.NewKey("OCIRepository", "default", all[len(all)-1].GetName()))
		}
	}
	started, before := time.Now(), len(registry.since(0))
	w.createAll(all)
	settled := func(digest string) {
		t.Helper()
		for _, obj := range all {
			o := &sourcev1.OCIRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: obj.GetName()}}
			ok := ociAt("v1@" + digest)
			if strings.HasPrefix(o.Name, "shared-wrong") {
				ok = func(o *sourcev1.OCIRepository) bool {
					return ociFails("FetchFailed", "OCIArtifactPullFailed", "failed to determine artifact digest")(o) && o.Status.Artifact == nil
				}
			}
			awaitObject(w, "the end of "+o.Name, o, ok)
		}
	}
	settled(digest)
	periods := 1 + int(time.Since(started)/flight.Keep)
	if n := count(registry.since(before), "GET", "/blobs/"); n < 1 || n > periods {
		t.Errorf("%d objects downloaded the same layer %d times, want %d", 2*each, n, periods)
	}
	content.content = tarred(t, map[string]string{"a.yaml": "b"})
	digest = registry.push(t, "shared", "v1", nil, content)
	started, before = time.Now(), len(registry.since(0))
	w.push(keys...)
	settled(digest)
	periods = 1 + int(time.Since(started)/flight.Keep)
	// A request without a login comes before the first with one, and those with a wrong one are refused.
	asked := registry.since(before)
	if n := count(asked, "GET", "/manifests/"+digest); n < 1 || n > periods {
		t.Errorf("%d objects asked for the manifest %d times after one push, want %d: %q", 2*each, n, periods, asked)
	}
	if n := count(asked, "GET", "/blobs/"); n < 1 || n > periods {
		t.Errorf("%d objects downloaded the same layer %d times after one push, want %d", 2*each, n, periods)
	}
}

// Logins that differ in bytes that are no UTF-8 share nothing: neither answers nor connections.
func loginsOfBytes(t *testing.T, w *world) {
	registry := newRegistry(t, false, nil)
	registry.pushChart(t, "charts", "app", "1.0.0")
	const right, wrong = "pass-\xff-phrase", "pass-\xfe-phrase"
	door := newHostile(t, "http://"+registry.host, nil)
	check := fault(func(rw http.ResponseWriter, r *http.Request) bool {
		if _, password, _ := r.BasicAuth(); password == right {
			return false
		}
		rw.Header().Set("WWW-Authenticate", `Basic realm="bytes"`)
		rw.WriteHeader(http.StatusUnauthorized)
		return true
	})
	door.fault.Store(&check)
	chart := func(name, password string) *sourcev1.HelmChart {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Data:       map[string][]byte{"username": []byte("someone"), "password": []byte(password)},
		}
		if err := w.client.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		spec := ociCharts(registry, name)
		spec.URL = "oci://" + strings.TrimPrefix(door.url, "http://") + "/charts"
		w.createRepository(name, spec)
		return w.createChart(name, inRepository("app", "1.0.0", name))
	}
	awaitObject(w, "the chart", chart("bytes-right", right), chartAt("1.0.0"))
	refused := awaitObject(w, "the refusal", chart("bytes-wrong", wrong), chartFails("FetchFailed", "AuthenticationFailed", "failed to download chart for remote reference: "))
	w.unpublished(refused)
}

func (w *world) createAll(all []client.Object) {
	w.t.Helper()
	var group errgroup.Group
	for _, obj := range all {
		group.Go(func() error { return w.client.Create(w.t.Context(), obj) })
	}
	if err := group.Wait(); err != nil {
		w.t.Fatal(err)
	}
}

// Who reads the same index, or chart, of a Helm repository with equal logins shares it.
func sharedCharts(t *testing.T, w *world) {
	const each = 8
	server := chartRepository(t, "app@1.0.0")
	server.user, server.password = "someone", "charts-password"
	for name, user := range map[string]string{"charts-good": server.user, "charts-same": server.user, "charts-wrong": "intruder"} {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			StringData: map[string]string{"username": user, "password": server.password},
		}
		if err := w.client.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	var all []client.Object
	var keys []events.Key
	for _, secret := range []string{"charts-good", "charts-same", "charts-wrong"} {
		for i := range each {
			name := fmt.Sprintf("%s-%d", secret, i)
			all = append(all, &sourcev1.HelmRepository{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
				Spec:       sourcev1.HelmRepositorySpec{URL: server.URL, SecretRef: local(secret), Interval: metav1.Duration{Duration: time.Hour}},
			})
			keys = append(keys, events.NewKey("HelmRepository", "default", name))
			spec := inRepository("app", ">=1.0.0", name)
			spec.Interval.Duration = time.Hour
			all = append(all, &sourcev1.HelmChart{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec})
		}
	}
	w.createAll(all)
	settled := func(version string) {
		t.Helper()
		for _, obj := range all {
			chart, is := obj.(*sourcev1.HelmChart)
			switch {
			case !is:
			case strings.HasPrefix(chart.Name, "charts-wrong"):
				repository := &sourcev1.HelmRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: chart.Name}}
				awaitObject(w, "the refusal of "+chart.Name, repository, func(o *sourcev1.HelmRepository) bool {
					return fails(o.Status.Conditions, "FetchFailed", "Failed", "401") && o.Status.Artifact == nil
				})
			default:
				found := &sourcev1.HelmChart{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: chart.Name}}
				awaitObject(w, "the chart of "+chart.Name, found, chartAt(version))
			}
		}
	}
	settled("1.0.0")
	publish(t, server, "app@1.0.0", "app@1.1.0")
	asked, _ := server.since(0)
	started, before := time.Now(), len(asked)
	w.push(keys...)
	settled("1.1.0")
	asked, _ = server.since(before)
	periods := 1 + int(time.Since(started)/flight.Keep)
	// Both Secrets have the same login, and the third one asks by itself.
	if n := count(asked, "app-1.1.0.tgz"); n < 1 || n > periods+late {
		t.Errorf("%d charts were downloaded %d times after one push, want %d at most: %q", 2*each, n, periods+late, asked)
	}
	if n := count(asked, "/index.yaml someone"); n < 1 || n > periods+late {
		t.Errorf("%d objects read the index %d times after one push, want %d at most: %q", 2*each, n, periods+late, asked)
	}
}

// Charts that are read from the same registry with equal logins share the list of versions and
// the download.
func sharedRegistryCharts(t *testing.T, w *world) {
	const each = 8
	registry := newRegistry(t, true, nil)
	registry.pushChart(t, "charts", "app", "1.0.0")
	login := map[string]string{"username": registryUser, "password": registryPassword}
	var all []client.Object
	var keys []events.Key
	for _, name := range []string{"registry-good", "registry-same"} {
		w.secret(name, login)
		w.createRepository(name, ociCharts(registry, name))
		for i := range each {
			spec := inRepository("app", "*", name)
			spec.Interval.Duration = time.Hour
			all = append(all, &sourcev1.HelmChart{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%d", name, i)}, Spec: spec})
			keys = append(keys, events.NewKey("HelmChart", "default", all[len(all)-1].GetName()))
		}
	}
	w.createAll(all)
	settled := func(version string) {
		t.Helper()
		for _, obj := range all {
			awaitObject(w, "the chart of "+obj.GetName(), obj.(*sourcev1.HelmChart), chartAt(version))
		}
	}
	settled("1.0.0")
	registry.pushChart(t, "charts", "app", "1.1.0")
	started, before := time.Now(), len(registry.since(0))
	w.push(keys...)
	settled("1.1.0")
	periods := 1 + int(time.Since(started)/flight.Keep)
	asked := registry.since(before)
	for _, what := range []string{"/tags/list", "HEAD /v2/charts/app/manifests/1.1.0", "/blobs/"} {
		if n := count(asked, what); n < 1 || n > periods+late {
			t.Errorf("%d charts asked for %s %d times after one push, want %d at most: %q", 2*each, what, n, periods+late, asked)
		}
	}
}

// Who lists the same bucket with equal keys shares the listing, and each leaves out what it
// wants; with other keys, or another prefix, it is another listing.
func sharedBuckets(t *testing.T, w *world) {
	const each = 8
	bucket := newStorage(t, w.storage, "shared", nil)
	bucket.put(map[string]string{"a/one.yaml": "1", "b/two.yaml": "2"})
	for _, name := range []string{"bucket-good", "bucket-same"} {
		w.secret(name, map[string]string{"accesskey": w.storage.AccessKey, "secretkey": w.storage.SecretKey})
	}
	w.secret("bucket-wrong", map[string]string{"accesskey": w.storage.AccessKey, "secretkey": "another"})
	var all []client.Object
	var keys []events.Key
	for _, secret := range []string{"bucket-good", "bucket-same", "bucket-wrong"} {
		for i := range each {
			spec := bucket.spec()
			spec.SecretRef, spec.Interval = local(secret), metav1.Duration{Duration: time.Hour}
			if i == 0 {
				ignored := "/b"
				spec.Ignore = &ignored
			}
			name := fmt.Sprintf("shared-%s-%d", secret, i)
			all = append(all, &sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec})
			keys = append(keys, events.NewKey("Bucket", "default", name))
		}
	}
	w.createAll(all)
	settled := func(files ...string) {
		t.Helper()
		for _, obj := range all {
			o := &sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: obj.GetName()}}
			if strings.HasPrefix(o.Name, "shared-bucket-wrong") {
				if awaitObject(w, "the refusal of "+o.Name, o, bucketFails("FetchFailed", "BucketOperationFailed", "")); o.Status.Artifact != nil {
					t.Errorf("%s got %+v", o.Name, o.Status.Artifact)
				}
				continue
			}
			want := slices.Clone(files)
			if strings.HasSuffix(o.Name, "-0") {
				want = slices.DeleteFunc(want, func(name string) bool { return strings.HasPrefix(name, "b/") })
			}
			awaitObject(w, "the artifact of "+o.Name, o, func(o *sourcev1.Bucket) bool {
				if !bucketReady(o) {
					return false
				}
				have := slices.Sorted(maps.Keys(w.content(o.Status.Artifact)))
				return slices.Equal(slices.DeleteFunc(have, func(name string) bool { return strings.HasSuffix(name, "/") }), want)
			})
		}
	}
	settled("a/one.yaml", "b/two.yaml")
	bucket.put(map[string]string{"a/three.yaml": "3"})
	started, before := time.Now(), len(bucket.since(0))
	w.push(keys...)
	settled("a/one.yaml", "a/three.yaml", "b/two.yaml")
	periods := 1 + int(time.Since(started)/flight.Keep)
	listings := 0
	for _, r := range bucket.since(before) {
		if r == "GET /"+bucket.bucket+"/" {
			listings++
		}
	}
	// Those with the wrong key list too: a refusal is shared by those who wait for it.
	if listings < 2 || listings > 2*(periods+late)+each {
		t.Errorf("%d listings for %d Buckets after one push", listings, 2*each)
	}
}

// Who verifies the same artifact with equal logins shares what is read of its signatures.
func sharedSignatures(t *testing.T, w *world) {
	const each = 8
	registry := newRegistry(t, false, nil)
	ours := newSigner(t)
	w.secret("shared-pub", map[string]string{"ours.pub": ours.public(t)})
	push := func(content string) string {
		digest := registry.push(t, "signed", "v1", nil, layer{mediaType: fluxLayer, content: tarred(t, map[string]string{"a.yaml": content})})
		newSigner(t).byTag(t, registry, "signed", digest, digest) // so that bundles are looked for too
		ours.byBundle(t, registry, "signed", digest, digest)
		return digest
	}
	digest := push("a")
	var all []client.Object
	var keys []events.Key
	for i := range each {
		name := fmt.Sprintf("shared-signed-%d", i)
		all = append(all, &sourcev1.OCIRepository{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: sourcev1.OCIRepositorySpec{
				URL: "oci://" + registry.host + "/signed", Reference: &sourcev1.OCIRepositoryRef{Tag: "v1"}, Interval: metav1.Duration{Duration: time.Hour},
				Verify: &sourcev1.OCIRepositoryVerification{Provider: "cosign", SecretRef: local("shared-pub")},
			},
		})
		keys = append(keys, events.NewKey("OCIRepository", "default", name))
	}
	w.createAll(all)
	settled := func(digest string) {
		t.Helper()
		for _, obj := range all {
			o := &sourcev1.OCIRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: obj.GetName()}}
			awaitObject(w, "the end of "+o.Name, o, ociAt("v1@"+digest))
		}
	}
	settled(digest)
	digest = push("b")
	started, before := time.Now(), len(registry.since(0))
	w.push(keys...)
	settled(digest)
	periods := 1 + int(time.Since(started)/flight.Keep)
	asked := registry.since(before)
	// Blobs are the layer, the signature and the bundle, each once.
	if n := count(asked, "GET", "/blobs/"); n < 3 || n > 3*periods {
		t.Errorf("%d objects read %d blobs after one push, want 3: %q", each, n, asked)
	}
	tag := strings.Replace(digest, ":", "-", 1)
	for what, most := range map[string]int{"/referrers/" + digest: periods + late, "/manifests/" + tag + ".sig": periods + late} {
		if n := count(asked, what); n < 1 || n > most {
			t.Errorf("%d objects asked for %s %d times after one push, want %d at most: %q", each, what, n, most, asked)
		}
	}
}
