package builder

import (
	"context"

	"github.com/sluice-gitops/sluice/internal/launch"
)

// Service describes the program that runs this service.
func Service() launch.Service {
	s := &Settings{}
	return launch.Service{
		Name: "builder", Bind: s.Bind,
		Run: func(ctx context.Context, env launch.Env) error {
			settings := *s
			settings.ConfigSelector = env.ConfigSelector
			return Run(ctx, Config{
				Settings: settings, REST: env.REST, Bus: env.Bus, Blob: env.Blob,
				RuntimeNamespace: env.RuntimeNamespace, ClusterName: env.ClusterName, DataDir: env.DataDir,
				NoCrossNamespaceRefs: env.NoCrossNamespaceRefs, ExternalArtifacts: env.ExternalArtifacts, Single: env.Single, NewCache: env.NewCache,
				Concurrency: env.Concurrency, IntervalJitter: env.IntervalJitter,
				Logger: env.Log, Registerer: env.Registry, Ready: env.Ready,
			})
		},
	}
}
