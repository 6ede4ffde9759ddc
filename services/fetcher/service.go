package fetcher

import (
	"context"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-gitops/sluice/internal/launch"
)

// Service describes the fetcher to a main function.
func Service() launch.Service {
	var flags Config
	return launch.Service{
		Name: "fetcher",
		Bind: func(fs *pflag.FlagSet) {
			fs.StringVar(&flags.ArtifactAddr, "artifact-addr", ":9090", "address that artifacts are served on over HTTP; empty serves none; 127.0.0.1:9090 is the default of sluice run")
			fs.StringVar(&flags.AdvertisedAddr, "artifact-adv-addr", "", "host[:port] of artifact URLs; empty takes artifact-addr, or the Service sluice-fetcher if that has no host")
			fs.Int64Var(&flags.MaxBytes, "artifact-max-bytes", 1<<30, "most bytes of content in one artifact")
			fs.IntVar(&flags.MaxEntries, "artifact-max-entries", 200_000, "most files and folders in one artifact")
			fs.IntVar(&flags.PerHost, "per-host-concurrency", 0, "how many sources of one host one namespace has looked at at once with the same Secrets, half of concurrency when zero; half as many more with others, and again for other namespaces")
			fs.IntVar(&flags.PerHostRate, "per-host-rate", 30, "how many looks at sources of one host one replica begins in a second; pushes count, and do not wait; any number when negative")
			fs.Int64Var(&flags.MaxPackBytes, "git-max-pack-bytes", 2<<30, "most bytes that one fetch from a Git server may transfer")
			fs.StringSliceVar(&flags.SSHKeyExchanges, "ssh-kex-algos", nil, "key exchange algorithms that SSH may use, divided by commas; those that are not weak when empty")
			fs.StringSliceVar(&flags.SSHHostKeys, "ssh-hostkey-algos", nil, "host key algorithms that SSH may use, divided by commas; those that are not weak when empty")
			fs.Int64Var(&flags.MaxIndexBytes, "helm-index-max-size", 50<<20, "most bytes of the index of a Helm repository")
			fs.Int64Var(&flags.MaxChartBytes, "helm-chart-max-size", 10<<20, "most bytes of a chart's package")
			fs.Int64Var(&flags.MaxChartFileBytes, "helm-chart-file-max-size", 5<<20, "most bytes of one file of a chart in another source")
			fs.StringVar(&flags.DefaultServiceAccount, "default-source-service-account", "", "service account whose identity counts at cloud providers for sources that name none; empty takes the fetcher's own")
			fs.StringVar(&flags.SigstoreRoot, "sigstore-trusted-root", "", "file with the trusted root of signatures made without a key; empty reads Sigstore's public one over the network")
			fs.DurationVar(&flags.MirrorIdle, "git-mirror-idle", 24*time.Hour, "how long an unused Git mirror stays on disk")
		},
		Run: func(ctx context.Context, env launch.Env) error {
			c := flags
			c.REST, c.Bus, c.Blob, c.Logger, c.Ready = env.REST, env.Bus, env.Blob, env.Log, env.Ready
			c.DataDir, c.RuntimeNamespace, c.Single, c.Concurrency = env.DataDir, env.RuntimeNamespace, env.Single, env.Concurrency
			c.ExternalArtifacts, c.NoCrossNamespaceRefs = env.ExternalArtifacts, env.NoCrossNamespaceRefs
			c.ServiceAccountIdentities, c.IntervalJitter = env.ServiceAccountIdentities, env.IntervalJitter
			if c.advertised() == "" {
				c.AdvertisedAddr = "sluice-fetcher." + env.RuntimeNamespace + ".svc.cluster.local."
			}
			return Run(ctx, c)
		},
	}
}
