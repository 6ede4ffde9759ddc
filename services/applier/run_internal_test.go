package applier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
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

// Whatever number of objects drifts at once, a check has room for what is noted with it: else nothing would be put back.
func TestNotesOfDriftAreShort(t *testing.T) {
	var notices []livestate.Notice
	for n := range 20_000 {
		ref := cluster.Ref{Version: "v1", Kind: "ConfigMap", Namespace: "apps", Name: fmt.Sprintf("%s%d", strings.Repeat("n", 200), n)}
		notices = append(notices, livestate.Notice{Object: ref})
	}
	note, ok := drifted(notices)
	body, err := json.Marshal(note)
	if err != nil || !ok || len(note.Objects) == 0 || len(body) > 16<<10 {
		t.Errorf("a note of %d bytes names %d objects: %v", len(body), len(note.Objects), err)
	}
}
