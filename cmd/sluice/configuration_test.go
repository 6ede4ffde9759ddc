package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/sluice-gitops/sluice/internal/serve"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

// Every flag of every program is documented, and the page is current.
func TestConfigurationPage(t *testing.T) {
	page := configurationPage()
	path := filepath.Join("..", "..", "docs", "configuration.md")
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(page, string(have)); diff != "" {
		t.Fatalf("docs/configuration.md is old; run go test ./cmd/sluice -update (-want +have):\n%s", diff)
	}
	runCommand().Flags().VisitAll(func(f *pflag.Flag) {
		if f.Usage == "" {
			t.Errorf("flag --%s says nothing about itself", f.Name)
		}
	})
}

func configurationPage() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\nEvery setting is a flag and an environment variable; the flag wins. `cmd/sluice` tests keep this page current.\n")
	b.WriteString("\n## Every program\n\nThe four services and `sluice run` share these; `sluice run` decides those of NATS and S3 itself.\n\n")
	var common serve.Settings
	shared := pflag.NewFlagSet("", pflag.ContinueOnError)
	common.Bind(shared)
	b.WriteString(serve.Markdown(shared))
	for _, service := range services() {
		own := pflag.NewFlagSet(service.Name, pflag.ContinueOnError)
		service.Bind(own)
		b.WriteString("\n## sluice-" + service.Name + "\n\n")
		b.WriteString(serve.Markdown(own))
	}
	one := pflag.NewFlagSet("run", pflag.ContinueOnError)
	runCommand().Flags().VisitAll(func(f *pflag.Flag) {
		if shared.Lookup(f.Name) == nil && !ofService(f.Name) {
			one.AddFlag(f)
		}
	})
	b.WriteString("\n## sluice run\n\nAll of the above, and:\n\n")
	b.WriteString(serve.Markdown(one))
	b.WriteString(environment)
	return b.String()
}

// environment is what the libraries read that a process is made with.
const environment = `
## Beside the flags

Every program reads these too:

| environment | meaning |
|---|---|
| ` + "`OTEL_EXPORTER_OTLP_ENDPOINT`" + ` | where traces, and the metrics that ` + "`/metrics`" + ` has, are sent by OTLP; nothing is sent when empty. OpenTelemetry's other variables count as well, ` + "`OTEL_EXPORTER_OTLP_PROTOCOL`" + ` (` + "`http/protobuf` or `grpc`" + `) among them |
| ` + "`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`" + ` | proxy to the S3 service, and to upstreams and clusters that name none of their own |
| ` + "`GOGC`, `GOMEMLIMIT`" + ` | Go's own settings of garbage collection, in the place of Sluice's |
`

func ofService(name string) bool {
	for _, service := range services() {
		own := pflag.NewFlagSet(service.Name, pflag.ContinueOnError)
		service.Bind(own)
		if own.Lookup(name) != nil {
			return true
		}
	}
	return false
}
