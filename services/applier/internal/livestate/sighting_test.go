package livestate

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// A cluster may be a tenant's own, and name its objects as it likes.
func TestRecordsHaveABound(t *testing.T) {
	long := strings.Repeat("1", 1<<20)
	table := bare(Options{})
	table.hash = newHasher(nil, nil, Kustomizations())
	table.Manage(configMap)
	k := table.kinds[configMap.GroupKind()]
	f := &feed{table: table, kind: k, ctx: t.Context()}
	for n, m := range []metav1.ObjectMeta{
		{Name: "uid", UID: types.UID(long)},
		{Name: "version", ResourceVersion: long},
		{Name: "owner", Labels: cluster.Owner{Namespace: long, Name: long}.Labels()},
		{Name: long},
		{Name: "namespace", Namespace: long},
	} {
		stored := func(o any) error { // as of a watch that begins with a list
			o, err := f.Transformer()(o)
			if err != nil {
				return err
			}
			return f.Replace([]any{o}, fmt.Sprint(n))
		}
		for _, put := range []func(o any) error{f.Update, stored} {
			if err := put(&metav1.PartialObjectMetadata{ObjectMeta: m}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const most = 4*maxName + 2*maxText
	for key, rec := range k.records {
		s := rec.seen
		texts := []string{key.Namespace, key.Name, string(s.UID), s.ResourceVersion, s.Owner.Namespace, s.Owner.Name}
		if size := len(strings.Join(texts, "")); size > most {
			t.Errorf("a record has %d bytes of text", size)
		}
	}
}

// A cluster that has more objects than the table takes is compared by request, and followed again when it has fewer.
func TestTooManyObjectsAreNotWatched(t *testing.T) {
	owner := cluster.Owner{Namespace: "apps", Name: "shop"}
	list := func(objects int) (list []any) {
		for n := range objects {
			list = append(list, metadata(n, owner, 1))
		}
		return list
	}
	update := func(objects int) func(*feed) {
		return func(f *feed) {
			for _, o := range list(objects) {
				if err := f.Update(o); err != nil {
					t.Errorf("an error, with which all of the object is logged: %v", err)
				}
			}
		}
	}
	replace := func(objects int) func(*feed) {
		return func(f *feed) {
			if err := f.Replace(list(objects), "9"); (err != nil) != (objects > 10) {
				t.Errorf("a list of %d: %v", objects, err)
			}
		}
	}
	for _, tt := range []struct {
		why     string
		first   int // objects of the first list
		then    func(*feed)
		watched bool
		records int
	}{
		{"as many as it takes", 0, update(10), true, 10},
		{"events about those that it has are no more", 10, update(10), true, 10},
		{"one more in the watch", 10, update(11), false, 1},
		{"one more in a list", 5, replace(11), false, 1},
		{"a list that fits takes the place of another", 10, replace(10), true, 10},
	} {
		table := bare(Options{Logger: slog.New(slog.DiscardHandler)})
		table.hash, table.limit = newHasher(nil, nil, Kustomizations()), 10
		table.Manage(configMap)
		k := table.kinds[configMap.GroupKind()]
		f := &feed{table: table, kind: k, ctx: t.Context(), log: slog.New(slog.DiscardHandler)}
		if err := f.Replace(list(tt.first), "1"); err != nil {
			t.Fatal(err)
		}
		ours := metadata(0, owner, 1)
		r := cluster.NewRef(configMap, ours.Namespace, ours.Name)
		table.Begin(r)
		table.Applied(r, owner, "digest", ours)
		tt.then(f)
		if k.watched != tt.watched || len(k.records) != tt.records {
			t.Errorf("%s: watched is %v, with %d records, want %d", tt.why, k.watched, len(k.records), tt.records)
		}
		if err := f.Replace(list(3), "9"); err != nil || !k.watched {
			t.Errorf("%s: a list that fits does not end it: %v", tt.why, err)
		}
		if got := table.Standing(r, owner, "digest"); got != Clean {
			t.Errorf("%s: what was applied stands as %v", tt.why, got)
		}
	}
}

// After its list a watch has no end, so the table has one: it lists again.
func TestWatchOfTooManyObjectsEnds(t *testing.T) {
	const object = `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"n%d","namespace":"x","uid":"%d","resourceVersion":"%d","labels":{"kustomize.toolkit.fluxcd.io/name":"a"}}}`
	served := map[string]string{
		"/api":    `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis":   `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
		"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"configmaps","kind":"ConfigMap","namespaced":true,"verbs":["get","list","watch"]}]}`,
	}
	lists := make(chan struct{}, 100)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case served[q.URL.Path] != "":
			_, _ = io.WriteString(w, served[q.URL.Path])
		case q.URL.Query().Get("watch") == "":
			lists <- struct{}{}
			_, _ = io.WriteString(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7"},"items":[]}`)
		case q.URL.Query().Get("sendInitialEvents") != "":
			w.WriteHeader(http.StatusUnprocessableEntity)
		default:
			for n := range 20 {
				_, _ = fmt.Fprintf(w, `{"type":"ADDED","object":`+object+"}\n", n, n, n+8)
			}
			_ = http.NewResponseController(w).Flush()
			<-q.Context().Done()
		}
	}))
	defer front.Close()
	c, err := cluster.New(&rest.Config{Host: front.URL}, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	table := New(client, Options{Logger: slog.New(slog.DiscardHandler)})
	if table.limit != maxObjects {
		t.Errorf("a cluster that is not trusted may have %d objects", table.limit)
	}
	table.limit = 10
	table.Manage(configMap)
	done := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { done <- table.Run(ctx) }()
	deadline := time.After(30 * time.Second)
	for range 2 {
		select {
		case <-lists:
		case <-deadline:
			t.Fatal("it does not list again")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := len(table.kinds[configMap.GroupKind()].records); got > table.limit {
		t.Errorf("%d records are kept", got)
	}
}

// However many remote clusters there are, and tables of them, there is a bound to the objects of all together.
func TestTablesShareTheirRoom(t *testing.T) {
	room := cluster.NewRoom()
	in := func(tenant string) *cluster.Client {
		c, err := cluster.New(&rest.Config{Host: "https://127.0.0.1:1"}, cluster.Options{Room: room, Tenant: tenant})
		if err != nil {
			t.Fatal(err)
		}
		client, err := c.Client()
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	first, second := New(in("a"), Options{}), New(in("b"), Options{})
	fits := func(table *Table, objects int) bool {
		table.mu.Lock()
		defer table.mu.Unlock()
		return !table.full(objects)
	}
	if !fits(first, 1000) || !fits(second, 1000) {
		t.Fatal("there is no room for a thousand objects")
	}
	for n := range 5 { // who take all that they can have
		others, held := in(fmt.Sprint("other-", n)).Cluster().Keep(), int64(0)
		for more := int64(1 << 30); more > 0; more /= 2 {
			if others.Resize(held + more) {
				held += more
			}
		}
	}
	if fits(first, 50_000) {
		t.Error("there is still room for many more objects")
	}
	if !fits(first, 1001) {
		t.Error("there is none for one more")
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := first.Run(ctx); err != nil {
		t.Error(err)
	}
	if fits(first, 1) {
		t.Error("a table takes room after its end")
	}
}
