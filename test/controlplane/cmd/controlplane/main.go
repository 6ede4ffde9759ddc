// Command controlplane builds the control plane for tests, or runs one until it is
// told to stop.
//
//	go run ./controlplane/cmd/controlplane -build-only
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-gitops/sluice/test/controlplane"
)

func main() {
	buildOnly := flag.Bool("build-only", false, "build the programs and end")
	withCRDs := flag.Bool("crds", false, "install the custom resource definitions of deploy/crds")
	var options controlplane.Options
	flag.BoolVar(&options.KeepFolder, "keep", false, "leave the folder with data and logs behind")
	flag.BoolVar(&options.NoNodes, "no-nodes", false, "leave out simulated nodes: pods stay pending")
	flag.BoolVar(&options.RequestLog, "request-log", false, "write an audit log of every request")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *buildOnly, *withCRDs, options); err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, buildOnly, withCRDs bool, options controlplane.Options) error {
	if buildOnly {
		_, err := controlplane.Build(ctx, os.Stderr)
		return err
	}
	c, err := controlplane.Start(ctx, options)
	if err != nil {
		return err
	}
	if withCRDs {
		if err := c.InstallCRDs(ctx); err != nil {
			return errors.Join(err, c.Stop())
		}
	}
	fmt.Println(c.KubeconfigPath)
	select {
	case <-ctx.Done():
	case <-c.Done():
	}
	if err := c.Err(); err != nil {
		return err
	}
	return c.Stop()
}
