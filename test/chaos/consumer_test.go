package chaos

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/test/harness"
)

// consumer downloads the artifact that the status of a source names, over and over, as
// other tools of the ecosystem do. A fetcher that is dead does not answer; one that
// answers must have the artifact, whole.
type consumer struct {
	// downloads were whole; unanswered are those to which nobody, or nobody who knew, answered.
	downloads, artifacts, unanswered int
	last                             string
}

// breath is how long the consumer rests between two looks.
const breath = 20 * time.Millisecond

func (c *consumer) read(ctx context.Context, k *harness.Cluster, kind schema.GroupVersionKind, namespace, source string) error {
	for pause(ctx, breath) {
		u, err := k.Get(ctx, kind, namespace, source)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		url, digest := artifactOf(u)
		if url == "" {
			continue
		}
		status, got, err := download(ctx, url)
		if err != nil || status == http.StatusServiceUnavailable {
			c.unanswered++ // the fetcher is dead, or died while it answered, or says itself that it does not know yet
			continue
		}
		if status == http.StatusOK && got == digest {
			c.downloads++
			if digest != c.last {
				c.last = digest
				c.artifacts++
			}
			continue
		}
		// The status may have moved on since it was read, and far.
		now, err := k.Get(ctx, kind, namespace, source)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		if _, still := artifactOf(now); still == digest {
			return fmt.Errorf("the status names %s with digest %s: HTTP %d, digest %s", url, digest, status, got)
		}
	}
	return nil
}

func artifactOf(u *unstructured.Unstructured) (url, digest string) {
	whole, _, err := unstructured.NestedMap(u.Object, "status", "artifact")
	if err != nil {
		return "", ""
	}
	url, _ = whole["url"].(string)
	digest, _ = whole["digest"].(string)
	return url, digest
}

func download(ctx context.Context, url string) (status int, digest string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	hash := sha256.New()
	_, err = io.Copy(hash, res.Body)
	return res.StatusCode, "sha256:" + hex.EncodeToString(hash.Sum(nil)), errors.Join(err, res.Body.Close())
}
