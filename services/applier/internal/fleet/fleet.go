package fleet

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/share"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/engine"
	"github.com/sluice-gitops/sluice/services/applier/internal/handle"
	"github.com/sluice-gitops/sluice/services/applier/internal/helmrelease"
	"github.com/sluice-gitops/sluice/services/applier/internal/inventory"
	"github.com/sluice-gitops/sluice/services/applier/internal/kubeconfig"
)

// Target is a cluster of the fleet.
type Target interface {
	handle.Target
	Reachable(ctx context.Context, ks *kustomizev1.Kustomization) (string, error)
	// Forget drops what is remembered of an owner that is gone.
	Forget(owner cluster.Owner)
	// Unload drops what this process remembers of an owner that it has not seen for long, because
	// another one looks after it.
	Unload(owner cluster.Owner)
}

// User is an object that uses a cluster: a Kustomization or a HelmRelease.
type User struct {
	Kind string
	cluster.Owner
}

// Opened is a cluster that was opened.
type Opened struct {
	Target Target
	// Place is the cluster as HelmReleases see it.
	Place *helmrelease.Place
	// Ping returns nil when the cluster answers.
	Ping func(context.Context) error
	// Run watches the cluster until ctx ends.
	Run func(ctx context.Context) error
}

// forget drops what the cluster remembers of a user.
func (o Opened) forget(u User) {
	if u.Kind == helmv2.HelmReleaseKind {
		o.Place.Forget(u.Owner)
		return
	}
	o.Target.Forget(u.Owner)
}

func (o Opened) unload(u User) {
	if u.Kind == helmv2.HelmReleaseKind {
		o.Place.Unload(u.Owner)
		return
	}
	o.Target.Unload(u.Owner)
}

// connector reads the connection that a spec.kubeConfig of a namespace leads to.
type connector interface {
	Connect(ctx context.Context, namespace string, ref *fluxmeta.KubeConfigReference) (kubeconfig.Connection, error)
}

// Options are what a fleet is made of. All are required.
type Options struct {
	// Home is the applier's own cluster.
	Home Opened
	// Connections of remote clusters.
	Connections connector
	// Open makes a cluster of a connection, without a request. What is kept of it counts for the namespace.
	Open func(config *rest.Config, namespace string) (Opened, error)
	// Busy is how many passes may be under way in one remote cluster.
	Busy int
	// AllBusy is how many passes may be under way in all remote clusters together, so
	// that some workers are always left for the applier's own. A namespace takes two thirds of them at most.
	AllBusy int
	// Check asks for a pass over an object: whether its cluster answers has changed.
	Check func(user User)
}

// Fleet finds the cluster of an object. Its methods may be called concurrently.
type Fleet struct {
	opts Options
	now  func() time.Time
	// slots are the passes that may be under way in remote clusters, by namespace.
	slots *share.Line
	// lookups are the clouds that may be asked at once.
	lookups *share.Line

	mu       sync.Mutex
	members  map[kubeconfig.Key]*member
	users    map[User]*member
	searches map[kubeconfig.Key]*search
	away     away
	start    func(run func(context.Context)) context.CancelFunc // set while Run runs
}

// New returns a fleet. Remote clusters are served while Run runs.
func New(o Options) *Fleet {
	return &Fleet{
		opts: o, now: time.Now, slots: share.New(max(o.AllBusy, 1), max(o.AllBusy-1, 1)), lookups: share.New(lookups, lookupsEach),
		members: map[kubeconfig.Key]*member{}, users: map[User]*member{}, searches: map[kubeconfig.Key]*search{},
		away: away{at: map[User]*list.Element{}},
	}
}

// sweepEvery is how often members are looked at that nobody uses.
const sweepEvery = time.Minute

