package applier

import (
	"context"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"

	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/fleet"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmrelease"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"github.com/sluice-gitops/sluice/services/applier/internal/plan"
	"github.com/sluice-gitops/sluice/services/applier/internal/snapshot"
)

// newPlace returns a cluster as HelmReleases see it. What its table sees while it runs becomes
// checks. An object that another release took over is not ours to put back at once.
func newPlace(ctx context.Context, cfg Config, own *cluster.Client, name string, hashKey []byte, snapshots *snapshot.Store) *helmrelease.Place {
	check := func(owner cluster.Owner, note bus.Note) error {
		return sendCheck(ctx, cfg, fleet.User{Kind: helmv2.HelmReleaseKind, Owner: owner}, note)
	}
	table := livestate.New(own, livestate.Options{
		Ownership: livestate.HelmReleases(),
		OnDrift: func(owner cluster.Owner, notices []livestate.Notice) error {
			note, ok := drifted(notices)
			if !ok {
				return nil
			}
			return check(owner, note)
		},
		OnChange: func(owner cluster.Owner) error { return check(owner, bus.Note{Reason: plan.ReasonHealth}) },
		Logger:   cfg.Logger,
		HashKey:  hashKey,
	})
	return &helmrelease.Place{
		Cluster: own.Cluster(), Table: table, Name: name, Snapshots: snapshots, VerifyInterval: cfg.VerifyInterval,
	}
}
