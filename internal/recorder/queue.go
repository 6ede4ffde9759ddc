package recorder

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
)

const (
	// burst is how many Events go at once: more than a push of a few objects makes.
	burst = 50
	// pace is how many go in a second after that. A commit that changes a thousand
	// objects makes two thousand.
	pace = 20
	// capacity is how many may wait.
	capacity = 10_000
	// flush bounds the writes at the end of the process.
	flush = 2 * time.Second
)

// queue is a sink that takes Events at once and writes them later. The order of
// those of one type is kept: a write may count up what the one before it created.
type queue struct {
	sink record.EventSink
	log  *slog.Logger
	pace *rate.Limiter
	wake chan struct{}

	mu              sync.Mutex
	warning, normal []write
	dropped         int
}

// write is one Event to be written; patch counts up one that was written before.
type write struct {
	event *corev1.Event
	patch []byte
}

func newQueue(sink record.EventSink, log *slog.Logger) *queue {
	return &queue{sink: sink, log: log, pace: rate.NewLimiter(pace, burst), wake: make(chan struct{}, 1)}
}

// Create queues a new Event.
func (q *queue) Create(event *corev1.Event) (*corev1.Event, error) {
	q.put(write{event: event})
	return event, nil
}

// Update queues an Event that is written whole.
func (q *queue) Update(event *corev1.Event) (*corev1.Event, error) { return q.Create(event) }

// Patch queues a change of an Event.
func (q *queue) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	q.put(write{event: event, patch: data})
	return event, nil
}

func (q *queue) put(w write) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.warning)+len(q.normal) >= capacity {
		if q.dropped++; q.dropped == 1 {
			q.log.Warn("too many Kubernetes Events wait to be written: further ones are dropped", "waiting", capacity)
		}
		return
	}
	if w.event.Type == corev1.EventTypeWarning {
		q.warning = append(q.warning, w)
	} else {
		q.normal = append(q.normal, w)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the next write, false when there is none.
func (q *queue) take() (write, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	from := &q.warning
	if len(*from) == 0 {
		from = &q.normal
	}
	if len(*from) == 0 {
		if q.dropped > 0 {
			q.log.Warn("Kubernetes Events were dropped", "dropped", q.dropped)
			q.dropped = 0
		}
		*from = nil // the array behind it is as long as the longest wait
		return write{}, false
	}
	w := (*from)[0]
	(*from)[0] = write{}
	*from = (*from)[1:]
	return w, true
}

// run writes until the context ends, then what is left without a pace.
func (q *queue) run(ctx context.Context) {
	for q.pace.Wait(ctx) == nil && q.await(ctx) {
		if w, ok := q.take(); ok {
			q.send(w)
		}
	}
	for end := time.Now().Add(flush); time.Now().Before(end); {
		w, ok := q.take()
		if !ok {
			return
		}
		q.send(w)
	}
}

// await returns once something waits, false when the context ends first.
func (q *queue) await(ctx context.Context) bool {
	for ctx.Err() == nil {
		q.mu.Lock()
		waiting := len(q.warning) + len(q.normal)
		q.mu.Unlock()
		if waiting > 0 {
			return true
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
		}
	}
	return false
}

func (q *queue) send(w write) {
	var err error
	if w.patch != nil {
		_, err = q.sink.Patch(w.event, w.patch)
	}
	if w.patch == nil || apierrors.IsNotFound(err) { // the API server keeps Events for an hour
		whole := w.event.DeepCopy()
		whole.ResourceVersion = ""
		_, err = q.sink.Create(whole)
	}
	if err == nil || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return
	}
	q.log.Warn("cannot write a Kubernetes Event", "kind", w.event.InvolvedObject.Kind, "namespace", w.event.InvolvedObject.Namespace,
		"name", w.event.InvolvedObject.Name, "reason", w.event.Reason, "error", err.Error())
}
