package shelf

import (
	"fmt"
	"strings"

	"github.com/sluice-gitops/sluice/events"
)

// Prefix is the folder of a source's artifacts in object storage.
func Prefix(key events.Key) string {
	return events.ArtifactFolder + key.String() + "/"
}

// BlobName is the name in object storage of an artifact with a digest of the
// form sha256:<hex>, whatever it holds.
func BlobName(key events.Key, digest string) string { return events.ArtifactName(key, digest) }

// KeyOf returns the source that an object in storage belongs to.
func KeyOf(blobName string) (events.Key, bool) {
	path, found := strings.CutPrefix(blobName, events.ArtifactFolder)
	parts := strings.Split(path, "/")
	if !found || len(parts) != 4 {
		return events.Key{}, false
	}
	return events.NewKey(parts[0], parts[1], parts[2]), true
}

// mark is how many hexadecimal digits of a digest tell the artifacts of a source apart.
const mark = 12

// Marked is a file name with the beginning of a digest in it, for an artifact that must not
// be taken for another one of the same revision.
func Marked(name, digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	for _, ending := range []string{".tar.gz", ".tgz"} {
		if stem, ok := strings.CutSuffix(name, ending); ok {
			return stem + "-" + hex[:min(mark, len(hex))] + ending
		}
	}
	return name
}

// Path is where a file of a source is served.
func Path(key events.Key, file string) string {
	return fmt.Sprintf("%s/%s/%s/%s", key.Kind, key.Namespace, key.Name, file)
}
