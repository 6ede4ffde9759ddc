// Package launch is what the main functions of the services share: it reads the
// settings, connects to the bus, the bucket and the cluster, and runs a service on them.
package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/sluice-gitops/sluice/internal/blob"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/serve"
)

// Version of the program; the linker sets it.
var Version = "dev"

// Env is what a service runs on.
type Env struct {
	serve.Settings
	// REST reaches the hub cluster under the service's own user agent.
	REST *rest.Config
	// Bus is connected as the service's user; streams exist.
	Bus *bus.Bus
	// Blob is the bucket; nil for a service that needs none.
	Blob *blob.Store
	// Single says that no other replica runs, so no leader is elected.
	Single bool
	// NewCache makes what builder and applier watch; one each when nil.
	NewCache cache.NewCacheFunc

	Log      *slog.Logger
	Registry *prometheus.Registry
	Ready    *serve.Readiness
	Tracers  trace.TracerProvider
}

// Service describes a program that runs one service.
type Service struct {
	// Name is fetcher, builder, applier or webhook: also the user agent's and the
	// bus consumer's name.
	Name string
	// Bind declares the service's own flags; may be nil.
	Bind func(*pflag.FlagSet)
	// NoBlob leaves out the bucket.
	NoBlob bool
	// Run serves until ctx ends.
	Run func(ctx context.Context, env Env) error
}

// Main runs the service as this process and returns its exit code. The argument
// healthcheck asks a running process for its readiness instead, for images that
// have no shell.
func (s Service) Main(ctx context.Context, args []string) int {
	if err := s.main(ctx, args); err != nil {
		fmt.Fprintf(os.Stderr, "sluice-%s: %s\n", s.Name, serve.Redact(err.Error()))
		return 1
	}
	return 0
}

func (s Service) main(ctx context.Context, args []string) error {
	var settings serve.Settings
	fs := pflag.NewFlagSet("sluice-"+s.Name, pflag.ContinueOnError)
	settings.Bind(fs)
	if s.Bind != nil {
		s.Bind(fs)
	}
	check := len(args) > 0 && args[0] == "healthcheck"
	if check {
		args = args[1:]
	}
	if err := serve.ParseArgs(fs, args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return err
	}
	if check {
		return serve.Healthcheck(ctx, settings.ProbeAddr)
	}
	if err := errors.Join(settings.Load(), settings.Validate()); err != nil {
		return err
	}
	env, telemetry, err := Prepare(ctx, "sluice-"+s.Name, settings)
	if err != nil {
		return err
	}
	return serve.Run(ctx, serve.Config{
		Addr: settings.ProbeAddr, Grace: settings.Grace, Log: env.Log, Registry: env.Registry, Ready: env.Ready,
		Close: []func(context.Context) error{telemetry.Shutdown},
	}, s.Component(env))
}

// Component returns the service on env as a part of a process. The process is not ready
// before the service says so, by a check of its name.
func (s Service) Component(env Env) serve.Component {
	env.Ready.Expect(s.Name)
	return serve.Component{Name: s.Name, Run: func(ctx context.Context) error { return s.start(ctx, env) }}
}

// Prepare makes what a process has once: log, metrics, traces, readiness. It sets how
// often the process collects garbage.
func Prepare(ctx context.Context, program string, settings serve.Settings) (Env, *serve.Telemetry, error) {
	tuneCollector(ctx)
	env := Env{Settings: settings, Registry: serve.NewRegistry(), Ready: &serve.Readiness{}}
	log, err := serve.NewLogger(os.Stdout, settings.LogLevel)
	if err != nil {
		return env, nil, err
	}
	env.Log = log
	// The libraries that log by themselves do so here, too.
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	klog.SetSlogLogger(log)
	telemetry, err := serve.StartTelemetry(ctx, program, Version, env.Registry)
	if err != nil {
		return env, nil, err
	}
	env.Tracers = telemetry.Tracers
	return env, telemetry, nil
}

// start connects what env lacks as the service's own and runs it until ctx ends.
func (s Service) start(ctx context.Context, env Env) (err error) {
	env.Log = env.Log.With("controller", s.Name)
	if env.REST, err = kube.Config(env.Kubeconfig, "sluice-"+s.Name+"/"+Version); err != nil {
		return err
	}
	if env.Bus == nil {
		if env.Bus, err = s.connect(ctx, env); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, env.Bus.Close()) }()
		env.Ready.Add("bus", env.Bus.Ready)
	}
	if env.Blob == nil && !s.NoBlob {
		if env.Blob, err = blob.Open(ctx, blob.Config(env.S3)); err != nil {
			return err
		}
		defer env.Blob.Close()
		env.Ready.Add("bucket", env.Blob.Check)
	}
	return s.Run(ctx, env)
}

func (s Service) connect(ctx context.Context, env Env) (*bus.Bus, error) {
	return bus.Connect(ctx, bus.Config{
		Name: s.Name, URL: env.NATS.URL, User: env.NATS.User, Password: env.NATS.Password,
		CredsFile: env.NATS.CredsFile, CAFile: env.NATS.CAFile,
		Logger: env.Log, Registerer: env.Registry, TracerProvider: env.Tracers,
	})
}
