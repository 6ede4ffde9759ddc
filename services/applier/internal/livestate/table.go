package livestate

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Table is the live state of every object that carries an owner label. Its methods
// may be called concurrently and, except Run, Synced, Listed and Adopt, never wait for the network.
type Table struct {
	client *cluster.Client
	opts   Options
	hash   hasher
	now    func() time.Time
	limit  int // of objects; zero when there is none
	kept   *cluster.Kept

	mu       sync.Mutex
	kinds    map[schema.GroupKind]*kind
	owned    map[cluster.Owner]map[*record]struct{} // records in which an owner has a claim
	awaiting awaiting
	outbox   outbox
	start    func(*kind) // set while Run runs
}

// object names an object without the version it was asked for in.
type object struct {
	kind schema.GroupKind
	key  types.NamespacedName
}

func objectOf(r cluster.Ref) object { return object{kind: r.GroupKind(), key: r.Key()} }

// kind is a watched kind and the records of its objects.
type kind struct {
	gvk     schema.GroupVersionKind
	records map[types.NamespacedName]*record
	synced  chan struct{} // closed after the first list
	since   time.Time     // when the first list was asked for
	watched bool          // listed, and the watch works as far as is known
	running bool
}

// record is what is known of one object.
type record struct {
	kind *kind
	key  types.NamespacedName

	seen    Slim   // what the watch, or an answer to us, showed last
	present bool   // seen describes an object that exists
	busy    int    // writes of ours in flight
	left    string // the version at which it was gone during such a write
	applied *applied
	lost    []claim
	state   Standing // Clean, Dirty or Doubtful; meaningful with applied
	futile  int      // verifications in a row that found nothing
	bucket  bucket

	reported mark // what the last notice was about
}

// applied is what we last wrote.
type applied struct {
	claim
	slim Slim
	at   time.Time
	// adopted is true when the record was kept by an earlier process, or another.
	adopted bool
	// leave says for how long the object is left alone; what was written is not known then.
	leave Leave
	// unwanted is true when the owner's newest render does not ask for the object, which was not
	// pruned yet.
	unwanted bool
}

// claim is an owner's wish for an object.
type claim struct {
	owner  cluster.Owner
	digest string
}

// New returns a table that reads with the rights of client.
func New(client *cluster.Client, opts Options) *Table {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Ownership.Manager == "" {
		opts.Ownership = Kustomizations()
	}
	orDefault(&opts.Retry, time.Second)
	orDefault(&opts.VerifyDelay, 4*time.Second)
	orDefault(&opts.CorrectionInterval, CorrectionInterval)
	if opts.Corrections == 0 {
		opts.Corrections = 60
	}
	limit := 0
	if !client.Cluster().Trusted() {
		limit = maxObjects
	}
	return &Table{
		limit: limit, kept: client.Cluster().Keep(), client: client, opts: opts, hash: newHasher(opts.HashKey, client.Cluster().OverrideManagers(), opts.Ownership), now: time.Now,
		kinds:    map[schema.GroupKind]*kind{},
		owned:    map[cluster.Owner]map[*record]struct{}{},
		awaiting: newAwaiting(),
		outbox:   newOutbox(),
	}
}

func orDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Run watches and reports until the context ends. Kinds may be managed before and
// while it runs.
func (t *Table) Run(ctx context.Context) error {
	defer t.kept.End()
	group, ctx := errgroup.WithContext(ctx)
	t.mu.Lock()
	t.start = func(k *kind) {
		k.running, k.since = true, t.now()
		group.Go(func() error { t.watch(ctx, k); return nil })
	}
	for _, k := range t.kinds {
		t.start(k)
	}
	t.mu.Unlock()
	group.Go(func() error { t.deliver(ctx); return nil })
	group.Go(func() error {
		<-ctx.Done()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.start = nil
		return nil
	})
	return group.Wait()
}

// Manage starts the watch of kinds that have none.
func (t *Table) Manage(kinds ...schema.GroupVersionKind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, gvk := range kinds {
		k := t.kinds[gvk.GroupKind()]
		if k == nil {
			k = &kind{gvk: gvk, records: map[types.NamespacedName]*record{}, synced: make(chan struct{}), since: t.now()}
			t.kinds[gvk.GroupKind()] = k
		}
		if !k.running {
			k.gvk = gvk
		}
		if !k.running && t.start != nil {
			t.start(k)
		}
	}
}

