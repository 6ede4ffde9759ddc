package report_test

import (
	"errors"
	"testing"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/bus/bustest"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
)

// Of two appliers with the same view one gets the claim, also when they want the same.
func TestClaimFences(t *testing.T) {
	server := bustest.Server(t)
	key := events.NewKey("Kustomization", "ns", "app")
	claim := func(j *report.Journal, attempt string) error {
		return j.Claim(t.Context(), events.ApplyProgressing{Applied: j.Applied("main@sha1:1", "render"), Attempt: attempt})
	}
	var journals []*report.Journal
	for range 2 {
		j, err := report.OpenKey(t.Context(), bustest.Connect(t, server, bus.Config{}), "local", key, "uid")
		if err != nil {
			t.Fatal(err)
		}
		journals = append(journals, j)
	}
	if err := claim(journals[0], "one"); err != nil {
		t.Fatal(err)
	}
	if err := claim(journals[1], "another"); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("the second claim got %v", err)
	}
}
