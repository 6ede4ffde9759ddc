// Command sluice runs the whole pipeline in one process: fetcher, builder, applier
// and webhook on an embedded NATS and S3 server, against any kubeconfig.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/launch"
	"github.com/sluice-gitops/sluice/internal/serve"
	"github.com/sluice-gitops/sluice/services/builder"
)

func main() {
	if builder.SandboxMain() { // a build runs in a child process of this binary
		return
	}
	if err := root().ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "sluice:", serve.Redact(err.Error()))
		os.Exit(1)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "sluice",
		Short:         "GitOps for Kubernetes as an event-driven pipeline",
		Version:       launch.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.AddCommand(runCommand(), healthCommand())
	return cmd
}

func healthCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the sluice process on this machine whether it is ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := serve.ApplyEnv(cmd.Flags(), os.LookupEnv); err != nil {
				return err
			}
			return serve.Healthcheck(cmd.Context(), s.ProbeAddr)
		},
	}
	cmd.Flags().StringVar(&s.ProbeAddr, "probe-addr", ":9440", "address of the process's probes")
	return cmd
}
