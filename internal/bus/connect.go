package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/sluice-gitops/sluice/internal/share"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
)

// Bus is one process's connection to NATS. It is safe for concurrent use.
type Bus struct {
	cfg     Config
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *slog.Logger
	metrics *metrics
	tracer  trace.Tracer
	// owner names this process in leases.
	owner string
	guard *guard
	// reconnected is given after every reconnect.
	reconnected signal
	// precedence is between the namespaces of all stages that are worked on over this connection.
	precedence *share.Precedence
	stop       context.CancelFunc
	done       sync.WaitGroup
}

// Connect connects to NATS and creates or verifies the streams of the service. It
// keeps trying while NATS is not there, until ctx ends; afterwards the connection
// repairs itself for as long as the process lives.
func Connect(ctx context.Context, cfg Config) (*Bus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	provider := cfg.TracerProvider
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	b := &Bus{
		cfg: cfg, log: cfg.Logger, metrics: m, owner: nuid.Next(), precedence: share.NewPrecedence(2*runtime.GOMAXPROCS(0), runtime.GOMAXPROCS(0)/2-1),
		tracer: provider.Tracer("github.com/sluice-gitops/sluice/internal/bus"),
	}
	if b.guard, err = newGuard(b); err != nil {
		return nil, err
	}
	if b.nc, err = b.dial(); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(cfg.Timeout)); err != nil {
		b.nc.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	if err := b.guard.first(ctx); err != nil {
		b.nc.Close()
		return nil, err
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.stop = stop
	b.done.Go(func() { b.guard.watch(watch) })
	return b, nil
}

func (b *Bus) dial() (*nats.Conn, error) {
	c := b.cfg
	opts := []nats.Option{
		nats.Name("sluice " + orElse(c.Name, "all")),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 500*time.Millisecond),
		nats.PingInterval(20 * time.Second),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectHandler(func(*nats.Conn) {
			b.log.Info("connected to NATS again")
			b.reconnected.give()
			b.guard.poke()
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("lost the connection to NATS, trying again", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			attrs := []any{"error", err}
			if s != nil {
				attrs = append(attrs, "subject", s.Subject)
			}
			b.log.Warn("NATS reported an error", attrs...)
		}),
	}
	if c.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	if c.User != "" {
		opts = append(opts, nats.UserInfo(c.User, c.Password))
	}
	if c.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(c.CredsFile))
	}
	if c.CAFile != "" {
		opts = append(opts, nats.RootCAs(c.CAFile))
	}
	if c.InProcess != nil {
		opts = append(opts, nats.InProcessServer(c.InProcess))
	}
	return nats.Connect(c.URL, opts...)
}

// Close sends what is still buffered and closes the connection. Work and FanOut
// must have returned.
func (b *Bus) Close() error {
	b.stop()
	b.done.Wait()
	var err error
	if b.nc.IsConnected() {
		err = b.nc.FlushTimeout(b.cfg.Timeout)
	}
	b.nc.Close()
	if err != nil {
		return fmt.Errorf("flush to NATS: %w", err)
	}
	return nil
}

// Ready reports whether NATS answers and the streams of the service are there.
func (b *Bus) Ready(ctx context.Context) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("NATS is not connected: %s", b.nc.Status())
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	for _, def := range b.guard.streams {
		if _, err := b.js.Stream(ctx, def.Name); err != nil {
			return fmt.Errorf("look up stream %s: %w", def.Name, err)
		}
	}
	return nil
}

// publish sends one message and waits for its acknowledgement. A stream that is
// missing is created again and gets the message after all.
func (b *Bus) publish(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	opts = append(opts, jetstream.WithRetryAttempts(0))
	for attempt := 0; ; attempt++ {
		ack, err := b.publishOnce(ctx, m, opts)
		if err == nil || attempt == 1 || !errors.Is(err, jetstream.ErrNoStreamResponse) {
			return ack, err
		}
		if verr := b.guard.verify(ctx); verr != nil {
			return nil, errors.Join(err, verr)
		}
	}
}

func (b *Bus) publishOnce(ctx context.Context, m *nats.Msg, opts []jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	return b.js.PublishMsg(ctx, m, opts...)
}

// Conn returns the connection to NATS, for tests and for tools beside the bus.
func (b *Bus) Conn() *nats.Conn { return b.nc }
