package applier

import (
	"context"
	"errors"
	"testing"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var errNoWatch = errors.New("the kind cannot be watched")

// broken is a manager whose cache cannot watch.
type broken struct{ ctrl.Manager }

func (broken) GetCache() cache.Cache { return brokenCache{} }

type brokenCache struct{ cache.Cache }

func (brokenCache) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return nil, errNoWatch
}

// A process that cannot watch takes no checks, and must not look as if it worked: it ends with the error.
func TestWhatCannotBeWatchedEndsTheProcess(t *testing.T) {
	a := &applier{manager: broken{}}
	if err := a.work(t.Context()); !errors.Is(err, errNoWatch) {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.work(ended); err != nil {
		t.Errorf("the context ended: %v", err)
	}
}
