package webhook

import (
	"context"

	"github.com/sluice-gitops/sluice/internal/launch"
)

// Service describes the program that runs this service.
func Service() launch.Service {
	s := &Settings{}
	return launch.Service{
		Name: "webhook", Bind: s.Bind, NoBlob: true,
		Run: func(ctx context.Context, env launch.Env) error {
			return Run(ctx, Config{
				Settings: *s, REST: env.REST, Bus: env.Bus, RuntimeNamespace: env.RuntimeNamespace,
				NoCrossNamespaceRefs: env.NoCrossNamespaceRefs, Single: env.Single,
				Concurrency: env.Concurrency, Logger: env.Log, Registerer: env.Registry, Ready: env.Ready,
			})
		},
	}
}
