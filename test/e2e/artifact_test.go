package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/test/harness"
)

// Other tools of the ecosystem download a source's artifact at status.artifact.url.
func TestArtifact(t *testing.T) {
	n := newTenant(t, "artifact", map[string]string{"app/settings.yaml": configMap("settings", "first"), "photo.png": "ignored by default"})
	n.await(harness.GitRepositoryKind, harness.SourceName, atRevision(n.Revision()))
	first := n.artifact()
	if _, found := first["app/settings.yaml"]; !found {
		t.Errorf("the artifact lacks app/settings.yaml: it has %d files", len(first))
	}
	if _, found := first["photo.png"]; found {
		t.Error("the artifact holds photo.png, which the default rules ignore")
	}
	n.push(map[string]string{"app/settings.yaml": configMap("settings", "second")})
	n.await(harness.GitRepositoryKind, harness.SourceName, atRevision(n.Revision()))
	second := n.artifact()
	if diff := cmp.Diff(configMap("settings", "second"), second["app/settings.yaml"]); diff != "" {
		t.Errorf("app/settings.yaml of the new artifact (-want +got):\n%s", diff)
	}
}

// artifact downloads the artifact of the source, checks it against the status
// and returns its files.
func (n tenant) artifact() map[string]string {
	n.t.Helper()
	source := n.get(harness.GitRepositoryKind, harness.SourceName)
	body, err := download(within(n.t, limit), text(source, "status", "artifact", "url"))
	if err != nil {
		n.t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	if got, want := "sha256:"+hex.EncodeToString(sum[:]), text(source, "status", "artifact", "digest"); got != want {
		n.t.Fatalf("digest of the artifact is %s, the status says %s", got, want)
	}
	files, err := unpack(body)
	if err != nil {
		n.t.Fatalf("unpack artifact: %v", err)
	}
	return files
}

func download(ctx context.Context, url string) (_ []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("download %q: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("download %q: %w", url, err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("download %q: %s", url, response.Status)
	}
	return io.ReadAll(response.Body)
}

func unpack(body []byte) (map[string]string, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	archive := tar.NewReader(zipped)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		files[header.Name] = string(content)
	}
}

func atRevision(revision string) func(*unstructured.Unstructured) bool {
	return func(u *unstructured.Unstructured) bool { return u != nil && harness.Ready(u, revision) }
}
