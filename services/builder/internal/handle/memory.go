package handle

import (
	"hash/fnv"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/kustomize"
)

// memory knows what the newest build of each key looked at in its artifact. It
// is lost with the process, which costs one build a key.
type memory struct {
	mu    sync.Mutex
	byKey map[events.Key]remembered
}

type remembered struct {
	uid, spec, inputs, render string
	objects                   int
	reads                     []kustomize.Read
	// failed is what the build failed with at a revision, nil if it did not.
	failed   *build.InputError
	revision string
}

func newMemory() *memory { return &memory{byKey: map[events.Key]remembered{}} }

func (m *memory) remember(j *job, id string, out build.Output) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byKey[j.key] = remembered{
		uid: j.input.UID, spec: j.input.SpecDigest, inputs: j.details[detailInputs],
		render: id, objects: out.Objects, reads: out.Reads,
	}
}

// rememberFailure keeps why a build failed: it does so again as long as nothing that it
// looked at changes. One that says nothing of what it looked at is forgotten.
func (m *memory) rememberFailure(j *job, failed *build.InputError, reads []kustomize.Read) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byKey[j.key] = remembered{
		uid: j.input.UID, spec: j.input.SpecDigest, inputs: j.details[detailInputs],
		failed: failed, revision: j.input.Revision, reads: reads,
	}
}

func (m *memory) drop(key events.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byKey, key)
}

// unchanged returns the render that a build of the job would give, if all that
// the newest build looked at is the same in tree.
func (m *memory) unchanged(j *job, tree *artifact.Tree) (id string, objects int, ok bool) {
	m.mu.Lock()
	r, ok := m.byKey[j.key]
	m.mu.Unlock()
	if !ok || r.failed != nil || !r.of(j) {
		return "", 0, false
	}
	return r.render, r.objects, build.Unchanged(r.reads, tree)
}

func (r remembered) of(j *job) bool {
	return r.uid == j.input.UID && r.spec == j.input.SpecDigest && r.inputs == j.details[detailInputs]
}

// failsAgain returns what a build of the job would fail with, if the newest build failed at
// another revision and all that it looked at is the same in tree. At the same revision somebody
// wants another try.
func (m *memory) failsAgain(j *job, tree *artifact.Tree) *build.InputError {
	m.mu.Lock()
	r, ok := m.byKey[j.key]
	m.mu.Unlock()
	if !ok || r.failed == nil || !r.of(j) || r.revision == j.input.Revision || !build.Unchanged(r.reads, tree) {
		return nil
	}
	m.rememberFailure(j, r.failed, r.reads)
	return r.failed
}

// jitter moves an interval by up to percent either way, always alike for one object.
func jitter(interval time.Duration, percent int, uid string) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid)) // a hash never fails to write
	share := (2*float64(h.Sum32())/float64(1<<32) - 1) * float64(percent) / 100
	return interval + time.Duration(share*float64(interval))
}
