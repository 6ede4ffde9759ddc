package plan

import (
	"context"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/builder/internal/objects"
)

// lookAgain is how often kinds that were not there are looked for.
const lookAgain = 30 * time.Second

// sourceWatch watches each kind of source once the cluster has it.
type sourceWatch struct {
	*Planner
	manager    manager.Manager
	controller controller.TypedController[request]
}

// NeedLeaderElection is false: the cache of every replica needs the sources.
func (*sourceWatch) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (s *sourceWatch) Start(ctx context.Context) error {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		missing := 0
		for _, kind := range kinds() {
			if s.Watched(kind) {
				continue
			}
			if err := s.watch(ctx, kind); err != nil {
				missing++
				s.log.Debug("a kind of source is not watched yet", "source", kind, "err", err)
			}
		}
		if missing == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// kinds lists the kinds that something is built from.
func kinds() []string {
	all := append(kube.SourceKinds(), objects.ChartKinds()...)
	slices.Sort(all)
	return slices.Compact(all)
}

func (s *sourceWatch) watch(ctx context.Context, kind string) error {
	var object client.Object = kube.NewSource(kind)
	gvk, err := apiutil.GVKForObject(object, s.manager.GetScheme())
	if err != nil {
		return err
	}
	if _, err := s.manager.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version); err != nil {
		return err
	}
	if _, err := s.manager.GetCache().GetInformer(ctx, object); err != nil {
		return err
	}
	err = s.controller.Watch(source.TypedKind(s.manager.GetCache(), object,
		enqueue(kind, fallback), predicate.TypedFuncs[client.Object]{UpdateFunc: moved}))
	if err != nil {
		return err
	}
	s.watches(kind)
	return nil
}
