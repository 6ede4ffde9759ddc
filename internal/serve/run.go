package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Component is a part of the process that runs until its context ends. It then
// finishes what it has begun and returns. Returning nil earlier is allowed and
// ends nothing else; returning an error ends the process.
type Component struct {
	// Name appears in messages about the part.
	Name string
	// Run does the work.
	Run func(context.Context) error
}

// Config is what Run needs beside the components. The zero value works.
type Config struct {
	// Addr is where the probes and the metrics are served. Empty serves none.
	Addr string
	// Grace is how long components may take to finish; the default is 25 s,
	// below the 30 s that Kubernetes gives a pod.
	Grace time.Duration
	// Log is where the life of the process is logged; the default drops it.
	Log *slog.Logger
	// Registry is what /metrics shows; the default is an empty one.
	Registry *prometheus.Registry
	// Ready holds the readiness checks; the default is none.
	Ready *Readiness
	// Close is called, last one first, when the components are gone or given
	// up: for what they rest on, such as telemetry, an embedded bus or bucket.
	Close []func(context.Context) error
}

// closeTime bounds all of Config.Close together.
const closeTime = 5 * time.Second

// ErrDrain says that components still ran when their time to finish was over.
var ErrDrain = errors.New("components did not finish in time")

// errSignal ends the components' context after a signal.
var errSignal = errors.New("received a signal to stop")

func (c Config) withDefaults() Config {
	if c.Grace <= 0 {
		c.Grace = 25 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Ready == nil {
		c.Ready = &Readiness{}
	}
	return c
}

// Run runs the components until one fails, all have returned, ctx ends, or the
// process receives SIGINT or SIGTERM. It then withdraws readiness, ends the
// components' context, and waits for them up to the grace period; a second
// signal ends the wait. The probes answer until the last component is gone.
//
// Run returns the first error of a component, ErrDrain for the ones that had
// to be left behind, and nil for an orderly end.
func Run(ctx context.Context, c Config, components ...Component) error {
	c = c.withDefaults()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	probes, err := c.listen(ctx)
	if err != nil {
		return errors.Join(err, c.close(ctx))
	}
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	group, groupCtx := errgroup.WithContext(work)
	running := &roster{}
	for _, component := range components {
		running.add(component.Name)
		group.Go(func() error {
			defer running.remove(component.Name)
			return component.run(groupCtx)
		})
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()

	err = c.wait(groupCtx, stop, done, signals, running)
	return errors.Join(err, c.close(ctx), probes.close(c.Grace))
}

// close runs the closers although ctx may have ended.
func (c Config) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	var errs []error
	for _, closer := range slices.Backward(c.Close) {
		errs = append(errs, closer(ctx))
	}
	return errors.Join(errs...)
}

// wait blocks until the components are done or given up.
func (c Config) wait(work context.Context, stop context.CancelCauseFunc, done <-chan error, signals <-chan os.Signal, running *roster) error {
	select {
	case err := <-done:
		return err
	case s := <-signals:
		c.Log.Info("stopping", "signal", s.String(), "grace", c.Grace.String())
		c.Ready.drain()
		stop(errSignal)
	case <-work.Done():
		c.Ready.drain()
	}
	timer := time.NewTimer(c.Grace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-signals:
		return errors.Join(failure(work), fmt.Errorf("%w: interrupted again while waiting for %s", ErrDrain, running))
	case <-timer.C:
		return errors.Join(failure(work), fmt.Errorf("%w: %s after %s", ErrDrain, running, c.Grace))
	}
}

// failure returns the error of the component that ended the others, if one did.
func failure(work context.Context) error {
	if err := context.Cause(work); !errors.Is(err, context.Canceled) && !errors.Is(err, errSignal) {
		return err
	}
	return nil
}

// run names the component in its error, and takes an error that only says that
// the context ended, after it ended, for the orderly end that it is.
func (c Component) run(ctx context.Context) error {
	err := c.Run(ctx)
	if err == nil || (ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		return nil
	}
	return fmt.Errorf("run %s: %w", c.Name, err)
}

func (c Config) listen(ctx context.Context) (*probeServer, error) {
	if c.Addr == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for probes: %w", err)
	}
	return startProbes(l, handler(c.Ready, c.Registry)), nil
}

// roster knows which components still run.
type roster struct {
	mu    sync.Mutex
	names []string
}

func (r *roster) add(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, name)
}

func (r *roster) remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.names, name); i >= 0 {
		r.names = slices.Delete(r.names, i, i+1)
	}
}

// String lists the names of what runs.
func (r *roster) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.names, ", ")
}
