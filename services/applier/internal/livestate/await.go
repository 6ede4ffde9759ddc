package livestate

import "github.com/sluice-gitops/sluice/services/applier/internal/cluster"

// awaiting says who awaits which object. The table's lock guards it.
type awaiting struct {
	// owners have the version at which each looked at the object.
	owners map[object]map[cluster.Owner]string
	// objects are those of each owner.
	objects map[cluster.Owner][]object
}

func newAwaiting() awaiting {
	return awaiting{owners: map[object]map[cluster.Owner]string{}, objects: map[cluster.Owner][]object{}}
}

func (a *awaiting) add(owner cluster.Owner, o object, version string) {
	if a.owners[o] == nil {
		a.owners[o] = map[cluster.Owner]string{}
	}
	a.owners[o][owner] = version
	a.objects[owner] = append(a.objects[owner], o)
}

// drop forgets what an owner awaits.
func (a *awaiting) drop(owner cluster.Owner) {
	for _, o := range a.objects[owner] {
		if delete(a.owners[o], owner); len(a.owners[o]) == 0 {
			delete(a.owners, o)
		}
	}
	delete(a.objects, owner)
}

// Await asks for OnChange when one of these objects changes after the version it was looked at, in
// place of what the owner awaited before; no objects end it. It returns the objects whose changes cannot
// be seen, because they carry no owner label or their kind is not watched. stale is true when one was seen
// at a newer version already.
func (t *Table) Await(owner cluster.Owner, objects []cluster.Seen) (uncovered []cluster.Ref, stale bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.awaiting.drop(owner)
	for _, o := range objects {
		t.awaiting.add(owner, objectOf(o.Ref), o.At)
		k, rec := t.find(o.Ref)
		if rec == nil || !rec.present || rec.unfollowed() || !k.watched {
			uncovered = append(uncovered, o.Ref)
		}
		stale = stale || o.At != "" && rec != nil && rec.present && newer(rec.seen.ResourceVersion, o.At)
	}
	return uncovered, stale
}

// changed tells owners that await the object of a version that they have not looked at; of any
// when it is empty.
func (t *Table) changed(o object, version string) { t.tell(o, version, cluster.Owner{}) }

// tell is changed, but for the owner who changed the object.
func (t *Table) tell(o object, version string, by cluster.Owner) {
	for owner, known := range t.awaiting.owners[o] {
		if owner == by {
			continue
		}
		if known == "" || version == "" || newer(version, known) {
			t.outbox.touch(owner, t.now().Add(gather))
		}
	}
}
