package handle

import (
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/events"
)

// Root is the folder of all artifacts of the kind in object storage.
const Root = "artifacts/" + Kind + "/"

const suffix = ".tar.gz"

// Prefix is the folder of a source's artifacts in object storage.
func Prefix(key events.Key) string {
	return Root + key.Namespace + "/" + key.Name + "/"
}

// BlobName is the name in object storage of an artifact with a digest of the
// form sha256:<hex>.
func BlobName(key events.Key, digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return Prefix(key) + hex + suffix
}

// KeyOf returns the source that an object in storage belongs to.
func KeyOf(blobName string) (events.Key, bool) {
	parts := strings.Split(strings.TrimPrefix(blobName, Root), "/")
	if !strings.HasPrefix(blobName, Root) || len(parts) != 3 {
		return events.Key{}, false
	}
	return events.NewKey(Kind, parts[0], parts[1]), true
}

// Path is where an artifact of a commit is served.
func Path(key events.Key, commit string) string {
	return fmt.Sprintf("%s/%s/%s/%s%s", key.Kind, key.Namespace, key.Name, commit, suffix)
}

// PathOf is the path of a revision such as main@sha1:<commit>.
func PathOf(key events.Key, revision string) string {
	return Path(key, revision[strings.LastIndex(revision, ":")+1:])
}

// current says that an artifact of the status can be looked up in storage.
func current(a *meta.Artifact) bool {
	return a != nil && strings.HasPrefix(a.Digest, "sha256:")
}
