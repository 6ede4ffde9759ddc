package plan

import (
	"context"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
)

// FanOut returns the configuration of the consumer that Events handles.
func FanOut() bus.FanOutConfig {
	return bus.FanOutConfig{Name: "builder", Subjects: []string{"sluice.source.>", "sluice.hook.>"}}
}

// Events names the checks that a source's or a hook's event leads to.
func (p *Planner) Events(ctx context.Context, e event.Event, _ string) ([]bus.Target, error) {
	switch e.Type() {
	case events.TypeSourceChanged:
		data, err := events.Decode[events.SourceChanged](e)
		if err != nil {
			return nil, bus.Permanent(err)
		}
		items, err := p.dependents(ctx, bySource, data.Source.String())
		if err != nil {
			return nil, err
		}
		releases, err := p.releases(ctx, bySource, data.Source.String())
		if err != nil {
			return nil, err
		}
		note := bus.Note{Reason: "source", Revision: data.Revision}
		return append(p.ordered(ctx, data, items), releaseTargets(releases, note)...), nil
	case events.TypeHookReceived:
		data, err := events.Decode[events.HookReceived](e)
		if err != nil {
			return nil, bus.Permanent(err)
		}
		return hooked(data), nil
	}
	return nil, nil
}

func hooked(data events.HookReceived) []bus.Target {
	built := []string{events.NewKey(kustomizev1.KustomizationKind, "", "").Kind, events.NewKey(helmv2.HelmReleaseKind, "", "").Kind}
	var out []bus.Target
	for _, key := range data.Resources {
		if slices.Contains(built, key.Kind) {
			out = append(out, bus.Target{Stage: events.StageBuild, Key: key, Note: bus.Note{Reason: bus.ReasonHook}})
		}
	}
	return out
}
