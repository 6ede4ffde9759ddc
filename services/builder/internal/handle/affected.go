package handle

import (
	"context"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
)

// quickArtifact is the size in bytes up to which an artifact is unpacked to find
// out whom it affects; a larger one would hold up other sources' events meanwhile.
const quickArtifact = 32 << 20

// Affected says which of the keys' builds read something that is different in a
// new artifact, as far as this replica remembers; a build it does not remember
// counts. The answer decides what is looked at first, nothing else.
func (h *Handler) Affected(ctx context.Context, changed events.SourceChanged, keys []events.Key) map[events.Key]bool {
	all := make(map[events.Key]bool, len(keys))
	for _, key := range keys {
		all[key] = true
	}
	if changed.Size > quickArtifact {
		return all
	}
	tree, err := h.Trees.Open(ctx, changed.Artifact, changed.Digest)
	if err != nil {
		return all // the checks will meet the same error and report it
	}
	defer tree.Release()
	for _, key := range keys {
		if h.memory.reads(key, tree.Tree) {
			delete(all, key)
		}
	}
	return all
}

// reads says whether all that the newest build of a key looked at is the same in tree.
func (m *memory) reads(key events.Key, tree *artifact.Tree) bool {
	m.mu.Lock()
	r, ok := m.byKey[key]
	m.mu.Unlock()
	return ok && build.Unchanged(r.reads, tree)
}