// Run watches remote clusters until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	var running sync.WaitGroup
	f.mu.Lock()
	f.start = func(run func(context.Context)) context.CancelFunc {
		ctx, stop := context.WithCancel(ctx)
		running.Go(func() {
			defer stop()
			run(ctx)
		})
		return stop
	}
	f.mu.Unlock()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.sweep()
		case <-ctx.Done():
			f.mu.Lock()
			f.start = nil
			f.mu.Unlock()
			running.Wait()
			return nil
		}
	}
}

// For returns the cluster of a Kustomization, and what to call when the pass is over. The
// error is a *cluster.NoTargetError when the object has none for now, and cluster.ErrBusy
// when a check will tell that it may come back.
func (f *Fleet) For(ctx context.Context, ks *kustomizev1.Kustomization) (handle.Target, func(), error) {
	return f.target(ctx, ks)
}

func (f *Fleet) target(ctx context.Context, ks *kustomizev1.Kustomization) (Target, func(), error) {
	user := User{kustomizev1.KustomizationKind, cluster.Owner{Namespace: ks.Namespace, Name: ks.Name}}
	o, leave, err := f.find(ctx, user, ks.Spec.KubeConfig, ks.Spec.Interval.Duration)
	return o.Target, leave, err
}

func (f *Fleet) find(ctx context.Context, user User, ref *fluxmeta.KubeConfigReference, interval time.Duration) (Opened, func(), error) {
	if ref == nil {
		f.move(user, nil)
		return f.opts.Home, func() {}, nil
	}
	connection, err := f.opts.Connections.Connect(ctx, user.Namespace, ref)
	if err == nil && connection.Locate != nil {
		connection, err = f.locate(user, connection)
	}
	if refusal := (*kubeconfig.RefusedError)(nil); errors.As(err, &refusal) {
		return Opened{}, nil, &cluster.NoTargetError{Err: err, Disabled: refusal.Disabled}
	}
	if err != nil {
		return Opened{}, nil, err
	}
	m, wait, err := f.join(user, connection, 3*interval+idle)
	if err != nil {
		return Opened{}, nil, err
	}
	leave, err := m.enter(ctx, user.Namespace, wait)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			leave()
		}
		return Opened{}, nil, ctx.Err()
	case errors.Is(err, cluster.ErrUnknown):
		return Opened{}, nil, err
	case errors.Is(err, cluster.ErrBusy):
		f.turnAway(user, m)
		return Opened{}, nil, err
	case err != nil:
		return Opened{}, nil, &cluster.NoTargetError{Err: err}
	}
	f.letIn(user)
	return m.opened, leave, nil
}

// idle is how long a member stays that no object was seen to use, beside three of the
// object's intervals: meanwhile another replica may have looked at it.
const idle = 10 * time.Minute

// join makes an object use a connection's member, which is made when it is the first.
// wait is true when this pass is to wait for the cluster's first answer.
func (f *Fleet) join(user User, c kubeconfig.Connection, keep time.Duration) (m *member, wait bool, err error) {
	f.mu.Lock()
	m = f.members[c.Key]
	if m == nil {
		if m, err = f.open(c, user.Namespace); err != nil {
			f.mu.Unlock()
			return nil, false, err
		}
		f.members[c.Key] = m
	}
	m.users[user] = f.now().Add(keep)
	wait, m.met = !m.met, true
	f.mu.Unlock()
	f.move(user, m)
	return m, wait, nil
}

func (f *Fleet) open(c kubeconfig.Connection, namespace string) (*member, error) {
	if f.start == nil {
		return nil, fmt.Errorf("connect to cluster %s: the applier stops", c.Config.Host)
	}
	r := newReach(c.Config.Host)
	config := rest.CopyConfig(c.Config)
	config.Dial = r.dial
	config.Wrap(r.wrap)
	opened, err := f.opts.Open(config, namespace)
	if err != nil {
		return nil, &cluster.NoTargetError{Err: fmt.Errorf("connect to cluster %s: %w", c.Config.Host, err)}
	}
	m := &member{
		key: c.Key, opened: opened, reach: r,
		slots: make(chan struct{}, max(f.opts.Busy, 1)), shared: f.slots, left: f.comeBack, users: map[User]time.Time{},
	}
	r.ping = opened.Ping
	r.told = func() { f.tell(m) }
	m.stop = f.start(func(ctx context.Context) {
		var running sync.WaitGroup
		running.Go(func() { r.run(ctx) })
		running.Go(func() {
			<-ctx.Done()
			r.end()
		})
		running.Go(func() { _ = opened.Run(ctx) }) // it ends with ctx only
		running.Wait()
	})
	return m, nil
}

