package applier

import (
	"context"

	"github.com/sluice-gitops/sluice/internal/launch"
)

// Service describes the program that runs this service. In one process with the
// others, on a machine where nobody prepared a cluster, it makes the runtime
// namespace too.
func Service() launch.Service {
	s := &Settings{}
	return launch.Service{
		Name: "applier", Bind: s.Bind,
		Run: func(ctx context.Context, env launch.Env) error {
			settings := *s
			settings.NoCrossNamespaceRefs, settings.IntervalJitter = env.NoCrossNamespaceRefs, env.IntervalJitter
			settings.ConfigSelector, settings.ExternalArtifacts = env.ConfigSelector, env.ExternalArtifacts
			settings.ServiceAccountIdentities = env.ServiceAccountIdentities
			settings.CreateRuntimeNamespace = settings.CreateRuntimeNamespace || env.Single
			return Run(ctx, Config{
				Settings: settings, REST: env.REST, Bus: env.Bus, Blob: env.Blob,
				RuntimeNamespace: env.RuntimeNamespace, ClusterName: env.ClusterName, Single: env.Single, NewCache: env.NewCache,
				Concurrency: env.Concurrency, Logger: env.Log, Registerer: env.Registry, Ready: env.Ready,
			})
		},
	}
}
