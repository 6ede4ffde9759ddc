package livestate

import (
	"context"
	"slices"
	"time"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// Kept is what is kept durably about one object of an owner, so that a later process
// need not ask about it. It proves nothing by itself: it is compared with the live
// object by the same rule as a record of this process.
type Kept struct {
	Object cluster.Ref
	// Digest is of the object that was applied.
	Digest string
	// Lost says that another owner took the object after it was applied in this form;
	// then Live and At are zero.
	Lost bool `json:",omitempty"`
	// Leave says for how long the object is left alone; then Live is zero.
	Leave Leave `json:",omitempty"`
	// Live is what the API server answered.
	Live Slim `json:",omitzero"`
	// At is when it was applied.
	At time.Time `json:",omitzero"`
}

// Keep returns what is to be kept of an owner's objects, in order of their names.
// Objects about which nothing certain is known are left out.
func (t *Table) Keep(owner cluster.Owner) []Kept {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := make([]Kept, 0, len(t.owned[owner]))
	for rec := range t.owned[owner] {
		k := Kept{Object: rec.ref()}
		switch {
		case rec.applied == nil || rec.applied.owner != owner:
			k.Lost = true
			for _, c := range rec.lost {
				if c.owner == owner {
					k.Digest = c.digest
				}
			}
		case rec.applied.leave != 0:
			k.Digest, k.Leave, k.At = rec.applied.digest, rec.applied.leave, rec.applied.at
		case rec.applied.slim.UID == "": // given back by a rival that deleted it: not applied since
			continue
		default:
			k.Digest, k.Live, k.At = rec.applied.digest, rec.applied.slim, rec.applied.at
		}
		kept = append(kept, k)
	}
	slices.SortFunc(kept, func(a, b Kept) int { return cluster.Compare(a.Object, b.Object) })
	return kept
}

// Adopt takes what was kept about an owner's objects and compares it with what is
// live, so their kinds must be managed and listed. What differs is dirty and
// reported. What this process knows itself is better, and stays. An object that was
// not listed is asked for.
func (t *Table) Adopt(ctx context.Context, owner cluster.Owner, kept []Kept) {
	for _, rec := range t.adopt(owner, kept) {
		t.seek(ctx, rec.ref(), rec.kind, "")
	}
}

// adopt returns the objects that were not listed.
func (t *Table) adopt(owner cluster.Owner, kept []Kept) (unlisted []*record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range kept {
		rec := t.ensure(k.Object)
		if rec == nil || rec.claimed(owner) {
			continue
		}
		c := claim{owner: owner, digest: k.Digest}
		if k.Lost || rec.applied != nil {
			rec.lost = append(rec.lost, c)
			t.link(owner, rec)
			if rec.kind.watched && !rec.present {
				t.inherit(k.Object, rec)
			}
			continue
		}
		rec.applied = &applied{claim: c, slim: k.Live, at: k.At, leave: k.Leave, adopted: true}
		rec.state = Clean
		t.link(owner, rec)
		switch {
		case !rec.kind.watched || rec.busy > 0:
		case rec.present:
			t.judge(k.Object, rec)
		default:
			rec.state = Doubtful
			unlisted = append(unlisted, rec)
		}
	}
	return unlisted
}
