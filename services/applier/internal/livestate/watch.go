package livestate

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// watch lists and watches one kind until the context ends or the kind is not
// served any more. A lost connection lists again.
func (t *Table) watch(ctx context.Context, k *kind) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	log := slog.New(seldom{t.opts.Logger.With("kind", k.gvk.Kind).Handler(), &moment{now: t.now}})
	f := &feed{table: t, kind: k, ctx: ctx, stop: stop, log: log}
	ref := cluster.NewRef(k.gvk, "", "")
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.LabelSelector = t.opts.Ownership.NameLabel
			list, err := f.list(ctx, ref, opts)
			f.failed(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.LabelSelector = t.opts.Ownership.NameLabel
			if f.over && opts.SendInitialEvents == nil {
				return nil, errors.New("what a watch said was too much: it begins anew")
			}
			w, err := t.client.WatchMetadata(ctx, ref, opts)
			f.failed(err)
			f.current = w
			if err == nil && opts.SendInitialEvents == nil { // else it has yet to list
				f.resumed()
			}
			return w, err
		},
	}
	logger := logr.FromSlogHandler(log.Handler())
	cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, f, cache.ReflectorOptions{
		Name: "livestate", TypeDescription: k.gvk.String(), Logger: &logger,
		Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Cap: 10 * time.Second, Steps: 20, Factor: 2, Jitter: 0.3},
	}).RunWithContext(logr.NewContext(ctx, logger))
}

// feed is where a reflector puts what it hears; it keeps slim records only.
type feed struct {
	table *Table
	kind  *kind
	ctx   context.Context // of the watch; bounds the reads that follow a deletion
	stop  context.CancelFunc
	log   *slog.Logger
	// failing is since when no list or watch worked; the table's lock guards it.
	failing time.Time
	// over says that the kind had too many objects; current is the watch. Both are the reflector's own.
	over    bool
	current watch.Interface
}

// watchPatience is how long lists and watches may fail before a kind counts as one that is not watched.
const watchPatience = time.Minute

