package recorder

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

// sink keeps what is written, in order.
type sink struct {
	mu      sync.Mutex
	written []string
	missing bool // what is patched is not there any more
}

func (s *sink) note(verb string, e *corev1.Event) *corev1.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = append(s.written, verb+" "+e.Message)
	return e
}

func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) { return s.note("create", e), nil }
func (s *sink) Update(e *corev1.Event) (*corev1.Event, error) { return s.note("update", e), nil }

func (s *sink) Patch(e *corev1.Event, _ []byte) (*corev1.Event, error) {
	if s.missing {
		return nil, apierrors.NewNotFound(corev1.Resource("events"), e.Name)
	}
	return s.note("patch", e), nil
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.written...)
}

func event(kind, message string) *corev1.Event {
	return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: message, ResourceVersion: "7"}, Type: kind, Message: message}
}

func TestOrder(t *testing.T) {
	for reason, c := range map[string]struct {
		missing bool
		put     func(q *queue) error
		want    string
	}{
		"one after the other": {
			put: func(q *queue) error {
				for i := range 3 {
					if _, err := q.Create(event(corev1.EventTypeNormal, fmt.Sprint(i))); err != nil {
						return err
					}
				}
				return nil
			},
			want: "create 0, create 1, create 2",
		},
		"a warning passes what waits": {
			put: func(q *queue) error {
				_, err := q.Create(event(corev1.EventTypeNormal, "news"))
				if err == nil {
					_, err = q.Create(event(corev1.EventTypeWarning, "fault"))
				}
				return err
			},
			want: "create fault, create news",
		},
		"a repeated event is counted up after it is there": {
			put: func(q *queue) error {
				_, err := q.Create(event(corev1.EventTypeNormal, "a"))
				if err == nil {
					_, err = q.Patch(event(corev1.EventTypeNormal, "a"), []byte(`{"count":2}`))
				}
				return err
			},
			want: "create a, patch a",
		},
		"a repeated event that has expired is written again": {
			missing: true,
			put: func(q *queue) error {
				_, err := q.Patch(event(corev1.EventTypeNormal, "a"), []byte(`{"count":2}`))
				return err
			},
			want: "create a",
		},
	} {
		t.Run(reason, func(t *testing.T) {
			s := &sink{missing: c.missing}
			q := newQueue(s, slog.New(slog.DiscardHandler))
			if err := c.put(q); err != nil {
				t.Fatal(err)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			q.run(ended) // which writes what is left
			if got := strings.Join(s.all(), ", "); got != c.want {
				t.Errorf("wrote %q, want %q", got, c.want)
			}
		})
	}
}

func TestFull(t *testing.T) {
	var log strings.Builder
	s := &sink{}
	q := newQueue(s, slog.New(slog.NewTextHandler(&log, nil)))
	for i := range capacity + 5 {
		if _, err := q.Create(event(corev1.EventTypeNormal, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	q.run(ended)
	if n := len(s.all()); n != capacity {
		t.Errorf("wrote %d, want %d", n, capacity)
	}
	if !strings.Contains(log.String(), "dropped=5") {
		t.Errorf("the log does not say how many were dropped:\n%s", log.String())
	}
}

// What the recorder is told arrives, and no faster than its pace.
func TestPace(t *testing.T) {
	s := &sink{}
	r := newRecorder(s, scheme.Scheme, "test", slog.New(slog.DiscardHandler))
	r.queue.pace = rate.NewLimiter(rate.Every(time.Hour), 3)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Start(ctx) }()
	for i := range 5 {
		about := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint(i)}}
		r.Event(about, corev1.EventTypeNormal, "Told", fmt.Sprintf("message %d", i))
	}
	deadline, tick := time.After(30*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(s.all()) < 3 || waiting(r.queue) < 2 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d were written and %d wait", len(s.all()), waiting(r.queue))
		}
	}
	if n := len(s.all()); n != 3 {
		t.Errorf("%d were written, the pace allows 3 in this hour", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := len(s.all()); n != 5 {
		t.Errorf("%d were written in the end, want 5", n)
	}
}

func waiting(q *queue) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.warning) + len(q.normal)
}

// Whoever may read Events need not be who may read what others' servers say.
func TestCredentialsAreNotTold(t *testing.T) {
	const secret = "hunter2hunter2"
	s := &sink{}
	r := newRecorder(s, scheme.Scheme, "test", slog.New(slog.DiscardHandler))
	ended, cancel := context.WithCancel(t.Context())
	about := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "one"}}
	r.Event(about, corev1.EventTypeWarning, "One", "cannot read https://me:"+secret+"@example.com/")
	r.Eventf(about, corev1.EventTypeWarning, "Two", "password=%s", secret)
	r.AnnotatedEventf(about, map[string]string{"a": "b"}, corev1.EventTypeWarning, "Three", "%s", strings.Repeat("n", 940)+" https://me:"+secret+strings.Repeat("x", 100)+"@example.com/")
	deadline, tick := time.After(30*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for waiting(r.queue) < 3 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d wait", waiting(r.queue))
		}
	}
	cancel()
	if err := r.Start(ended); err != nil {
		t.Fatal(err)
	}
	for _, text := range s.all() {
		if strings.Contains(text, secret[:4]) || len(text) > 1024+len("create ") {
			t.Errorf("%d bytes are written: %s", len(text), text)
		}
	}
	if n := len(s.all()); n != 3 {
		t.Errorf("%d were written", n)
	}
}
