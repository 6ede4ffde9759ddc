package cluster

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

const theConfigMap = "/api/v1/namespaces/default/configmaps/one"

// plainClient returns a client of an API server that answers to the path of a ConfigMap in a way of its own.
func plainClient(t *testing.T, room *Room, answer http.HandlerFunc) *Client {
	t.Helper()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == theConfigMap {
			answer(w, r)
			return
		}
		_, _ = io.WriteString(w, kindsServed[r.URL.Path])
	}))
	t.Cleanup(front.Close)
	c, err := New(&rest.Config{Host: front.URL}, Options{Room: room})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// protobufOf is the metadata of an object with so many managers.
func protobufOf(name string, managers int) []byte {
	field := func(tag byte, body []byte) []byte {
		return append(binary.AppendUvarint([]byte{tag}, uint64(len(body))), body...)
	}
	meta := field(0x0a, []byte(name))
	for range managers {
		meta = append(meta, 0x8a, 0x01, 0x00)
	}
	kind := append(field(0x0a, []byte("meta.k8s.io/v1")), field(0x12, []byte("PartialObjectMetadata"))...)
	return append([]byte("k8s\x00"), append(field(0x0a, kind), field(0x12, field(0x0a, meta))...)...)
}

// What is not JSON could become any number of bytes in memory for each of its own.
func TestOnlyTextIsDecoded(t *testing.T) {
	const text = `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"one"}}`
	binary := string(protobufOf("one", 1000))
	for _, tt := range []struct {
		why, kind, body string
		status          int
		want            string // of the error; none when empty
	}{
		{"JSON is", "application/json", text, 200, ""},
		{"also with parameters", "application/json;charset=utf-8", text, 200, ""},
		{"protobuf is not", protobuf, binary, 200, `the answer to GET ` + theConfigMap + ` has the Content-Type "application/vnd.kubernetes.protobuf"`},
		{"nor under no name", "", binary, 200, `has the Content-Type ""`},
		{"nor under one that cannot be read", protobuf + "; ;", binary, 200, `has the Content-Type "application/vnd.kubernetes.protobuf; ;"`},
		{"nor another encoding", "application/cbor", text, 200, `has the Content-Type "application/cbor"`},
		{"a page of a proxy is not", "text/html", text, 200, `has the Content-Type "text/html"`},
		{"an error of it is shown", "text/html", "<p>no server</p>", 503, "currently unable to handle the request"},
		{"an error is not decoded under no name", "", binary, 404, "could not find the requested resource"},
	} {
		client := plainClient(t, nil, func(w http.ResponseWriter, _ *http.Request) {
			if w.Header().Set("Content-Type", tt.kind); tt.kind == "" {
				w.Header()["Content-Type"] = nil
			}
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		})
		o, err := client.GetMetadata(t.Context(), Ref{Version: "v1", Kind: "ConfigMap", Namespace: "default", Name: "one"})
		if tt.want == "" && (err != nil || o.Name != "one") || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.why, err, tt.want)
		}
	}
}

// A server need not say what it says nothing in.
func TestAnswerWithoutContentIsOne(t *testing.T) {
	front := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer front.Close()
	c, err := New(&rest.Config{Host: front.URL}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Ping(t.Context()); err != nil {
		t.Errorf("it does not count as an answer: %v", err)
	}
}

// Any number of requests, of any number of clusters, has a few large answers in memory at once.
func TestLargeAnswersTakeTurns(t *testing.T) {
	const clusters, each = 6, 8
	room, release := NewRoom(), make(chan struct{})
	var asked, small sync.WaitGroup
	var all sync.WaitGroup
	var done atomic.Int32
	one := Ref{Version: "v1", Kind: "ConfigMap", Namespace: "default", Name: "one"}
	asked.Add(clusters * each)
	for range clusters {
		client := plainClient(t, room, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"one"},"data":{"a":"`)
			if r.Method == http.MethodGet {
				much(w, "a", 1)
				asked.Done()
				<-release
			}
			_, _ = io.WriteString(w, `"}}`)
		})
		for range each {
			all.Go(func() {
				if _, err := client.Get(t.Context(), one); err != nil {
					t.Error(err)
				}
				done.Add(1)
			})
		}
		small.Go(func() {
			asked.Wait()
			if _, err := client.Patch(t.Context(), one, "application/merge-patch+json", []byte("{}")); err != nil {
				t.Error(err)
			}
		})
	}
	small.Wait() // who is small need not wait
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); room.line.Held()+room.line.Waiting() < clusters*each; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d answers have a place and %d wait, of %d", room.line.Held(), room.line.Waiting(), clusters*each)
		}
	}
	if held := room.line.Held(); held > largeAnswers || held < largeAnswers-1 {
		t.Errorf("%d answers are read at once, want about %d", held, largeAnswers)
	}
	close(release)
	all.Wait()
	if held := room.line.Held(); held > 0 || done.Load() != clusters*each {
		t.Errorf("%d places are held after %d answers", held, done.Load())
	}
}

// An event that does not end must not keep its place: a watch has no end either.
func TestEventsGiveTheirPlaceBack(t *testing.T) {
	room := NewRoom()
	for why, end := range map[string]func(a *allowance){
		"it was decoded":     func(a *allowance) { a.leave() },
		"the watch ended":    func(a *allowance) { a.end() },
		"it takes too long":  func(a *allowance) { a.late(); a.end() },
		"it has none by now": func(a *allowance) { a.leave(); a.leave() },
	} {
		a := &allowance{limit: maxObject, room: room, server: "one", late: func() {}}
		for range 2 {
			a.used.Store(small + 1)
			if err := a.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if room.line.Held() != 1 {
			t.Errorf("%s: it has %d places", why, room.line.Held())
		}
		if end(a); room.line.Held() != 0 {
			t.Errorf("%s: the place is still held", why)
		}
		a.end()
		if err := a.enter(t.Context()); err == nil || room.line.Held() != 0 {
			t.Errorf("%s: after its end it takes a place: %v", why, err)
		}
	}
}

// What a list takes in memory is what its reader keeps, not what all its pages become.
func TestListsAreTakenPageByPage(t *testing.T) {
	const pages, managers = 8, 100_000
	entries := strings.TrimSuffix(strings.Repeat("{},", managers), ",")
	page := 0
	client := clientOf(t, "/api/v1/configmaps", func(w io.Writer, _ *http.Request) {
		more := "more"
		if page++; page == pages {
			more = ""
		}
		_, _ = fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"continue":%q,"resourceVersion":"7"},"items":[`+
			`{"metadata":{"name":"n%d","managedFields":[%s]}}]}`, more, page, entries)
	})
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc) >> 20
	}
	before, most, seen := heap(), int64(0), 0
	_, err := client.ListMetadata(t.Context(), Ref{Version: "v1", Kind: "ConfigMap"}, metav1.ListOptions{}, func(m *metav1.PartialObjectMetadata) {
		seen += len(m.ManagedFields)
		most = max(most, heap()-before)
	})
	if err != nil || seen != pages*managers {
		t.Fatalf("saw %d managers, %v", seen, err)
	}
	if most > 40 {
		t.Errorf("the list took %d MiB at once", most)
	}
}