// Standing compares an object to what was last applied for owner.
func (t *Table) Standing(r cluster.Ref, owner cluster.Owner, digest string) Standing {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, rec := t.find(r)
	if rec == nil || !k.watched {
		return Unknown
	}
	want := claim{owner: owner, digest: digest}
	for _, c := range rec.lost {
		if c == want && rec.present && rec.seen.Owner != owner {
			return Lost
		}
	}
	if rec.unfollowed() {
		return Unknown
	}
	if rec.present && rec.seen.OptOut.Any(NoReconcile|Ignore) {
		return OptedOut
	}
	if rec.applied == nil || rec.applied.owner != owner {
		return Unknown
	}
	if rec.applied.leave != 0 {
		return Unknown
	}
	if rec.applied.digest != digest {
		return Outdated
	}
	if rec.busy > 0 {
		return Dirty
	}
	return rec.state
}

// Seen returns what was last seen of an object; ok is false when there is no such
// object with an owner label, or its kind is not watched.
func (t *Table) Seen(r cluster.Ref) (s Slim, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, rec := t.find(r)
	if rec == nil || !k.watched {
		return Slim{}, false
	}
	return rec.seen, rec.present && !rec.unfollowed()
}

// Reduce returns what Seen would say of an object with this metadata.
func (t *Table) Reduce(m *metav1.PartialObjectMetadata) Slim { return t.hash.reduce(m) }

// Dirty lists the objects of an owner that are known or suspected to differ from
// what was applied.
func (t *Table) Dirty(owner cluster.Owner) []cluster.Ref {
	t.mu.Lock()
	defer t.mu.Unlock()
	var refs []cluster.Ref
	for rec := range t.owned[owner] {
		if rec.applied == nil || rec.applied.owner != owner || (rec.state != Dirty && rec.state != Doubtful) {
			continue
		}
		if rec.present && rec.seen.OptOut.Any(NoReconcile|Ignore) {
			continue
		}
		refs = append(refs, rec.ref())
	}
	slices.SortFunc(refs, cluster.Compare)
	return refs
}

// Unwatched returns those of refs whose changes no watch tells: their kind cannot be
// listed and watched, or they have no owner labels.
func (t *Table) Unwatched(refs []cluster.Ref) []cluster.Ref {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []cluster.Ref
	for _, r := range refs {
		k, rec := t.find(r)
		if k == nil || !k.watched || rec != nil && rec.unfollowed() {
			out = append(out, r)
		}
	}
	return out
}

// Release forgets what an owner claimed and awaited, as after its deletion: others inherit.
func (t *Table) Release(owner cluster.Owner) { t.forget(owner, t.withdraw) }

// Unload forgets an owner that another process looks after by now. Nobody inherits from it.
func (t *Table) Unload(owner cluster.Owner) {
	t.forget(owner, func(rec *record, owner cluster.Owner) {
		t.disclaim(rec, owner)
		rec.kind.tidy(rec.key, rec)
	})
}

func (t *Table) forget(owner cluster.Owner, drop func(*record, cluster.Owner)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.awaiting.drop(owner)
	t.outbox.drop(owner)
	for rec := range t.owned[owner] {
		drop(rec, owner)
	}
}

func (r *record) ref() cluster.Ref { return cluster.NewRef(r.kind.gvk, r.key.Namespace, r.key.Name) }

// link keeps the index of owners true after an owner's claims in a record changed.
func (t *Table) link(owner cluster.Owner, rec *record) {
	set := t.owned[owner]
	if rec.claimed(owner) {
		if set == nil {
			set = map[*record]struct{}{}
			t.owned[owner] = set
		}
		set[rec] = struct{}{}
		return
	}
	if delete(set, rec); len(set) == 0 {
		delete(t.owned, owner)
	}
}

// claimed says whether the object is an owner's, or was taken from it.
func (r *record) claimed(owner cluster.Owner) bool {
	return r.applied != nil && r.applied.owner == owner ||
		slices.ContainsFunc(r.lost, func(c claim) bool { return c.owner == owner })
}

func (t *Table) find(r cluster.Ref) (*kind, *record) {
	k := t.kinds[r.GroupKind()]
	if k == nil {
		return nil, nil
	}
	return k, k.records[r.Key()]
}

// unfollowed says that the object lost its owner labels, and with them the watch:
// what was seen of it then tells nothing about now.
func (r *record) unfollowed() bool { return r.present && r.seen.Owner.Name == "" }

// tidy removes a record that says nothing any more.
func (k *kind) tidy(key types.NamespacedName, rec *record) {
	if !rec.present && rec.applied == nil && rec.busy == 0 && len(rec.lost) == 0 {
		delete(k.records, key)
	}
}

func without(claims []claim, owner cluster.Owner) []claim {
	var kept []claim
	for _, c := range claims {
		if c.owner != owner {
			kept = append(kept, c)
		}
	}
	return kept
}
