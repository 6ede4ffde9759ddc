package fleet

import "container/list"

// away are the objects that were turned away because enough was under way, in the order of
// their coming. The fleet's lock guards it.
type away struct {
	order list.List // of turned
	at    map[User]*list.Element
}

type turned struct {
	user User
	from *member
}

// add puts an object at the end, unless it waits already.
func (a *away) add(user User, from *member) {
	if e, ok := a.at[user]; ok {
		e.Value = turned{user, from}
		return
	}
	a.at[user] = a.order.PushBack(turned{user, from})
}

func (a *away) remove(user User) {
	if e, ok := a.at[user]; ok {
		a.order.Remove(e)
		delete(a.at, user)
	}
}

// next takes out the first object whose cluster has room.
func (a *away) next() (user User, ok bool) {
	for e := a.order.Front(); e != nil; e = e.Next() {
		if t := e.Value.(turned); t.from.room(t.user.Namespace) {
			a.remove(t.user)
			return t.user, true
		}
	}
	return User{}, false
}

// turnAway notes that an object is to be told when its cluster has room, which it may have
// by now.
func (f *Fleet) turnAway(user User, from *member) {
	f.mu.Lock()
	f.away.add(user, from)
	f.mu.Unlock()
	f.comeBack()
}

// letIn notes that an object waits no more.
func (f *Fleet) letIn(user User) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away.remove(user)
}

// comeBack tells the first of those who were turned away and can be let in.
func (f *Fleet) comeBack() {
	f.mu.Lock()
	user, ok := f.away.next()
	f.mu.Unlock()
	if ok {
		f.opts.Check(user)
	}
}
