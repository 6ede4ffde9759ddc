// Command sluice-applier applies renders to the cluster and keeps them applied.
package main

import (
	"context"
	"os"

	"github.com/sluice-gitops/sluice/services/applier"
)

func main() {
	os.Exit(applier.Service().Main(context.Background(), os.Args[1:]))
}
