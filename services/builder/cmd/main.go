// Command sluice-builder renders Kustomizations.
package main

import (
	"context"
	"os"

	"github.com/sluice-gitops/sluice/services/builder"
)

func main() {
	if builder.SandboxMain() { // a build runs in a child process of this binary
		return
	}
	os.Exit(builder.Service().Main(context.Background(), os.Args[1:]))
}
