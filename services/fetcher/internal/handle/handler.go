package handle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/flight"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/shelf"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// publisher reports what happened to a source.
type publisher interface {
	Open(ctx context.Context, subject string) (*bus.Log, error)
	Forget(ctx context.Context, stage events.Stage, key events.Key) error
}

// recorder writes Kubernetes Events.
type recorder interface {
	AnnotatedEventf(object runtime.Object, annotations map[string]string, eventType, reason, format string, args ...any)
}

// Cluster is the API server as a Handler sees it.
type Cluster struct {
	// Cached answers from watches, without a request; it may lag behind.
	Cached client.Reader
	// Live asks the API server.
	Live client.Reader
	// Writer writes objects and their status.
	Writer client.Client
	// Events records Kubernetes Events.
	Events recorder
}

// Config of a Handler; what is zero gets a default.
type Config struct {
	// AdvertisedHost is host[:port] of artifact URLs. Required.
	AdvertisedHost string
	// JitterPercent is the share of an interval by which it is spread both ways.
	JitterPercent int
	// Keep is how many earlier artifacts of a source stay in storage; 2 when zero.
	Keep int
	// Skew is how far the clocks of the bus and of this process may be apart.
	Skew time.Duration
	// PerHost is how many sources of one host are looked at at once on one road, 4 when zero;
	// half as many more of the namespace, and again of all namespaces.
	PerHost int
	// PerHostRate is how many looks at sources of one host begin in a second; 30 when zero,
	// any number when negative.
	PerHostRate int
	// Logger is slog's default when nil.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.PerHost == 0 {
		c.PerHost = 4
	}
	if c.PerHostRate == 0 {
		c.PerHostRate = 30
	}
	if c.Keep == 0 {
		c.Keep = 2
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Handler works on checks. It is safe for concurrent use.
type Handler struct {
	cluster Cluster
	kinds   source.Kinds
	shelf   shelf.Shelf
	bus     publisher
	config  Config
	written written
	hosts   hosts
}

// New returns a handler of objects of the kinds.
func New(cluster Cluster, kinds source.Kinds, artifacts shelf.Shelf, b *bus.Bus, config Config) *Handler {
	config = config.withDefaults()
	h := &Handler{cluster: cluster, kinds: kinds, shelf: artifacts, bus: b, config: config, hosts: hosts{places: config.PerHost}}
	if config.PerHostRate > 0 {
		h.hosts.every = time.Second / time.Duration(config.PerHostRate)
	}
	return h
}

// tries is how often a pass is made anew when somebody else wrote the object
// meanwhile, before the queue's own backoff takes over.
const tries = 3

// Handle makes one pass over the source of a check.
func (h *Handler) Handle(ctx context.Context, check bus.Check) (bus.Result, error) {
	kind, ok := h.kinds[check.Key.Kind]
	if !ok {
		return bus.Result{}, bus.Permanent(fmt.Errorf("check of kind %q, which the fetcher does not serve", check.Key.Kind))
	}
	host, road, err := h.asks(ctx, kind, check.Key)
	if err != nil {
		return bus.Result{}, err
	}
	ctx, done := h.Asking(ctx, check)
	defer done()
	var later *source.LaterError
	if err := source.Ask(ctx, host, road); errors.As(err, &later) {
		return bus.Result{Again: later.Wait}, nil
	}
	// A timer follows no change of the object, so the cache will do for it. Every
	// other check may be younger than the cache.
	live := check.Note.Reason != bus.ReasonTimer
	var result bus.Result
	for range tries {
		if result, err = h.attempt(ctx, kind, check, live); !apierrors.IsConflict(err) {
			break
		}
		live = true
	}
	return result, err
}

func (h *Handler) attempt(ctx context.Context, kind source.Kind, check bus.Check, live bool) (bus.Result, error) {
	obj, err := h.read(ctx, kind, check.Key, live)
	switch {
	case err != nil:
		return bus.Result{}, err
	case obj == nil:
		return bus.Result{Next: bus.Never}, h.remove(ctx, check.Key)
	case !obj.GetDeletionTimestamp().IsZero():
		return bus.Result{Next: bus.Never}, h.finalize(ctx, check.Key, obj)
	}
	state := kind.State(obj)
	if state.Static {
		return bus.Result{Next: bus.Never}, h.retire(ctx, check.Key, kind, obj)
	}
	if err := h.adopt(ctx, obj); err != nil || state.Suspend {
		return bus.Result{Next: bus.Never}, err
	}
	// What the upstream says after the check was sent will do, whoever asks: that is after
	// whatever the check, and one that it replaced, is about.
	return newPass(h, kind, check, obj).run(flight.Since(ctx, check.Sent.Add(h.config.Skew)))
}

// asks says which host a pass over an object asks for a start, and on which road; none when it asks none.
// It looks at the cache alone, since who waits may come often; what that does not have asks at once.
func (h *Handler) asks(ctx context.Context, kind source.Kind, key events.Key) (host, road string, err error) {
	obj, err := h.cached(ctx, kind, key)
	if obj == nil || err != nil {
		return "", "", err
	}
	state := kind.State(obj)
	if state.Suspend || state.Static || !obj.GetDeletionTimestamp().IsZero() {
		return "", "", nil
	}
	via, err := h.via(ctx, state.Via)
	if err != nil {
		return "", "", err
	}
	if via.Static {
		return via.Host, via.Road, nil
	}
	return state.Host, state.Road, nil
}

// via returns the state of a source that another one names; nothing when it is not there.
func (h *Handler) via(ctx context.Context, key events.Key) (source.State, error) {
	kind, ok := h.kinds[key.Kind]
	if !ok {
		return source.State{}, nil
	}
	obj, err := h.cached(ctx, kind, key)
	if obj == nil || err != nil {
		return source.State{}, err
	}
	return kind.State(obj), nil
}

// cached returns the object as the cache has it, nil when it has none.
func (h *Handler) cached(ctx context.Context, kind source.Kind, key events.Key) (source.Object, error) {
	obj := kind.New()
	err := h.cluster.Cached.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: key.Name}, obj)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return obj, nil // a copy of what the cache has
}

// read returns the object, nil when it does not exist. What the cache lacks is
// asked for.
func (h *Handler) read(ctx context.Context, kind source.Kind, key events.Key, live bool) (source.Object, error) {
	if !live {
		if obj, err := h.cached(ctx, kind, key); obj != nil || err != nil {
			return obj, err
		}
	}
	obj := kind.New()
	if err := h.cluster.Live.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: key.Name}, obj); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return obj, nil
}

// next is when a source is looked at again: its interval, give or take the jitter.
func (h *Handler) next(interval time.Duration) time.Duration {
	if interval <= 0 {
		return bus.Never
	}
	spread := float64(h.config.JitterPercent) / 100
	factor := 1 + spread*(2*rand.Float64()-1) //nolint:gosec // spreads load, guards nothing
	return max(time.Second, time.Duration(float64(interval)*factor))
}

// record writes a Kubernetes Event about the object.
func (h *Handler) record(obj source.Object, annotations map[string]string, kind, reason, message string) {
	h.cluster.Events.AnnotatedEventf(obj, annotations, kind, reason, "%s", message)
}

const (
	normal  = corev1.EventTypeNormal
	warning = corev1.EventTypeWarning
)
