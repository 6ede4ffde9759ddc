package plan

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

const (
	// lookAgain is how often kinds that were not there are looked for.
	lookAgain = 30 * time.Second
	// fillWithin bounds the first list of a kind, so that one that may not be listed
	// holds up no other.
	fillWithin = 30 * time.Second
)

// sourceWatch watches each kind of source once the cluster has it. Until then, and
// for good where a kind is missing, sources of it are read from the API server.
type sourceWatch struct {
	planner    *Planner
	manager    manager.Manager
	controller controller.TypedController[request]

	mu      sync.Mutex
	watched map[string]bool
	looked  chan struct{}
}

func newSourceWatch(p *Planner, m manager.Manager, c controller.TypedController[request]) *sourceWatch {
	return &sourceWatch{planner: p, manager: m, controller: c, watched: map[string]bool{}, looked: make(chan struct{})}
}

// NeedLeaderElection is false: the cache of every replica needs the sources.
func (*sourceWatch) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable. It ends when every kind is watched.
func (s *sourceWatch) Start(ctx context.Context) error {
	missing := s.round(ctx)
	close(s.looked)
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for missing {
		select {
		case <-tick.C:
			missing = s.late(ctx)
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// late is a round after the first. What became of a source before its kind was
// watched is not known, so its users are checked.
func (s *sourceWatch) late(ctx context.Context) (missing bool) {
	before := s.all()
	missing = s.round(ctx)
	for kind := range s.all() {
		if before[kind] {
			continue
		}
		if err := s.planner.check(ctx, ReasonSource, client.MatchingFields{indexKind: kind}); err != nil {
			log.FromContext(ctx).Error(err, "check the users of a kind of source", "source", kind)
		}
	}
	return missing
}

// round tries to watch what is not watched yet.
func (s *sourceWatch) round(ctx context.Context) (missing bool) {
	for _, kind := range append(kube.SourceKinds(), sourcev1.HelmChartKind) {
		if s.has(kind) {
			continue
		}
		if err := s.watch(ctx, kind); err != nil {
			missing = true
			log.FromContext(ctx).V(1).Info("a kind of source is not watched yet", "source", kind, "error", err.Error())
		}
	}
	return missing
}

func (s *sourceWatch) has(kind string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watched[kind]
}

// all returns a copy of which kinds are watched.
func (s *sourceWatch) all() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.watched)
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
	bounded, cancel := context.WithTimeout(ctx, fillWithin)
	defer cancel()
	if _, err := s.manager.GetCache().GetInformer(bounded, object); err != nil {
		return err
	}
	if err := s.controller.Watch(source.TypedKind(s.manager.GetCache(), object, s.planner.sources(kind))); err != nil {
		return fmt.Errorf("watch %s: %w", kind, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched[kind] = true
	return nil
}

// hasArtifact says whether a source has made something.
func hasArtifact(o client.Object) bool {
	source, ok := o.(kube.Source)
	return ok && source.GetArtifact() != nil
}

// sources checks the objects that a source's life concerns. A new revision is not
// among it: the builder answers every revision, and its event wakes us.
func (p *Planner) sources(kind string) handler.TypedEventHandler[client.Object, request] {
	users := func(ctx context.Context, source client.Object, q queue, all bool) {
		value := kind + "/" + client.ObjectKeyFromObject(source).String()
		p.each(ctx, indexSource, value, func(ks *kustomizev1.Kustomization) {
			ready := meta.FindStatusCondition(ks.Status.Conditions, kube.ConditionReady)
			if all || (ready != nil && ready.Reason == status.ReasonArtifactFailed) {
				q.Add(request{client.ObjectKeyFromObject(ks), ReasonSource, kustomizev1.KustomizationKind})
			}
		})
	}
	return handler.TypedFuncs[client.Object, request]{
		CreateFunc: func(ctx context.Context, e event.TypedCreateEvent[client.Object], q queue) {
			users(ctx, e.Object, q, false)
		},
		UpdateFunc: func(ctx context.Context, e event.TypedUpdateEvent[client.Object], q queue) {
			if hasArtifact(e.ObjectOld) != hasArtifact(e.ObjectNew) {
				users(ctx, e.ObjectNew, q, false)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.TypedDeleteEvent[client.Object], q queue) {
			users(ctx, e.Object, q, true)
		},
	}
}
