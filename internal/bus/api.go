package bus

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/sluice-gitops/sluice/events"
)

// ErrConflict says that a subject moved since its log was read: read again and
// decide again.
var ErrConflict = errors.New("subject has a newer message")

// Note says why a check was sent. It is a hint: a newer check replaces an older
// one together with its note, and a worker must be right without it.
type Note struct {
	// Reason is one word for logs and traces, such as spec or resync. Those below say more.
	Reason string `json:"reason,omitempty"`
	// Revision that the sender saw; a worker whose cache is older reads the API server.
	Revision string `json:"revision,omitempty"`
	// Objects names what the sender saw drift, in a form the stage defines.
	Objects []string `json:"objects,omitempty"`
}

// Reasons that a worker of another stage, or of this one, goes by.
const (
	// ReasonTimer says that the key's timer fired: nothing happened.
	ReasonTimer = "timer"
	// ReasonHook says that a push was told.
	ReasonHook = "hook"
	// ReasonCorrupt asks for the stored artifact to be read through, and made again unless it
	// is whole, by somebody who found it missing or damaged.
	ReasonCorrupt = "corrupt"
)

// Check is one key to look at.
type Check struct {
	Key  events.Key
	Note Note
	// Sequence of the check in its stream; it grows with every newer check of the key.
	Sequence uint64
	// Sent is when the stream stored the check, by the server's clock, or a moment later. What
	// it and those that it replaced are about had happened by then.
	Sent time.Time
	// Deliveries counts deliveries of this very message, from 1. It is inflated by
	// busy leases and reset by newer checks, so it is for logs only.
	Deliveries uint64
}

// Target is a check to be sent.
type Target struct {
	Stage events.Stage
	Key   events.Key
	Note  Note
	// After is how much later the check comes, half a second at least; zero means
	// at once. A later check takes the place of the key's timer.
	After time.Duration
}

// Result is what a worker wants done before its check is acknowledged.
type Result struct {
	// Next is when the key's timer fires: a duration from now, met within a quarter
	// of a second. Zero leaves the timer as it is, Never removes it. Under half a
	// second the same check comes again instead, and the timer stays as it is.
	Next time.Duration
	// Again is when this very check comes again, as Next has it, because it has to wait for
	// its turn: with its note, and with the failures that went before it. Next does not count
	// then.
	Again time.Duration
}

// Never as Result.Next removes the key's timer.
const Never time.Duration = -1

// Handler works on one check. A returned error is retryable and retried with
// backoff, unless it is Permanent: then the check is acknowledged and recorded as
// a dead letter. A panic is a retryable error. ctx ends with the worker, at the
// deadline, or when the lease is lost (its cause is ErrLeaseLost then).
type Handler func(ctx context.Context, check Check) (Result, error)

// FanOutHandler names the checks that an event leads to. An error redelivers it.
type FanOutHandler func(ctx context.Context, e event.Event, subject string) ([]Target, error)

// WorkConfig configures Work.
type WorkConfig struct {
	Stage events.Stage
	// Workers is how many checks of one namespace are handled at once; 4 when zero.
	// Half as many more are handled for other namespaces.
	Workers int
	// Deadline bounds one handler call; 5 minutes when zero.
	Deadline time.Duration
	// Grace is how long running handlers may go on after Work's context ended; 3
	// seconds when zero.
	Grace time.Duration
	// Alone says that no other process takes checks of the stage, so that no lease
	// has to be taken: one process never works on a key twice at once.
	Alone bool
}

// FanOutConfig configures FanOut.
type FanOutConfig struct {
	// Name of the durable consumer; replicas of a service share it.
	Name string
	// Subjects are filters on stream EVENTS, such as sluice.source.>
	Subjects []string
}
