// Command sluice-webhook takes pushes of Git providers and puts them on the bus.
package main

import (
	"context"
	"os"

	"github.com/sluice-gitops/sluice/services/webhook"
)

func main() {
	os.Exit(webhook.Service().Main(context.Background(), os.Args[1:]))
}
