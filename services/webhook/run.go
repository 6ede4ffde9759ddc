package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	notificationv1 "github.com/fluxcd/notification-controller/api/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/kube"
	"github.com/sluice-gitops/sluice/internal/recorder"
	"github.com/sluice-gitops/sluice/services/webhook/internal/index"
	"github.com/sluice-gitops/sluice/services/webhook/internal/plan"
	"github.com/sluice-gitops/sluice/services/webhook/internal/publish"
	"github.com/sluice-gitops/sluice/services/webhook/internal/receive"
	"github.com/sluice-gitops/sluice/services/webhook/internal/resolve"
)

// Run serves until ctx ends. It takes deliveries as soon as the Receivers are known.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	metrics, err := receive.NewMetrics(cfg.Registerer)
	if err != nil {
		return err
	}
	tellWait := cfg.Ready.Waiting("webhook", cfg.Logger)
	if err := kube.AwaitKinds(ctx, cfg.REST, tellWait, notificationv1.GroupVersion.WithKind(notificationv1.ReceiverKind)); err != nil {
		return err
	}
	m, err := newManager(cfg)
	if err != nil {
		return err
	}
	routes := &index.Index{}
	resources := &resolve.Resolver{Cache: m.GetCache(), SameNamespace: cfg.NoCrossNamespaceRefs}
	loader := &index.Loader{Cached: m.GetClient(), Live: m.GetAPIReader(), Resources: resources, Index: routes}
	planner := &plan.Planner{Client: m.GetClient(), Live: m.GetAPIReader()}
	if err := errors.Join(loader.Setup(m), planner.Setup(m, cfg.Concurrency)); err != nil {
		return err
	}
	listener := cfg.Listener
	if listener == nil {
		var lc net.ListenConfig
		if listener, err = lc.Listen(ctx, "tcp", cfg.Addr); err != nil {
			return fmt.Errorf("listen for webhooks: %w", err)
		}
	}
	cfg.Ready.Add("webhook", func(context.Context) error {
		if !routes.Loaded() {
			return errors.New("the receivers are not loaded yet")
		}
		return nil
	})
	tell, err := recorder.New(m, "sluice-webhook", cfg.Logger)
	if err != nil {
		return err
	}
	handler := &receive.Handler{
		Refused: func(route index.Route, message string) {
			tell.Eventf(receiverOf(route), corev1.EventTypeWarning, "DeliveryRefused", "refused a delivery: %s", message)
		},
		Slots:  make(chan struct{}, maxDeliveries),
		Routes: routes, Resources: resources, Bus: &publish.Publisher{Bus: cfg.Bus}, Log: cfg.Logger, Metrics: metrics,
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.Start(groupCtx) })
	group.Go(func() error { return load(groupCtx, m, loader, cfg.Logger) })
	group.Go(func() error { return receive.Serve(groupCtx, listener, handler, cfg.Logger) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// maxDeliveries bounds the bodies in memory to 192 MiB, at 3 MiB each.
const maxDeliveries = 64

// missingRetry is how often a cluster is asked again that does not know Receivers yet.
const missingRetry = time.Second

// load fills the index before the first delivery may be told that nobody listens.
func load(ctx context.Context, m ctrl.Manager, loader *index.Loader, log *slog.Logger) error {
	err := wait.PollUntilContextCancel(ctx, missingRetry, true, func(ctx context.Context) (bool, error) {
		_, err := m.GetCache().GetInformer(ctx, &notificationv1.Receiver{})
		if apimeta.IsNoMatchError(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if !m.GetCache().WaitForCacheSync(ctx) { // the cache starts beside this
			return false, ctx.Err()
		}
		if err := loader.Load(ctx); err != nil {
			log.ErrorContext(ctx, "some receivers are not loaded yet", "err", err)
		}
		return loader.Index.Loaded(), nil
	})
	if err != nil {
		return fmt.Errorf("watch receivers: %w", err)
	}
	return nil
}

// receiverOf is the Receiver that an Event about a route is written on.
func receiverOf(route index.Route) *notificationv1.Receiver {
	return &notificationv1.Receiver{
		TypeMeta:   metav1.TypeMeta{APIVersion: notificationv1.GroupVersion.String(), Kind: notificationv1.ReceiverKind},
		ObjectMeta: metav1.ObjectMeta{Namespace: route.Receiver.Namespace, Name: route.Receiver.Name, UID: route.UID},
	}
}

func newManager(cfg Config) (ctrl.Manager, error) {
	options, err := kube.ManagerOptions("webhook", cfg.RuntimeNamespace, cfg.Single, cfg.Logger)
	if err != nil {
		return nil, err
	}
	options.Client.Cache = &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}
	m, err := ctrl.NewManager(cfg.REST, options)
	if err != nil {
		return nil, fmt.Errorf("prepare webhook manager: %w", err)
	}
	return m, nil
}
