package livestate

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// lines counts the lines of a log.
type lines struct {
	mu    sync.Mutex
	count int
	text  string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	l.text += string(p)
	return len(p), nil
}

// A cluster that is away, or refuses its lists, fails each watch again and again, for any time: the log has it once in a while.
func TestFailingWatchesAreToldOnce(t *testing.T) {
	asked := make(chan struct{}, 100)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch q.URL.Path {
		case "/api":
			_, _ = io.WriteString(w, `{"kind":"APIVersions","versions":["v1"]}`)
		case "/apis":
			_, _ = io.WriteString(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`)
		case "/api/v1":
			_, _ = io.WriteString(w, `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"configmaps","kind":"ConfigMap","namespaced":true,"verbs":["get","list","watch"]}]}`)
		default:
			if q.URL.Query().Get("watch") == "" {
				asked <- struct{}{}
			}
			w.WriteHeader(http.StatusForbidden)
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
	log := &lines{}
	table := New(client, Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	table.Manage(configMap)
	done := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { done <- table.Run(ctx) }()
	deadline := time.After(30 * time.Second)
	for range 5 {
		select {
		case <-asked:
		case <-deadline:
			t.Fatal("it does not try again")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if log.count != 1 || !strings.Contains(log.text, "ConfigMap") || !strings.Contains(log.text, "level=ERROR") {
		t.Errorf("the log has %d lines of five failures:\n%s", log.count, log.text)
	}
	later := time.Duration(0)
	often := slog.New(seldom{slog.NewTextHandler(log, nil), &moment{now: func() time.Time { return time.Now().Add(later) }}})
	for range 10 {
		often.Error("no")
		often.With("a", "b").WithGroup("c").Error("no", "d", "e")
	}
	later = sayEvery
	often.Error("no")
	often.Info("but this")
	if log.count != 4 {
		t.Errorf("after ten minutes it has %d lines:\n%s", log.count, log.text)
	}
}
