package kube

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// kindsRetry is how often a cluster is asked again that lacks kinds.
const kindsRetry = 2 * time.Second

// AwaitKinds waits until the cluster serves all of the kinds, or ctx ends. It tells report
// why it waits, whenever it has asked.
func AwaitKinds(ctx context.Context, cfg *rest.Config, report func(why error), kinds ...schema.GroupVersionKind) error {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return fmt.Errorf("reach cluster: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(cfg, client)
	if err != nil {
		return fmt.Errorf("reach cluster: %w", err)
	}
	tick := time.NewTicker(kindsRetry)
	defer tick.Stop()
	for len(kinds) > 0 {
		_, err := mapper.RESTMapping(kinds[0].GroupKind(), kinds[0].Version)
		if err == nil {
			kinds = kinds[1:]
			continue
		}
		if meta.IsNoMatchError(err) {
			err = fmt.Errorf("it does not serve %s of %s: kubectl apply --server-side -k deploy/crds", kinds[0].Kind, kinds[0].GroupVersion())
		}
		report(fmt.Errorf("waiting for the cluster: %w", err))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
