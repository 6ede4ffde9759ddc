package handle

import (
	"slices"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
	"github.com/sluice-gitops/sluice/services/applier/internal/livestate"
)

const (
	// fightReverts is how often in a row an object is put back before that is a fight.
	fightReverts = 5
	// fightQuiet is how long an object must stay as it was put back to end the row.
	// An object that is held back is put back more often.
	fightQuiet = 2 * livestate.CorrectionInterval
)

// fights counts how often objects are put back in a row. It is about what to tell
// alone: a restart forgets it, and begins to count anew.
type fights struct {
	mu  sync.Mutex
	all map[events.Key]map[cluster.Ref]fight
}

type fight struct {
	reverts int
	last    time.Time
	told    bool
}

// reverted counts objects that were put back.
func (f *fights) reverted(key events.Key, refs []cluster.Ref, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[events.Key]map[cluster.Ref]fight{}
	}
	if f.all[key] == nil {
		f.all[key] = map[cluster.Ref]fight{}
	}
	for _, r := range refs {
		one := f.all[key][r]
		if !one.told && now.Sub(one.last) > fightQuiet {
			one = fight{}
		}
		one.reverts++
		one.last = now
		f.all[key][r] = one
	}
}

// brewing returns the objects whose next revert makes a fight that nobody was told of.
func (f *fights) brewing(key events.Key) []cluster.Ref {
	f.mu.Lock()
	defer f.mu.Unlock()
	var refs []cluster.Ref
	for r, one := range f.all[key] {
		if !one.told && one.reverts >= fightReverts-1 {
			refs = append(refs, r)
		}
	}
	slices.SortFunc(refs, cluster.Compare)
	return refs
}

// tell marks a fight as told and returns how many reverts it has seen; zero when it
// is none, or was told before.
func (f *fights) tell(key events.Key, r cluster.Ref) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.all[key][r]
	if one.told || one.reverts < fightReverts {
		return 0
	}
	one.told = true
	f.all[key][r] = one
	return one.reverts
}

// ended forgets what is quiet and returns the fights among it that were told, with
// their reverts.
func (f *fights) ended(key events.Key, now time.Time) map[cluster.Ref]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	over := map[cluster.Ref]int{}
	for r, one := range f.all[key] {
		if now.Sub(one.last) < fightQuiet {
			continue
		}
		if one.told {
			over[r] = one.reverts
		}
		delete(f.all[key], r)
	}
	if len(f.all[key]) == 0 {
		delete(f.all, key)
	}
	return over
}

// due returns in how long the first told fight may have ended; zero when there is none.
func (f *fights) due(key events.Key, now time.Time) (wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.all[key] {
		if left := max(one.last.Add(fightQuiet).Sub(now), time.Second); one.told && (wait == 0 || left < wait) {
			wait = left
		}
	}
	return wait
}

func (f *fights) forget(key events.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, key)
}
