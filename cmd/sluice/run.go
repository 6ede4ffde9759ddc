package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/launch"
	"github.com/sluice-gitops/sluice/internal/serve"
	"github.com/sluice-gitops/sluice/services/applier"
	"github.com/sluice-gitops/sluice/services/builder"
	"github.com/sluice-gitops/sluice/services/fetcher"
	"github.com/sluice-gitops/sluice/services/webhook"
)

// settings are those of the services and what one process brings itself.
type settings struct {
	serve.Settings
	// NATSAddr and S3Addr are where the embedded servers listen.
	NATSAddr, S3Addr string
}

func (s *settings) bind(fs *pflag.FlagSet) {
	s.Settings.Bind(fs)
	// what the embedded servers decide is not the user's to set
	for _, name := range []string{
		"nats-url", "nats-user", "nats-password", "nats-password-file", "nats-creds", "nats-ca",
		"s3-endpoint", "s3-access-key", "s3-secret-key", "s3-secret-key-file", "s3-region", "s3-tls", "s3-ca",
	} {
		fs.Lookup(name).Hidden = true
	}
	fs.StringVar(&s.NATSAddr, "nats-addr", "127.0.0.1:4222", "address that the embedded NATS server listens on")
	fs.StringVar(&s.S3Addr, "s3-addr", "", "address that the embedded S3 server listens on; empty takes a free port on loopback")
}

// services returns the pipeline in the order a revision passes it.
func services() []launch.Service {
	return []launch.Service{webhook.Service(), fetcher.Service(), builder.Service(), applier.Service()}
}

func runCommand() *cobra.Command {
	var s settings
	all := services()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run all services in this process, with embedded NATS and S3",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := serve.ApplyEnv(cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			if err := errors.Join(s.Load(), s.Validate()); err != nil {
				return err
			}
			unlock, err := lockFolder(s.DataDir)
			if err != nil {
				return err
			}
			if err := checkAddresses(cmd.Context(), cmd.Flags()); err != nil {
				return errors.Join(err, unlock())
			}
			return errors.Join(run(cmd.Context(), s, all), unlock())
		},
	}
	s.bind(cmd.Flags())
	for _, service := range all {
		service.Bind(cmd.Flags())
	}
	loopback(cmd.Flags().Lookup("artifact-addr"), "127.0.0.1:9090")
	return cmd
}

// loopback gives an address another default than the services have alone: what they serve
// there is for programs of the same machine, and is not asked for a password.
func loopback(flag *pflag.Flag, address string) {
	if err := flag.Value.Set(address); err != nil { // text takes everything
		panic(err)
	}
	flag.DefValue = address
}

func run(ctx context.Context, s settings, all []launch.Service) error {
	// the embedded S3 server changes the working folder of the process
	dir, err := filepath.Abs(s.DataDir)
	if err != nil {
		return fmt.Errorf("data-dir: %w", err)
	}
	s.DataDir = dir
	if s.Kubeconfig != "" {
		if s.Kubeconfig, err = filepath.Abs(s.Kubeconfig); err != nil {
			return fmt.Errorf("kubeconfig: %w", err)
		}
	}
	env, telemetry, err := launch.Prepare(ctx, "sluice", s.Settings)
	if err != nil {
		return err
	}
	g, err := startGround(context.WithoutCancel(ctx), s, env.Log)
	if err != nil {
		return errors.Join(err, telemetry.Shutdown(ctx))
	}
	env.Single = true
	env.NewCache = (&kube.SharedCache{}).New
	env.Settings.S3 = g.bucket(s.S3.Bucket)
	env.Bus, err = bus.Connect(ctx, bus.Config{
		InProcess: g.nats, User: "admin", Password: g.adminPassword,
		Logger: env.Log, Registerer: env.Registry, TracerProvider: env.Tracers,
	})
	if err != nil {
		return errors.Join(err, g.stop(ctx), telemetry.Shutdown(ctx))
	}
	env.Ready.Add("bus", env.Bus.Ready)
	components := make([]serve.Component, len(all))
	for i, service := range all {
		components[i] = service.Component(env)
	}
	return serve.Run(ctx, serve.Config{
		Addr: s.ProbeAddr, Grace: s.Grace, Log: env.Log, Registry: env.Registry, Ready: env.Ready,
		Close: []func(context.Context) error{
			telemetry.Shutdown, g.stop, func(context.Context) error { return env.Bus.Close() },
		},
	}, components...)
}
