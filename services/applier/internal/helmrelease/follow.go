package helmrelease

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/internal/seal"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
	"github.com/sluice-gitops/sluice/services/applier/internal/release"
	"github.com/sluice-gitops/sluice/services/applier/internal/verdict"
)

// Place is a cluster that releases are made in, and what is known of their objects there.
type Place struct {
	Cluster *cluster.Cluster
	// Table follows the objects of releases that are watched for drift.
	Table *livestate.Table
	// Name tells remote clusters apart in snapshots; it is empty for the applier's own.
	Name string
	// Snapshots keep what the table knows over restarts.
	Snapshots Snapshots
	// VerifyInterval is how often all objects are compared although no watch saw a change; zero never does.
	VerifyInterval time.Duration

	mu        sync.Mutex
	following map[cluster.Owner]following
}

// Snapshots keep what the live table knows about the objects of an owner.
type Snapshots interface {
	Save(id seal.Identity, place, render string, keep func() []livestate.Kept)
	Load(ctx context.Context, id seal.Identity, place, render string) ([]livestate.Kept, error)
}

// following is what a place knows of a release that it watches for drift.
type following struct {
	// kept identifies the revision whose objects were kept last.
	kept string
	// verify is when all objects are compared again.
	verify time.Time
}

// listPatience is how long passes wait for the first list of a kind, all that come together, and each for what was kept.
const listPatience = 10 * time.Second

// Forget drops what this process remembers of a HelmRelease that is gone, or is elsewhere now.
func (p *Place) Forget(owner cluster.Owner) {
	p.unfollow(owner)
	p.Table.Release(owner)
}

// Unload drops what this process remembers of an owner that another one looks after by now.
func (p *Place) Unload(owner cluster.Owner) {
	p.unfollow(owner)
	p.Table.Unload(owner)
}

func (p *Place) unfollow(owner cluster.Owner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.following, owner)
}

// follows says whether this process watches a release for drift already.
func (p *Place) follows(owner cluster.Owner) (following, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.following[owner]
	return f, ok
}

func (p *Place) follow(owner cluster.Owner, f following) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.following == nil {
		p.following = map[cluster.Owner]following{}
	}
	p.following[owner] = f
}

// verifyAt is when a release is compared as a whole again. The first time is spread, so that those of a
// start do not come together ever after.
func (p *Place) verifyAt(first bool) time.Time {
	every := p.VerifyInterval
	if first {
		every = every/2 + rand.N(every+1) //nolint:gosec // spreads load, guards nothing
	}
	return time.Now().Add(every)
}

func (p *pass) owner() cluster.Owner {
	return cluster.Owner{Namespace: p.hr.Namespace, Name: p.hr.Name}
}

// live is what notes what the objects are like; nil when nobody asks whether they drift.
func (p *pass) live() (*release.Live, error) {
	if !p.hr.GetDriftDetection().MustDetectChanges() {
		return nil, nil
	}
	rules, err := ignored(p.hr)
	return &release.Live{Table: p.place.Table, Owner: p.owner(), Rules: rules}, err
}

// began notes that this process applies all objects of the release: what was kept of them is of no use.
func (p *pass) began() {
	if _, known := p.place.follows(p.owner()); !known && p.hr.GetDriftDetection().MustDetectChanges() {
		p.place.follow(p.owner(), following{verify: p.place.verifyAt(true)})
	}
}

// recall prepares for a comparison: the kinds of the objects are watched and listed, and what was kept of
// the revision is compared with them when this process has not met the release. all is true when it is time to
// compare every object.
func (p *pass) recall(ctx context.Context, objects []*unstructured.Unstructured, revision string) (all bool, err error) {
	kinds := kindsOf(objects)
	p.place.Table.Manage(kinds...)
	listed := p.place.Table.Listed(ctx, listPatience, kinds...)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	f, known := p.place.follows(p.owner())
	if known {
		return p.place.VerifyInterval > 0 && time.Now().After(f.verify), nil
	}
	f.verify = p.place.verifyAt(true)
	if listed {
		bounded, cancel := context.WithTimeout(ctx, listPatience)
		defer cancel()
		if kept, err := p.place.Snapshots.Load(bounded, p.identity(), p.place.Name, revision); err == nil { // whatever is wrong, looking at the objects mends it
			p.place.Table.Adopt(ctx, p.owner(), kept)
			f.kept = revision
		}
	}
	p.place.follow(p.owner(), f)
	return false, nil
}

// keep has the table's knowledge kept, when it is news. asked is how many objects were compared.
func (p *pass) keep(objects []*unstructured.Unstructured, revision string, asked int, all bool) {
	f, _ := p.place.follows(p.owner())
	if all {
		f.verify = p.place.verifyAt(false)
	}
	refs := make([]cluster.Ref, len(objects))
	for i, o := range objects {
		refs[i] = cluster.RefOf(o)
	}
	news := f.kept != revision || asked > len(p.place.Table.Unwatched(refs))
	f.kept = revision
	p.place.follow(p.owner(), f)
	if owner, place := p.owner(), p.place; news {
		place.Snapshots.Save(p.identity(), place.Name, revision, func() []livestate.Kept {
			kept := place.Table.Keep(owner)
			if _, known := place.follows(owner); !known { // it was forgotten by now, and the table may have nothing of it
				return nil
			}
			return kept
		})
	}
}

func kindsOf(objects []*unstructured.Unstructured) []schema.GroupVersionKind {
	seen := map[schema.GroupKind]bool{}
	var kinds []schema.GroupVersionKind
	for _, o := range objects {
		if gvk := o.GroupVersionKind(); !seen[gvk.GroupKind()] {
			seen[gvk.GroupKind()] = true
			kinds = append(kinds, gvk)
		}
	}
	return kinds
}

// compare finds the objects of a revision that are not as it has them.
func (p *pass) compare(ctx context.Context, runner *release.Runner, made *record) ([]release.Difference, error) {
	revision, err := verdict.Digest(made)
	if err != nil {
		return nil, err
	}
	objects, err := runner.Objects(made)
	if err != nil {
		return nil, err
	}
	all, err := p.recall(ctx, objects, revision)
	if err != nil {
		return nil, err
	}
	found, asked, err := runner.Drift(ctx, made, all)
	if err == nil {
		p.keep(objects, revision, asked, all)
	}
	return found, err
}
