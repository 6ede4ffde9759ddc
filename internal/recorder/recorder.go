// Package recorder writes Kubernetes Events. They are for people and nothing depends
// on them, so they keep a pace that leaves the API server to the work they tell of.
package recorder

import (
	"context"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sluice-gitops/sluice/internal/serve"
)

// Recorder takes Kubernetes Events from any goroutine, without waiting. It writes
// them, without credentials and cut at 1 KiB, while Start runs: a burst of 50 at once, then 20 a second, warnings first. Past
// 10,000 that wait, further ones are dropped and that is logged.
type Recorder struct {
	record.EventRecorder
	broadcaster record.EventBroadcaster
	queue       *queue
}

// New returns a recorder that runs with the manager, in every replica. Its Events name component as their source.
func New(m ctrl.Manager, component string, log *slog.Logger) (*Recorder, error) {
	clients, err := kubernetes.NewForConfig(m.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("create client for events: %w", err)
	}
	r := newRecorder(&typedcorev1.EventSinkImpl{Interface: clients.CoreV1().Events("")}, m.GetScheme(), component, log)
	if err := m.Add(r); err != nil {
		return nil, fmt.Errorf("add recorder: %w", err)
	}
	return r, nil
}

func newRecorder(sink record.EventSink, scheme *runtime.Scheme, component string, log *slog.Logger) *Recorder {
	q := newQueue(sink, log)
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(q)
	return &Recorder{
		EventRecorder: discreet{broadcaster.NewRecorder(scheme, corev1.EventSource{Component: component})},
		broadcaster:   broadcaster, queue: q,
	}
}

// MaxMessage is the length, in bytes, at which messages are cut: the API server takes 1024, the words that say so included.
const MaxMessage = 1024 - 64

// discreet removes credentials from messages, and cuts long ones.
type discreet struct{ record.EventRecorder }

// Event implements record.EventRecorder.
func (d discreet) Event(about runtime.Object, kind, reason, message string) {
	d.EventRecorder.Event(about, kind, reason, serve.Brief(message, MaxMessage))
}

// Eventf implements record.EventRecorder.
func (d discreet) Eventf(about runtime.Object, kind, reason, format string, args ...any) {
	d.Event(about, kind, reason, fmt.Sprintf(format, args...))
}

// AnnotatedEventf implements record.EventRecorder.
func (d discreet) AnnotatedEventf(about runtime.Object, annotations map[string]string, kind, reason, format string, args ...any) {
	d.EventRecorder.AnnotatedEventf(about, annotations, kind, reason, "%s", serve.Brief(fmt.Sprintf(format, args...), MaxMessage))
}

// Start writes until the context ends, and then, for two seconds at most, what is left.
func (r *Recorder) Start(ctx context.Context) error {
	r.queue.run(ctx)
	r.broadcaster.Shutdown()
	return nil
}

// NeedLeaderElection lets a manager run the recorder in every replica.
func (r *Recorder) NeedLeaderElection() bool { return false }
