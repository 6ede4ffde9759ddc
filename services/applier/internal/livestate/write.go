package livestate

import (
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Begin announces a write of ours. Events about the object are kept but not judged
// until Applied or Abort follows.
func (t *Table) Begin(r cluster.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rec := t.ensure(r); rec != nil {
		rec.busy++
	}
}

// Applied records what the API server answered to an apply for owner, or to a dry
// run that would change nothing.
func (t *Table) Applied(r cluster.Ref, owner cluster.Owner, digest string, answer *metav1.PartialObjectMetadata) {
	slim := t.hash.reduce(answer)
	t.mu.Lock()
	defer t.mu.Unlock()
	rec := t.ensure(r)
	if rec == nil {
		return
	}
	rec.busy = max(rec.busy-1, 0)
	if a := rec.applied; a != nil && a.owner != owner {
		t.lose(r, rec, owner)
	}
	rec.lost = without(rec.lost, owner)
	rec.futile = futile(rec, slim)
	rec.applied = &applied{claim: claim{owner: owner, digest: digest}, slim: slim, at: t.now()}
	t.link(owner, rec)
	rec.state, rec.reported = Clean, mark{}
	left := rec.left
	rec.left = ""
	if left != "" && !rec.present && newer(left, slim.ResourceVersion) {
		t.dirty(r, rec, Deleted)
		return
	}
	if !rec.present || !newer(rec.seen.ResourceVersion, slim.ResourceVersion) {
		if !rec.present || rec.seen.ResourceVersion != slim.ResourceVersion {
			t.tell(objectOf(r), slim.ResourceVersion, owner) // the event will be no news
		}
		rec.seen, rec.present = slim, true
		return
	}
	t.judge(r, rec)
}

// Left records an owner's wish for an object that exists and is left alone, as live
// shows it, so that the end of that is noticed. What others own, by its labels or by
// what they applied, is theirs.
func (t *Table) Left(r cluster.Ref, owner cluster.Owner, digest string, live Slim, why Leave) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if live.Owner.Name != "" && live.Owner != owner {
		return
	}
	rec := t.ensure(r)
	if rec == nil {
		return
	}
	if a := rec.applied; a != nil && (a.owner != owner || a.leave == 0 && why == WhileOptedOut) {
		return // what was applied tells more about an opt-out that ends
	}
	if !rec.present || newer(live.ResourceVersion, rec.seen.ResourceVersion) {
		rec.seen, rec.present = live, true
	}
	rec.lost = without(rec.lost, owner)
	rec.applied = &applied{claim: claim{owner: owner, digest: digest}, at: t.now(), leave: why}
	rec.state, rec.reported = Clean, mark{}
	if rec.seen.OptOut.Any(NoReconcile | Ignore) {
		rec.state = Dirty // hidden for as long as it opts out
	}
	t.link(owner, rec)
}

// futile counts verifications in a row that changed nothing.
func futile(rec *record, answer Slim) int {
	if rec.applied == nil || rec.state != Doubtful || rec.seen.ResourceVersion != answer.ResourceVersion {
		return 0
	}
	return rec.futile + 1
}

// lose moves a claim aside that another owner took over, and reports it. What its owner's newest
// render does not ask for is the other's without a word.
func (t *Table) lose(r cluster.Ref, rec *record, rival cluster.Owner) {
	loser := rec.applied.claim
	if rec.applied.unwanted {
		t.disclaim(rec, loser.owner)
		return
	}
	rec.lost = append(without(rec.lost, loser.owner), loser)
	rec.applied = nil
	t.outbox.add(loser.owner, Notice{Object: r, Why: Conflict, Rival: rival}, t.now().Add(gather))
}

// Abort says that the outcome of a write is not known; the object counts as dirty
// until it is applied.
func (t *Table) Abort(r cluster.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, rec := t.find(r)
	if rec == nil {
		return
	}
	rec.busy = max(rec.busy-1, 0)
	rec.state = Dirty
	k.tidy(r.Key(), rec)
}

// Withdraw drops an owner's wish for an object that left its render, or that is being
// deleted. Others' stay.
func (t *Table) Withdraw(r cluster.Ref, owner cluster.Owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, rec := t.find(r); rec != nil {
		t.withdraw(rec, owner)
	}
}

func (t *Table) withdraw(rec *record, owner cluster.Owner) {
	t.disclaim(rec, owner)
	t.inherit(rec.ref(), rec)
	rec.kind.tidy(rec.key, rec)
}

// disclaim drops an owner's claim and gives the object to nobody.
func (t *Table) disclaim(rec *record, owner cluster.Owner) {
	rec.lost = without(rec.lost, owner)
	if rec.applied != nil && rec.applied.owner == owner {
		rec.applied = nil
	}
	t.link(owner, rec)
}

// Retain drops the claims of an owner on all other objects than those it may have, as its inventory
// says: another process pruned them, or left them to somebody.
func (t *Table) Retain(owner cluster.Owner, inventory []cluster.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.owned[owner]) == 0 {
		return
	}
	has := setOf(inventory)
	for rec := range t.owned[owner] {
		if !has[objectOf(rec.ref())] {
			t.withdraw(rec, owner)
		}
	}
}

// Intend says what all objects are that an owner's newest render asks for. What it had lost
// of others it does not want back, and others may take what it has of them.
func (t *Table) Intend(owner cluster.Owner, wanted []cluster.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.owned[owner]) == 0 {
		return
	}
	wants := setOf(wanted)
	for rec := range t.owned[owner] {
		unwanted := !wants[objectOf(rec.ref())]
		switch {
		case rec.applied != nil && rec.applied.owner == owner:
			rec.applied.unwanted = unwanted
		case unwanted:
			t.withdraw(rec, owner)
		}
	}
}

func setOf(refs []cluster.Ref) map[object]bool {
	set := make(map[object]bool, len(refs))
	for _, r := range refs {
		set[objectOf(r)] = true
	}
	return set
}

// inherit gives an object that nobody holds any more back to the owner it was last taken
// from, whose render still asks for it. Labels that it has of somebody take it from the heir
// only when they change.
func (t *Table) inherit(r cluster.Ref, rec *record) {
	if rec.applied != nil || len(rec.lost) == 0 {
		return
	}
	heir := rec.lost[len(rec.lost)-1]
	rec.lost = without(rec.lost, heir.owner)
	rec.applied = &applied{claim: heir, slim: Slim{Owner: rec.seen.Owner}, at: t.now()}
	rec.state, rec.reported = Clean, mark{}
	why := Deleted
	if rec.present {
		why = Changed
	}
	t.dirty(r, rec, why)
}

// ensure returns the record of an object of a managed kind.
func (t *Table) ensure(r cluster.Ref) *record {
	k := t.kinds[r.GroupKind()]
	if k == nil {
		return nil
	}
	return k.record(r.Key())
}

func (k *kind) record(key types.NamespacedName) *record {
	rec := k.records[key]
	if rec == nil {
		rec = &record{kind: k, key: key}
		k.records[key] = rec
	}
	return rec
}
