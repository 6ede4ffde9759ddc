// Command fetcher runs the fetcher service by itself.
package main

import (
	"context"
	"os"

	"github.com/sluice-gitops/sluice/services/fetcher"
)

func main() {
	os.Exit(fetcher.Service().Main(context.Background(), os.Args[1:]))
}
