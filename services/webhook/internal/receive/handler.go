package receive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	notificationv1 "github.com/fluxcd/notification-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/webhook/internal/index"
	"github.com/sluice-gitops/sluice/services/webhook/internal/provider"
)

// publishTime bounds the wait for the bus; providers give up after ten seconds.
const publishTime = 8 * time.Second

type routes interface {
	Find(path string) (index.Route, bool)
	Loaded() bool
}

type resolver interface {
	Resolve(ctx context.Context, namespace string, resources []notificationv1.ReceiverResource) ([]events.Key, error)
}

type publisher interface {
	Publish(ctx context.Context, subject string, e event.Event) error
}

// Handler takes deliveries.
type Handler struct {
	// Routes finds the Receiver of a path.
	Routes routes
	// Resources turns what a Receiver names into keys.
	Resources resolver
	// Bus takes the events.
	Bus publisher
	// Slots bounds how many deliveries hold a body in memory at once; nil is no bound.
	// A stranger takes no slot.
	Slots chan struct{}
	// Refused tells a Receiver's owner of a delivery that was not accepted; nil tells nobody.
	Refused func(route index.Route, message string)
	// Log gets one line a delivery.
	Log *slog.Logger
	// Metrics counts deliveries.
	Metrics *Metrics
}

// answer is what the sender is told and what the log says beside it.
type answer struct {
	status   int
	message  string
	cause    error
	route    index.Route
	delivery provider.Delivery
	keys     int
}

// ServeHTTP implements http.Handler. A panic is answered with 500 and harms no
// other delivery.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	a := h.take(w, r, start)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch a.status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusRequestEntityTooLarge:
		w.Header().Set("Connection", "close")
	}
	w.WriteHeader(a.status)
	_, _ = fmt.Fprintln(w, a.message) // the sender may be gone; the log has the outcome
	h.Metrics.observe(a.status, time.Since(start))
	if h.Refused != nil && a.refused() {
		h.Refused(a.route, a.message)
	}
	h.log(r.Context(), a, time.Since(start))
}

// take judges a delivery in the order that lets strangers do the least.
func (h *Handler) take(w http.ResponseWriter, r *http.Request, now time.Time) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a.status, a.message = http.StatusInternalServerError, "internal error"
			a.cause = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	route, found := h.Routes.Find(r.RequestURI)
	a.route = route
	if found && h.Slots != nil {
		select {
		case h.Slots <- struct{}{}:
			defer func() { <-h.Slots }()
		default:
			return a.with(http.StatusServiceUnavailable, "too many deliveries at once, send it again", nil)
		}
	}
	body, err := readBody(w, r, found)
	switch {
	case errors.Is(err, errTooLarge):
		return a.with(http.StatusRequestEntityTooLarge, err.Error(), nil)
	case err != nil:
		return a.with(http.StatusBadRequest, "the body could not be read", err)
	case !found && !h.Routes.Loaded():
		return a.with(http.StatusServiceUnavailable, "the receivers are not loaded yet", nil)
	case !found:
		return a.with(http.StatusNotFound, "no receiver listens here", nil)
	case r.Method != http.MethodPost:
		return a.with(http.StatusMethodNotAllowed, "use POST", nil)
	case route.Closed != "":
		return a.with(http.StatusServiceUnavailable, "the receiver takes no deliveries now", errors.New(route.Closed))
	}
	a.delivery, err = provider.Check(route.Type, route.Token, route.Events, r.Header, body)
	if err != nil {
		return a.with(http.StatusBadRequest, err.Error(), err)
	}
	return h.forward(r.Context(), a, now)
}

// forward puts an authenticated delivery on the bus.
func (h *Handler) forward(ctx context.Context, a answer, now time.Time) answer {
	keys, unresolved := h.Resources.Resolve(ctx, a.route.Receiver.Namespace, a.route.Resources)
	a.keys = len(keys)
	if len(keys) == 0 && unresolved != nil {
		return a.with(http.StatusInternalServerError, "no resource of the receiver could be resolved", unresolved)
	}
	e, err := a.event(keys, now)
	if err != nil {
		return a.with(http.StatusInternalServerError, "internal error", err)
	}
	// a sender that hangs up now has still delivered
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTime)
	defer cancel()
	subject := events.HookSubject(a.route.Receiver.Namespace, a.route.Receiver.Name)
	if err := h.Bus.Publish(ctx, subject, e); err != nil {
		return a.with(http.StatusServiceUnavailable, "the delivery could not be recorded, send it again", errors.Join(err, unresolved))
	}
	if unresolved != nil {
		return a.with(http.StatusInternalServerError, "some resources of the receiver could not be resolved", unresolved)
	}
	return a.with(http.StatusOK, "received", nil)
}

// refused says that a Receiver is there and the delivery was the sender's fault.
func (a answer) refused() bool {
	return a.route.Path != "" && (a.status == http.StatusBadRequest || a.status == http.StatusRequestEntityTooLarge)
}

func (a answer) with(status int, message string, cause error) answer {
	a.status, a.message, a.cause = status, message, cause
	return a
}

func (a answer) event(keys []events.Key, now time.Time) (event.Event, error) {
	object := events.NewKey(notificationv1.ReceiverKind, a.route.Receiver.Namespace, a.route.Receiver.Name)
	return events.New("webhook", object, events.HookReceived{
		Receiver: object, UID: string(a.route.UID), Provider: a.route.Type, Event: a.delivery.Event, Delivery: a.delivery.ID,
		Resources: append([]events.Key{}, keys...), ReceivedAt: now.UTC().Format(time.RFC3339Nano),
	}, now)
}

// log writes one line a delivery. What comes without a Receiver is noise of the
// internet and logged for debugging only.
func (h *Handler) log(ctx context.Context, a answer, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case a.route.Path == "":
		level = slog.LevelDebug
	case a.status >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	attrs := []slog.Attr{slog.Int("status", a.status), slog.Int64("duration_ms", took.Milliseconds())}
	if a.route.Path != "" {
		attrs = append(attrs, slog.String("kind", notificationv1.ReceiverKind),
			slog.String("namespace", a.route.Receiver.Namespace), slog.String("name", a.route.Receiver.Name),
			slog.String("event", a.delivery.Event), slog.String("delivery", a.delivery.ID), slog.Int("resources", a.keys))
	}
	if a.cause != nil {
		attrs = append(attrs, slog.Any("err", a.cause))
	}
	h.Log.LogAttrs(ctx, level, "delivery", attrs...)
}
