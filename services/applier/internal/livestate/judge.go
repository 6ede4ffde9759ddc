package livestate

import (
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// closeWrite is how close to our own write an event must be for the entry's time,
// which has whole seconds, to tell nothing. It allows for clocks that differ a little.
const closeWrite = 2 * time.Second

// observe takes what the watch showed of an object.
func (t *Table) observe(r cluster.Ref, rec *record, live Slim) {
	if rec.present && rec.seen.UID == live.UID && !newer(live.ResourceVersion, rec.seen.ResourceVersion) {
		return
	}
	rec.seen, rec.present = live, true
	t.changed(objectOf(r), live.ResourceVersion)
	if rec.applied != nil && rec.busy == 0 {
		t.judge(r, rec)
	}
}

// setBack takes a listed object that is older than what was seen of it. The list is late,
// which the watch mends in a moment, or the API server came back from a backup: a dry run tells.
func (t *Table) setBack(r cluster.Ref, rec *record, live Slim) {
	rec.seen = live
	t.changed(objectOf(r), live.ResourceVersion)
	if rec.applied != nil && rec.busy == 0 {
		t.doubt(r, rec)
	}
}

// older says whether live is the object that was seen, as it was before.
func (r *record) older(live Slim) bool {
	return r.present && r.seen.UID == live.UID && r.seen.ResourceVersion != live.ResourceVersion &&
		!newer(live.ResourceVersion, r.seen.ResourceVersion)
}

// judge decides what a live object that differs from our last answer means. The
// order matters: opt-outs come first, because `kubectl annotate` leaves an entry
// of its own that would otherwise be taken over at once.
func (t *Table) judge(r cluster.Ref, rec *record) {
	a, live := rec.applied, rec.seen
	switch {
	case live.ResourceVersion == a.slim.ResourceVersion:
		rec.state = Clean
	case !a.adopted && live.UID == a.slim.UID && !newer(live.ResourceVersion, a.slim.ResourceVersion):
		// An event from before our write came late.
	case live.OptOut.Any(NoReconcile | Ignore):
		// Marked dirty, so that the end of the opt-out is acted on; reported to no one.
		rec.state, rec.reported = Dirty, mark{}
	case a.lostTo(live.Owner):
		t.lose(r, rec, live.Owner)
	case live.OptOut.Has(IfNotPresent), a.leave == WhilePresent:
		rec.state = Clean
	case live.Terminating:
		// A finalizer holds the deletion. What matters is the moment it is gone.
	case live.Absorb && !live.OptOut.Has(Merge) && !a.slim.Absorb:
		t.dirty(r, rec, Absorb)
	case live.UID != a.slim.UID, live.Own != a.slim.Own, live.OwnTime != a.slim.OwnTime:
		t.dirty(r, rec, Changed)
	case live.Rest != a.slim.Rest, live.Generation != a.slim.Generation:
		t.doubt(r, rec)
	case live.Sub == a.slim.Sub && (a.adopted || t.now().Sub(a.at) < closeWrite):
		// No status write explains the event, or the version that a kept record names.
		t.doubt(r, rec)
	case rec.state == Dirty:
		// It is as it was applied, but no longer opts out, or a write of ours has no known outcome: a newer
		// version may have been asked for meanwhile.
		t.dirty(r, rec, Changed)
	}
}

// lostTo says whether labels name an owner that is neither who applied nor who was named then.
func (a *applied) lostTo(owner cluster.Owner) bool {
	return owner != a.owner && owner != a.slim.Owner && owner.Name != "" && owner.Namespace != ""
}

// dirty marks an object and reports it, within what the object has earned. What was
// reported once is not reported again when only its status was written since.
func (t *Table) dirty(r cluster.Ref, rec *record, why Why) {
	mark := markOf(rec.seen, why)
	known := rec.state == Dirty && mark.covered(rec.reported)
	rec.state, rec.reported = Dirty, mark
	if known {
		return
	}
	now := t.now()
	wait, repeated := rec.bucket.take(now, t.opts.Corrections, t.opts.CorrectionInterval)
	t.outbox.add(rec.applied.owner, Notice{Object: r, Why: why, Repeated: repeated}, now.Add(max(wait, gather)))
}

// mark is what a report was about.
type mark struct {
	why       Why
	uid       types.UID
	own, rest uint64
	ownTime   int64
	sub       uint64
	version   string
}

func markOf(s Slim, why Why) mark {
	return mark{why: why, uid: s.UID, own: s.Own, rest: s.Rest, ownTime: s.OwnTime, sub: s.Sub, version: s.ResourceVersion}
}

// covered says whether an earlier report tells as much: it was about the same
// version, or a status write explains the newer one.
func (m mark) covered(reported mark) bool {
	explained := m.version == reported.version || m.sub != reported.sub
	m.sub, m.version = reported.sub, reported.version
	return m == reported && explained
}

// doubt asks for a dry run. Each one that found nothing doubles the wait for the next.
func (t *Table) doubt(r cluster.Ref, rec *record) {
	if rec.state != Dirty {
		rec.state = Doubtful
	}
	wait := t.opts.VerifyDelay << min(rec.futile, 9)
	t.outbox.add(rec.applied.owner, Notice{Object: r, Why: Verify}, t.now().Add(wait))
}

// gone takes the fact that an object does not exist, seen when it left the selection
// at a version. While a write of ours is under way its answer decides what came last.
func (t *Table) gone(r cluster.Ref, k *kind, rec *record, version string) {
	rec.present, rec.seen = false, Slim{}
	if rec.busy > 0 {
		rec.left = version
	}
	t.changed(objectOf(r), "")
	if rec.applied != nil && rec.busy == 0 {
		t.dirty(r, rec, Deleted)
	}
	t.inherit(r, rec)
	k.tidy(r.Key(), rec)
}

// unlabelled takes the fact that an object lives without owner labels.
func (t *Table) unlabelled(r cluster.Ref, rec *record, live Slim) {
	rec.seen, rec.present = live, true
	t.changed(objectOf(r), live.ResourceVersion)
	switch {
	case rec.applied == nil || rec.busy > 0 || live.OptOut.Any(NoReconcile|Ignore):
	case rec.applied.leave == WhilePresent:
		rec.state = Clean
	default:
		t.dirty(r, rec, Unlabelled)
	}
}

// newer reports whether resource version a comes after b. Versions of a server that
// does not number them count as newer whenever they differ.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	if err != nil {
		return a != b
	}
	return order > 0
}

// Calm forgets how often an object was reported lately, so that it is reported at once.
func (t *Table) Calm(r cluster.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, rec := t.find(r); rec != nil {
		rec.bucket = bucket{}
	}
}

// bucket lets a number of corrections pass and then one each interval.
type bucket struct {
	used int
	last time.Time
}

// take returns how long a correction has to wait, and whether the bucket is empty.
func (b *bucket) take(now time.Time, size int, every time.Duration) (time.Duration, bool) {
	if !b.last.IsZero() {
		earned := int(now.Sub(b.last) / every)
		b.used = max(b.used-earned, 0)
		b.last = b.last.Add(time.Duration(earned) * every)
	}
	if b.used == 0 {
		b.last = now
	}
	if b.used < size {
		b.used++
		return 0, false
	}
	return max(b.last.Add(every).Sub(now), 0), true
}
