package cluster

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// kindsServed is what an API server says that serves ConfigMaps only.
var kindsServed = map[string]string{
	"/api":    `{"kind":"APIVersions","versions":["v1"]}`,
	"/apis":   `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
	"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"configmaps","kind":"ConfigMap","namespaced":true,"verbs":["get"]}]}`,
}

// clientOf returns a client of an API server that answers to a path in a way of its own, compressed.
func clientOf(t *testing.T, path string, answer func(w io.Writer, r *http.Request)) *Client {
	t.Helper()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != path {
			_, _ = io.WriteString(w, kindsServed[r.URL.Path])
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			t.Error(err)
			return
		}
		answer(z, r)
		_ = z.Close() // the client may have left
	}))
	t.Cleanup(front.Close)
	c, err := New(&rest.Config{Host: front.URL}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// much writes text again and again, so many MiB of it.
func much(w io.Writer, text string, mib int) {
	block := strings.Repeat(text, (1<<20)/len(text))
	for range mib {
		if _, err := io.WriteString(w, block); err != nil {
			return
		}
	}
}

// object writes an object that has so many MiB.
func object(w io.Writer, name string, mib int) {
	_, _ = fmt.Fprintf(w, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":%q,"annotations":{"a":"`, name)
	much(w, "a", mib)
	_, _ = io.WriteString(w, `"}}}`)
}

// The API server of a kubeconfig may be a tenant's own, and want nothing but the applier's memory.
func TestAnswersAreBounded(t *testing.T) {
	one := Ref{Version: "v1", Kind: "ConfigMap", Namespace: "default", Name: "one"}
	const all, each = "/api/v1/configmaps", "/api/v1/namespaces/default/configmaps/one"
	get := func(c *Client) error { _, err := c.Get(t.Context(), one); return err }
	list := func(c *Client) error {
		_, err := c.ListMetadata(t.Context(), one, metav1.ListOptions{ResourceVersion: "0"}, func(*metav1.PartialObjectMetadata) {})
		return err
	}
	for _, tt := range []struct {
		why    string
		path   string
		answer func(w io.Writer, r *http.Request)
		ask    func(c *Client) error
		limit  int64
	}{
		{"a probe asks for a word", "/readyz", func(w io.Writer, _ *http.Request) { much(w, "ok", 1) }, func(c *Client) error { return c.Ping(t.Context()) }, maxProbe},
		{"an object has a few MiB", each, func(w io.Writer, _ *http.Request) { object(w, "one", 13) }, get, maxObject},
		{"small values take more than they have", each, func(w io.Writer, _ *http.Request) { much(w, "[{},", 1) }, get, maxObject},
		{"metadata is bounded too", each, func(w io.Writer, _ *http.Request) { object(w, "one", 13) }, func(c *Client) error { _, err := c.GetMetadata(t.Context(), one); return err }, maxObject},
		{"so is what a deletion says", each, func(w io.Writer, _ *http.Request) { object(w, "one", 13) }, func(c *Client) error { return c.Delete(t.Context(), one, "") }, maxObject},
		{"so is discovery", "/api/v1", func(w io.Writer, _ *http.Request) { much(w, " ", 40) }, get, maxAnswer},
		{"so is what Helm reads", "/api/v1/namespaces/default/secrets", func(w io.Writer, _ *http.Request) { much(w, " ", 40) }, func(c *Client) error {
			_, err := c.Secrets("default").List(t.Context(), metav1.ListOptions{})
			return err
		}, maxAnswer},
		{"a page of a list is an answer", all, func(w io.Writer, _ *http.Request) { much(w, " ", 40) }, list, maxAnswer},
		{"a list has an end", all, func(w io.Writer, _ *http.Request) {
			_, _ = io.WriteString(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"continue":"more"},"items":[`)
			object(w, "one", 30)
			_, _ = io.WriteString(w, `]}`)
		}, list, maxList},
	} {
		err := tt.ask(clientOf(t, tt.path, tt.answer))
		if large := (*TooLargeError)(nil); !errors.As(err, &large) || large.Limit != tt.limit {
			t.Errorf("%s: got %.200v, want an error that names %d bytes", tt.why, err, tt.limit)
		}
	}
}

func TestListsArePaged(t *testing.T) {
	client := clientOf(t, "/api/v1/configmaps", func(w io.Writer, r *http.Request) {
		more, q := "", r.URL.Query()
		if q.Get("continue") == "" {
			more = "next"
		}
		_, _ = fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"continue":%q,"resourceVersion":"7"},"items":[`+
			`{"metadata":{"name":"limit-%s-%s-%s"}}]}`, more, q.Get("limit"), q.Get("resourceVersion"), q.Get("continue"))
		if accepted := r.Header.Get("Accept"); strings.Contains(accepted, "protobuf") || !strings.Contains(accepted, "as=PartialObjectMetadataList") {
			t.Errorf("accepted: %s", accepted)
		}
	})
	var names []string
	found, err := client.ListMetadata(t.Context(), Ref{Version: "v1", Kind: "ConfigMap"}, metav1.ListOptions{ResourceVersion: "0"}, func(o *metav1.PartialObjectMetadata) {
		names = append(names, o.Name)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names, " "); got != "limit-250-- limit-250--next" || found.ResourceVersion != "7" {
		t.Errorf("got %s at version %s", got, found.ResourceVersion)
	}
}

func TestEventsAreBounded(t *testing.T) {
	client := clientOf(t, "/api/v1/configmaps", func(w io.Writer, _ *http.Request) {
		// A watch as a whole has no bound. The next event may have been read in part when one is let go: two of the small
		// ones fit together, and of the large one enough is left.
		for _, mib := range []int{5, 5, 5, 25, 1} {
			_, _ = io.WriteString(w, `{"type":"ADDED","object":`)
			object(w, "one", mib)
			_, _ = io.WriteString(w, "}\n")
		}
	})
	w, err := client.WatchMetadata(t.Context(), Ref{Version: "v1", Kind: "ConfigMap"}, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	events, failure := 0, error(nil)
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			failure = apierrors.FromObject(e.Object)
			continue
		}
		events++
	}
	if events != 3 || failure == nil || !strings.Contains(failure.Error(), "is too large: more than 12582912 bytes") {
		t.Errorf("%d events, then %v; want 3", events, failure)
	}
}

func TestListsOfWatchesAreBounded(t *testing.T) {
	added := watch.Event{Type: watch.Added, Object: &metav1.PartialObjectMetadata{}}
	end := watch.Event{Type: watch.Bookmark, Object: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"},
	}}}
	for _, tt := range []struct {
		why           string
		listing       bool
		size          int64 // of an event
		before, after int   // events before and after the end of the list
		passed        int
	}{
		{"a list that fits", true, 12 << 20, 10, 0, 11},
		{"one that does not", true, 12 << 20, 11, 0, 10},
		{"one of too many objects", true, 10, 300_000, 0, (maxList - perObject) / (perObject + 10)},
		{"what comes after the list is not of it", true, 12 << 20, 10, 10, 21},
		{"a watch that goes on begins with none", false, 12 << 20, 20, 0, 21},
	} {
		b, passed := &boundedWatch{listing: tt.listing}, 0
		b.allowance = &allowance{limit: maxAnswer}
		for n := range tt.before + 1 + tt.after {
			e := added
			if n == tt.before {
				e = end
			}
			b.read.Add(tt.size)
			if b.judge(e).Type == watch.Error {
				break
			}
			passed++
		}
		if diff := passed - tt.passed; diff != 0 {
			t.Errorf("%s: %d events, want %d", tt.why, passed, tt.passed)
		}
	}
}