// failed notes why a list or watch did not work. A kind that is not served ends
// its watch; Manage starts it again. What will not get better by itself tells at once that the
// kind is not watched, anything else when it lasts.
func (f *feed) failed(err error) {
	if err == nil || f.ctx.Err() != nil {
		return
	}
	t := f.table
	if apierrors.IsNotFound(err) {
		if err := t.client.Cluster().ForgetKinds(); err != nil {
			t.opts.Logger.Error("discovery could not be reset", slog.Any("error", err))
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.failing.IsZero() {
		f.failing = t.now()
	}
	notServed := meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err)
	if !notServed && !lasting(err) && t.now().Sub(f.failing) < watchPatience {
		return
	}
	f.blind()
	if notServed {
		for key, rec := range f.kind.records {
			t.gone(cluster.NewRef(f.kind.gvk, key.Namespace, key.Name), f.kind, rec, "")
		}
		f.kind.running = false
		f.stop()
	}
}

// lasting says that somebody has to do something before what failed can work.
func lasting(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || errors.As(err, new(*cluster.TooLargeError))
}

// blind takes the fact that the kind is not watched. Who awaits its objects has to look at them; the lock is held.
func (f *feed) blind() {
	if f.kind.watched {
		for key := range f.kind.records {
			f.table.changed(objectOf(cluster.NewRef(f.kind.gvk, key.Namespace, key.Name)), "")
		}
	}
	f.listed(false)
}

// resumed takes the fact that the watch goes on where it ended.
func (f *feed) resumed() {
	f.table.mu.Lock()
	defer f.table.mu.Unlock()
	f.failing = time.Time{}
	f.listed(true)
}

// listed marks the first list as done; the lock is held.
func (f *feed) listed(watched bool) {
	f.kind.watched = watched
	select {
	case <-f.kind.synced:
	default:
		close(f.kind.synced)
	}
}

// Add implements cache.ReflectorStore.
func (f *feed) Add(o any) error { return f.Update(o) }

// Update implements cache.ReflectorStore.
func (f *feed) Update(o any) error {
	s := f.sight(o)
	if s == nil || f.over {
		return nil
	}
	f.table.mu.Lock()
	defer f.table.mu.Unlock()
	if f.kind.records[s.key()] == nil && f.table.full(1) {
		f.log.Error("a watch ends", slog.Any("error", f.overflow())) // returned, it would be logged with the object
		return nil
	}
	f.put(s)
	return nil
}

func (f *feed) put(s *sighting) {
	rec := f.kind.record(s.key())
	f.table.observe(rec.ref(), rec, s.live)
}

// Delete implements cache.ReflectorStore. A selector watch says so too when only
// the label went away, so the object itself is asked.
func (f *feed) Delete(o any) error {
	m, ok := o.(*metav1.PartialObjectMetadata)
	if !ok {
		return nil
	}
	f.vanished(cluster.NewRef(f.kind.gvk, m.Namespace, m.Name), m.ResourceVersion)
	return nil
}

// vanished finds out what became of an object that left the selection at a version.
func (f *feed) vanished(r cluster.Ref, version string) {
	t := f.table
	t.mu.Lock()
	rec := f.kind.records[r.Key()]
	ours := rec != nil && rec.applied != nil
	if rec != nil && !ours {
		t.gone(r, f.kind, rec, version)
	}
	t.mu.Unlock()
	if ours {
		t.seek(f.ctx, r, f.kind, version)
	}
}

// Look asks what became of an object that is not what was seen of it, as when its deletion fell
// into a gap of the watch.
func (t *Table) Look(ctx context.Context, r cluster.Ref) {
	t.mu.Lock()
	k, rec := t.find(r)
	t.mu.Unlock()
	if rec != nil {
		t.seek(ctx, r, k, "")
	}
}

// seek asks for an object that was not in the selection at a version, "" when none is
// known: it is gone, or lives without the owner labels.
func (t *Table) seek(ctx context.Context, r cluster.Ref, k *kind, version string) {
	m, err := t.client.GetMetadata(ctx, r)
	t.mu.Lock()
	defer t.mu.Unlock()
	rec := k.records[r.Key()]
	switch {
	case rec == nil:
	case cluster.IsGone(err):
		t.gone(r, k, rec, version)
	case err != nil:
		if rec.applied != nil {
			t.doubt(r, rec)
		}
	case m.Labels[t.opts.Ownership.NameLabel] == "":
		t.unlabelled(r, rec, t.hash.reduce(m))
	default:
		t.observe(r, rec, t.hash.reduce(m))
	}
}

// Replace implements cache.ReflectorStore: it takes a whole list.
func (f *feed) Replace(list []any, version string) error {
	t := f.table
	t.mu.Lock()
	seen, news := make([]*sighting, 0, len(list)), 0
	for _, o := range list {
		if s := f.sight(o); s != nil {
			seen = append(seen, s)
			if f.kind.records[s.key()] == nil {
				news++
			}
		}
	}
	if t.full(news) {
		defer t.mu.Unlock()
		return f.overflow()
	}
	f.over = false
	missing := make(map[types.NamespacedName]*record, len(f.kind.records))
	for key, rec := range f.kind.records {
		if rec.present || rec.busy > 0 { // what we are making may be deleted already
			missing[key] = rec
		}
	}
	for _, s := range seen {
		delete(missing, s.key())
		if rec := f.kind.records[s.key()]; rec != nil && rec.older(s.live) {
			t.setBack(rec.ref(), rec, s.live)
			continue
		}
		f.put(s)
	}
	for key, rec := range missing {
		if rec.busy > 0 { // the answer to our write tells which came last
			t.gone(rec.ref(), f.kind, rec, version)
			delete(missing, key)
		}
	}
	f.failing = time.Time{}
	f.listed(true)
	t.mu.Unlock()
	for _, rec := range missing {
		f.vanished(rec.ref(), version)
	}
	return nil
}

// Resync implements cache.ReflectorStore; there is nothing to repeat.
func (f *feed) Resync() error { return nil }
