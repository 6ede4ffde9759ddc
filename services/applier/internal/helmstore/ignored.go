package helmstore

import (
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxIgnored bounds what an Ignored remembers; beyond that it begins anew.
const maxIgnored = 1000

// Ignored remembers which Secrets were told of that are no revisions, each as it was, so that they are told of once and
// not in every pass. The zero value remembers none; nil tells of all each time. It may be used concurrently.
type Ignored struct {
	mu   sync.Mutex
	told map[types.UID]string
}

// news says whether a Secret was not told of as it is, and takes it for told.
func (i *Ignored) news(secret *corev1.Secret) bool {
	if i == nil {
		return true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.told[secret.UID] == secret.ResourceVersion {
		return false
	}
	if i.told == nil || len(i.told) >= maxIgnored {
		i.told = map[types.UID]string{}
	}
	i.told[secret.UID] = secret.ResourceVersion
	return true
}

// junk are the Secrets of a listing that are told of, by the name of the first.
type junk struct {
	first string
	why   error
	count int
}

func (j *junk) add(name string, why error) {
	if j.count++; j.count == 1 {
		j.first, j.why = name, why
	}
}

func (j *junk) tell(log *slog.Logger) {
	if j.count > 0 {
		log.Warn("ignoring Secrets with the labels of a release", "secret", j.first, "count", j.count, "error", j.why.Error())
	}
}
