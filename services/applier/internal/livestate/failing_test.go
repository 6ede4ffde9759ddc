package livestate

import (
	"errors"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What no watch tells has to be asked for, by passes and by those that await an object.
func TestKindWhoseWatchFailsCountsAsUnwatched(t *testing.T) {
	refused, unavailable := errors.New("connection refused"), apierrors.NewServiceUnavailable("aggregated API")
	type failure struct {
		after time.Duration
		err   error // nil when a list worked
	}
	for _, tt := range []struct {
		why     string
		history []failure
		watched bool
	}{
		{"nothing failed", nil, true},
		{"credentials that were revoked do not come back by themselves", []failure{{0, apierrors.NewUnauthorized("")}}, false},
		{"nor do rights", []failure{{0, apierrors.NewForbidden(schema.GroupResource{}, "", nil)}}, false},
		{"nor does a list become smaller", []failure{{0, &cluster.TooLargeError{}}}, false},
		{"an API server may restart", []failure{{0, refused}, {50 * time.Second, refused}}, true},
		{"but not for long", []failure{{0, refused}, {30 * time.Second, unavailable}, {70 * time.Second, refused}}, false},
		{"a list that worked is a new beginning", []failure{{0, unavailable}, {50 * time.Second, nil}, {70 * time.Second, unavailable}}, true},
		{"and mends what was given up", []failure{{0, apierrors.NewUnauthorized("")}, {time.Second, nil}}, true},
	} {
		table := bare(Options{})
		start := time.Unix(1000, 0)
		table.now = func() time.Time { return start }
		table.hash = newHasher(nil, nil, Kustomizations())
		table.Manage(configMap)
		f := &feed{table: table, kind: table.kinds[configMap.GroupKind()], ctx: t.Context()}
		maker, waiter := cluster.Owner{Namespace: "apps", Name: "maker"}, cluster.Owner{Namespace: "apps", Name: "waiter"}
		m := metadata(1, maker, 1)
		r := cluster.NewRef(configMap, m.Namespace, m.Name)
		if err := f.Replace([]any{m}, "1"); err != nil {
			t.Fatal(err)
		}
		table.Await(waiter, cluster.Unseen(r))
		told := false
		for _, h := range tt.history {
			table.now = func() time.Time { return start.Add(h.after) }
			if h.err == nil {
				if err := f.Replace([]any{m}, "2"); err != nil {
					t.Fatal(err)
				}
				continue
			}
			f.failed(h.err)
			_, now := table.outbox.touched[waiter]
			told = told || now
		}
		if got := len(table.Unwatched([]cluster.Ref{r})) == 0; got != tt.watched {
			t.Errorf("%s: watched is %v", tt.why, got)
		}
		if !tt.watched && !told {
			t.Errorf("%s: who awaits the object is not told", tt.why)
		}
	}
}
