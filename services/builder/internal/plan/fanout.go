package plan

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"
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
		return p.ordered(ctx, data, items), nil
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
	kind := events.NewKey(kustomizev1.KustomizationKind, "", "").Kind
	var out []bus.Target
	for _, key := range data.Resources {
		if key.Kind == kind {
			out = append(out, bus.Target{Stage: events.StageBuild, Key: key, Note: bus.Note{Reason: "hook"}})
		}
	}
	return out
}
