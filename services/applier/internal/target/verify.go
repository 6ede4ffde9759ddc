package target

import (
	"math/rand/v2"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/services/applier/internal/cluster"
)

// verifyRate is how many objects a second are compared with the API server, one dry
// run each, because nothing was kept about them: little enough to go unnoticed.
const verifyRate = 10

// verification is when all objects of an owner are compared with the API server.
type verification struct {
	at time.Time
	// owed is true until it was done once, because nothing was kept about the objects.
	owed bool
}

// VerifyDue says whether it is time to compare all objects with the API server: once
// when nothing was kept about them, and now and then for a change that left no trace
// in their metadata.
func (t *Target) VerifyDue(ks *kustomizev1.Kustomization) bool {
	if t.strange(ks) {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v, known := t.verify[ownerOf(ks)]
	return known && (v.owed || t.opts.VerifyInterval > 0) && !time.Now().Before(v.at)
}

// VerifyIn returns in how long objects are to be compared about which nothing was
// kept; zero when that is not so. Other verifications come with the interval.
func (t *Target) VerifyIn(ks *kustomizev1.Kustomization) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.verify[ownerOf(ks)]; v.owed {
		return max(time.Until(v.at), time.Second)
	}
	return 0
}

// learn records that an owner's objects are known: applied by this process, which
// compares those with the API server that it did not know, or compared with what was
// kept. The first time of a verification is spread, so that those of a start do not
// come together ever after.
func (t *Target) learn(owner cluster.Owner, verified bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, known := t.verify[owner]
	switch every := t.opts.VerifyInterval; {
	case !known, v.owed:
		t.verify[owner] = verification{at: time.Now().Add(every/2 + rand.N(every+1))} //nolint:gosec // spreads load, guards nothing
	case verified:
		t.verify[owner] = verification{at: time.Now().Add(every)}
	}
}

// owe puts an owner of so many objects at the end of the queue of those that are to
// be verified in the background.
func (t *Target) owe(owner cluster.Owner, objects int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.verify[owner]; known {
		return
	}
	if now := time.Now(); t.paced.Before(now) {
		t.paced = now
	}
	t.paced = t.paced.Add(time.Duration(objects) * time.Second / verifyRate)
	t.verify[owner] = verification{at: t.paced, owed: true}
}
