package plan_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/gitrepository"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/plan"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

func TestHookChecksSourcesOnly(t *testing.T) {
	git := events.NewKey("GitRepository", "apps", "one")
	hook := events.HookReceived{
		Receiver:  events.NewKey("Receiver", "apps", "github"),
		Resources: []events.Key{git, events.NewKey("Kustomization", "apps", "two")},
	}
	e, err := events.New("webhook", hook.Receiver, hook, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got, err := plan.New(nil, []source.Watched{gitrepository.New(nil, nil, gitrepository.Config{})}, nil).FanOut(t.Context(), e, events.HookSubject("apps", "github"))
	if err != nil {
		t.Fatal(err)
	}
	want := []bus.Target{{Stage: events.StageFetch, Key: git, Note: bus.Note{Reason: "hook"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
