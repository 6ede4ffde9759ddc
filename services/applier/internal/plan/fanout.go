package plan

import (
	"context"
	"slices"
	"strings"

	cloudevent "github.com/cloudevents/sdk-go/v2/event"
	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
)

// Subjects are the events that FanOut understands.
func Subjects() []string { return []string{"sluice.build.>", "sluice.hook.>"} }

// FanOut returns the handler that turns build and hook events into checks of the
// Kustomizations and HelmReleases of one cluster.
func FanOut(cluster string) bus.FanOutHandler {
	kinds := []string{strings.ToLower(kustomizev1.KustomizationKind), strings.ToLower(helmv2.HelmReleaseKind)}
	return func(_ context.Context, e cloudevent.Event, subject string) ([]bus.Target, error) {
		if e.Type() == events.TypeHookReceived {
			return hooked(e, kinds)
		}
		key, err := events.ParseSubject(subject)
		if err != nil {
			return nil, bus.Permanent(err)
		}
		if !slices.Contains(kinds, key.Kind) || events.BuildSubject(cluster, key) != subject {
			return nil, nil
		}
		return []bus.Target{{Stage: events.StageApply, Key: key, Note: bus.Note{Reason: ReasonBuild, Revision: revision(e)}}}, nil
	}
}

func hooked(e cloudevent.Event, kinds []string) ([]bus.Target, error) {
	hook, err := events.Decode[events.HookReceived](e)
	if err != nil {
		return nil, bus.Permanent(err)
	}
	var targets []bus.Target
	for _, key := range hook.Resources {
		if slices.Contains(kinds, key.Kind) {
			targets = append(targets, bus.Target{Stage: events.StageApply, Key: key, Note: bus.Note{Reason: ReasonHook}})
		}
	}
	return targets, nil
}

// revision is a hint; a build event that cannot be read is judged by the worker.
func revision(e cloudevent.Event) string {
	var data struct {
		Revision string `json:"revision"`
	}
	if err := e.DataAs(&data); err != nil {
		return ""
	}
	return data.Revision
}
