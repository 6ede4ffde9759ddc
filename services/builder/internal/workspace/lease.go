package workspace

import (
	"sync"

	"github.com/sluice-gitops/sluice/services/builder/internal/artifact"
)

// Lease holds an artifact in place until it is released.
type Lease struct {
	*artifact.Tree
	release func()
}

// Release gives the artifact back; further calls do nothing.
func (l *Lease) Release() { l.release() }

func newLease(t *artifact.Tree, release func()) *Lease {
	return &Lease{Tree: t, release: sync.OnceFunc(release)}
}