// A watch has no end, so a server could keep a processor busy with it: it is read at a pace, but for the list that it begins with.
func TestEventsAreReadAtAPace(t *testing.T) {
	const list, burst = 100, 3
	synctest.Test(t, func(t *testing.T) {
		events := make(chan watch.Event)
		b := &boundedWatch{
			Interface: watch.NewProxyWatcher(events), allowance: &allowance{limit: maxObject}, pace: rate.NewLimiter(rate.Every(time.Hour), burst),
			cancel: func() {}, listing: true, events: make(chan watch.Event), stopped: make(chan struct{}),
		}
		go b.run()
		go func() {
			defer close(events)
			for n := range 2 * list {
				e := watch.Event{Type: watch.Added, Object: &metav1.PartialObjectMetadata{}}
				if n == list {
					e = watch.Event{Type: watch.Bookmark, Object: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
						Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"},
					}}}
				}
				select {
				case events <- e:
				case <-b.stopped:
					return
				}
			}
		}()
		var read atomic.Int32
		go func() {
			for range b.ResultChan() {
				read.Add(1)
			}
		}()
		synctest.Wait()
		if n := read.Load(); n != list+1+burst {
			t.Errorf("%d events are read at once, want the list, its end, and %d", n, burst)
		}
		b.Stop()
		synctest.Wait()
		if n := read.Load(); n != list+1+burst {
			t.Errorf("%d events are read after it was stopped", n)
		}
	})
}
