package applier

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/internal/bus"
	"github.com/sluice-gitops/sluice/internal/identity"
	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/desired"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/fleet"
	"github.com/sluice-gitops/sluice/services/applier/internal/keys"
	"github.com/sluice-gitops/sluice/services/applier/internal/kubeconfig"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"github.com/sluice-gitops/sluice/services/applier/internal/plan"
	"github.com/sluice-gitops/sluice/services/applier/internal/report"
	"github.com/sluice-gitops/sluice/services/applier/internal/snapshot"
	"github.com/sluice-gitops/sluice/services/applier/internal/target"
)

// newFleet returns the clusters that are applied to, and the applier's own, which the
// caller runs.
func newFleet(ctx context.Context, cfg Config, m ctrl.Manager, tell report.Recorder, ring *keys.Ring, snapshots *snapshot.Store) (*fleet.Fleet, fleet.Opened, error) {
	hashKey, err := ring.Subkey("live table")
	if err != nil {
		return nil, fleet.Opened{}, err
	}
	home, err := openCluster(ctx, cfg, m, tell, cfg.REST, "", cluster.Options{Trusted: true}, hashKey, snapshots)
	if err != nil {
		return nil, fleet.Opened{}, err
	}
	live, err := client.New(m.GetConfig(), client.Options{HTTPClient: m.GetHTTPClient(), Scheme: m.GetScheme(), Mapper: m.GetRESTMapper()})
	if err != nil {
		return nil, fleet.Opened{}, fmt.Errorf("prepare client for kubeconfigs: %w", err)
	}
	identities := identity.New(live, identity.Config{
		Service: "applier", Field: "serviceAccountName of a ConfigMap of spec.kubeConfig", ServiceAccounts: cfg.ServiceAccountIdentities,
	})
	room := cluster.NewRoom() // of all remote clusters
	clusters := fleet.New(fleet.Options{
		Home: home,
		Connections: kubeconfig.NewReader(live, identities, kubeconfig.Options{
			AllowExec: cfg.InsecureKubeconfigExec, AllowInsecureTLS: cfg.InsecureKubeconfigTLS,
			DefaultServiceAccount: cfg.DefaultKubeconfigServiceAccount, UserAgent: cfg.REST.UserAgent,
		}),
		Open: func(reach *rest.Config, namespace string) (fleet.Opened, error) {
			return openCluster(ctx, cfg, m, tell, reach, placeOf(reach), cluster.Options{Room: room, Tenant: namespace}, hashKey, snapshots)
		},
		Busy: cfg.Concurrency / 2, // so that one that hangs leaves workers for the others
		// So that several that hang leave some for the own cluster. There are half as many workers more than one namespace has.
		AllBusy: (cfg.Concurrency + (cfg.Concurrency+1)/2) * 3 / 4,
		Check: func(user fleet.User) {
			_ = sendCheck(ctx, cfg, user, bus.Note{Reason: plan.ReasonCluster}) // the timer of its retry asks too
		},
	})
	return clusters, home, nil
}

// sendCheck asks for a check. An error is logged; whoever can asks again.
func sendCheck(ctx context.Context, cfg Config, user fleet.User, note bus.Note) error {
	key := events.NewKey(user.Kind, user.Namespace, user.Name)
	err := cfg.Bus.Check(ctx, bus.Target{Stage: events.StageApply, Key: key, Note: note})
	if err != nil && ctx.Err() == nil {
		cfg.Logger.Error("send check", "kind", key.Kind, "namespace", key.Namespace, "name", key.Name, "error", err.Error())
	}
	return err
}

func kustomization(owner cluster.Owner) fleet.User {
	return fleet.User{Kind: kustomizev1.KustomizationKind, Owner: owner}
}

// placeOf names a remote cluster in snapshots: by its address and whom it is trusted by, whoever connects to it.
func placeOf(reach *rest.Config) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", reach.Host, reach.ServerName, reach.CAData))
	return hex.EncodeToString(sum[:16])
}

// openCluster makes what serves a cluster that is applied to. What its watches see
// becomes checks. place names it in snapshots; it is empty for the applier's own.
func openCluster(ctx context.Context, cfg Config, m ctrl.Manager, tell report.Recorder, reach *rest.Config, place string, opts cluster.Options, hashKey []byte, snapshots *snapshot.Store) (fleet.Opened, error) {
	opts.OverrideManagers = cfg.OverrideManagers
	c, err := cluster.New(reach, opts)
	if err != nil {
		return fleet.Opened{}, fmt.Errorf("connect to cluster: %w", err)
	}
	own, err := c.Client()
	if err != nil {
		return fleet.Opened{}, err
	}
	rivalry := rivalry{read: m.GetClient(), tell: tell}
	table := livestate.New(own, livestate.Options{
		OnDrift: func(owner cluster.Owner, notices []livestate.Notice) error {
			if note, ok := drifted(notices); ok {
				if err := sendCheck(ctx, cfg, kustomization(owner), note); err != nil {
					return err
				}
			}
			rivalry.report(ctx, owner, notices)
			return nil
		},
		OnChange: func(owner cluster.Owner) error {
			return sendCheck(ctx, cfg, kustomization(owner), bus.Note{Reason: plan.ReasonHealth})
		},
		Logger:  cfg.Logger,
		HashKey: hashKey,
	})
	stages, err := groupKinds(cfg.StageKinds)
	if err != nil {
		return fleet.Opened{}, err
	}
	releases := newPlace(ctx, cfg, own, place, hashKey, snapshots)
	e := engine.New(table, engine.Options{Parallel: cfg.Parallel, StageKinds: stages})
	t := target.New(c, e, table, target.Options{
		DefaultServiceAccount: cfg.DefaultServiceAccount, VerifyInterval: cfg.VerifyInterval, Snapshots: snapshots, Place: place,
		Identity: func(ks *kustomizev1.Kustomization) seal.Identity { return desired.Identity(cfg.ClusterName, ks) },
	})
	return fleet.Opened{Target: t, Place: releases, Ping: own.Ping, Run: func(ctx context.Context) error {
		defer c.Close()
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return table.Run(ctx) })
		group.Go(func() error { return releases.Table.Run(ctx) })
		return group.Wait()
	}}, nil
}

// maxNoted is how many objects a check names that drifted: a message has not room for any number. The table knows them all.
const maxNoted = 20

// drifted names what drifted. An object that another Kustomization took over is
// not ours to put back.
func drifted(notices []livestate.Notice) (bus.Note, bool) {
	note := bus.Note{Reason: plan.ReasonDrift}
	for _, n := range notices {
		if n.Why != livestate.Conflict && len(note.Objects) < maxNoted {
			note.Objects = append(note.Objects, n.Object.String())
		}
	}
	return note, len(note.Objects) > 0
}
