package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sluice-gitops/sluice/events"
	"go.opentelemetry.io/otel/trace"
)

// Config says how to reach NATS and what this process does there. URL and Name
// suffice for a server without users.
type Config struct {
	// URL of the NATS servers, comma separated. It may be empty with InProcess.
	URL string
	// Name of the service: fetcher, builder, applier or webhook. A service creates
	// and verifies the streams it uses; an empty name stands for all of them.
	Name string
	// User and Password, or CredsFile, authenticate to NATS; all empty for none.
	User, Password, CredsFile string
	// InboxPrefix is where replies arrive; _INBOX_<User> when empty and User is set.
	InboxPrefix string
	// CAFile holds the PEM certificates that sign the server's; the system's when empty.
	CAFile string
	// InProcess connects to an embedded server without a socket.
	InProcess nats.InProcessConnProvider
	// Timeout bounds one request to NATS; 5 seconds when zero.
	Timeout time.Duration
	// LeaseTTL is how long a lease outlives its holder, 1 second at least; 10
	// seconds when zero. A holder renews it three times in this time.
	LeaseTTL time.Duration
	// AckWait is after how long a message of a dead worker goes to another; 10
	// seconds when zero. A live worker says three times in it that it is at work.
	AckWait time.Duration
	// VerifyEvery is how often streams are looked at for a purge that nothing else
	// tells of; 15 seconds when zero. A deleted stream is noticed at once.
	VerifyEvery time.Duration
	// Logger is slog's default when nil.
	Logger *slog.Logger
	// Registerer of the metrics; they are not exported when nil.
	Registerer prometheus.Registerer
	// TracerProvider of the spans around handlers; OpenTelemetry's global one when nil.
	TracerProvider trace.TracerProvider
}

// Validate reports a configuration that cannot work.
func (c Config) Validate() error {
	if c.URL == "" && c.InProcess == nil {
		return errors.New("configure bus: a NATS URL is missing")
	}
	if c.User != "" && c.CredsFile != "" {
		return errors.New("configure bus: give a user or a credentials file, not both")
	}
	if c.LeaseTTL != 0 && c.LeaseTTL < time.Second {
		return fmt.Errorf("configure bus: lease TTL is %s, NATS counts it in seconds: want 1s at least", c.LeaseTTL)
	}
	_, err := streamsOf(c.Name)
	return err
}

func (c Config) withDefaults() Config {
	c.Timeout = orElse(c.Timeout, 5*time.Second)
	c.LeaseTTL = orElse(c.LeaseTTL, 10*time.Second)
	c.AckWait = orElse(c.AckWait, 10*time.Second)
	c.VerifyEvery = orElse(c.VerifyEvery, 15*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.InboxPrefix == "" && c.User != "" {
		c.InboxPrefix = "_INBOX_" + c.User
	}
	return c
}

func orElse[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// streamsOf returns the names of the streams that a service uses. The streams
// that only people read are created along with those they depend on.
func streamsOf(service string) ([]string, error) {
	log := []string{events.StreamEvents, events.StreamAudit}
	worker := append(log, events.StreamLeases, events.StreamDead)
	switch service {
	case "webhook":
		return log, nil
	case "fetcher":
		return append(worker, events.CheckStream(events.StageFetch)), nil
	case "builder":
		return append(worker, events.CheckStream(events.StageBuild)), nil
	case "applier":
		return append(worker, events.CheckStream(events.StageApply)), nil
	case "":
		for _, stage := range events.Stages() {
			worker = append(worker, events.CheckStream(stage))
		}
		return worker, nil
	}
	return nil, fmt.Errorf("configure bus: service %q is unknown, want fetcher, builder, applier, webhook or none", service)
}