// tell asks for a pass over all objects of a member.
func (f *Fleet) tell(m *member) {
	f.mu.Lock()
	users := make([]User, 0, len(m.users))
	for user := range m.users {
		users = append(users, user)
	}
	f.mu.Unlock()
	for _, user := range users {
		f.opts.Check(user)
	}
}

// move records which member an object uses, nil for none, and makes the cluster that
// it used before forget it.
func (f *Fleet) move(user User, to *member) {
	f.mu.Lock()
	from := f.users[user]
	if from == to {
		f.mu.Unlock()
		return
	}
	f.away.remove(user)
	if to == nil {
		delete(f.users, user)
	} else {
		f.users[user] = to
	}
	if from != nil {
		delete(from.users, user)
		f.drop(from)
	}
	f.mu.Unlock()
	if from == nil {
		f.opts.Home.forget(user)
		return
	}
	from.opened.forget(user)
}

// drop ends a member that no object uses; the lock is held.
func (f *Fleet) drop(m *member) {
	if len(m.users) == 0 && f.members[m.key] == m {
		delete(f.members, m.key)
		m.stop()
	}
}

// sweep forgets objects that were not seen for long, members without any, and old answers of clouds.
func (f *Fleet) sweep() {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for user, m := range f.users {
		if now.After(m.users[user]) {
			delete(f.users, user)
			delete(m.users, user)
			m.opened.unload(user)
			f.drop(m)
		}
	}
	maps.DeleteFunc(f.searches, func(_ kubeconfig.Key, s *search) bool { return s.over(now) })
}

// Forget drops what is remembered of a Kustomization that is gone.
func (f *Fleet) Forget(owner cluster.Owner) {
	f.forget(User{kustomizev1.KustomizationKind, owner})
}

func (f *Fleet) forget(user User) {
	f.move(user, nil)
	f.opts.Home.forget(user)
}

// Reachable returns why an object's rights are gone: its service account, or the Secret
// or ConfigMap of its spec.kubeConfig, does not exist any more.
func (f *Fleet) Reachable(ctx context.Context, ks *kustomizev1.Kustomization) (string, error) {
	target, leave, err := f.target(ctx, ks)
	if refusal := (*kubeconfig.RefusedError)(nil); errors.As(err, &refusal) && refusal.Missing {
		return refusal.Error(), nil
	}
	if err != nil {
		return "", err
	}
	defer leave()
	return target.Reachable(ctx, ks)
}

// Prune deletes objects as far as they are the owner's.
func (f *Fleet) Prune(ctx context.Context, ks *kustomizev1.Kustomization, stale []inventory.Entry, guard func(context.Context) error) (engine.PruneResult, error) {
	target, leave, err := f.target(ctx, ks)
	if err != nil {
		return engine.PruneResult{Failed: stale}, err
	}
	defer leave()
	return target.Prune(ctx, ks, stale, guard)
}

// Terminating returns those of the owner's objects that are deleted and still there.
func (f *Fleet) Terminating(ctx context.Context, ks *kustomizev1.Kustomization, entries []inventory.Entry) ([]engine.Lingering, error) {
	target, leave, err := f.target(ctx, ks)
	if err != nil {
		return nil, err
	}
	defer leave()
	return target.Terminating(ctx, ks, entries)
}
