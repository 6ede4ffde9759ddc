package oci_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// A manifest of few bytes is no reason to take gigabytes of memory, and what it says is no reason for a download that is of no
// use.
func TestManifestsAreBounded(t *testing.T) {
	const limit, annotations = 1 << 20, 1 << 10
	layer := `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:` + strings.Repeat("0", 64) + `","size":%d}`
	for why, c := range map[string]struct{ said, refusal string }{
		"layers of two bytes each":           {`"layers":[{}` + strings.Repeat(",{}", 20<<20/3) + `]`, "more than the 131072 objects"},
		"a layer that is larger than it may": {`"layers":[` + fmt.Sprintf(layer, limit+1) + `]`, "it has more than the 1048576 bytes that are allowed"},
		"annotations that have no room":      {`"annotations":{"a":"` + strings.Repeat("x", annotations) + `"},"layers":[` + fmt.Sprintf(layer, 1) + `]`, "the annotations of its manifest have 1025 bytes, more than the 1024"},
	} {
		t.Run(why, func(t *testing.T) {
			manifest := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},` + c.said + `}`)
			hash := sha256.Sum256(manifest)
			downloads := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.Contains(r.URL.Path, "/manifests/"):
					w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
					_, _ = w.Write(manifest) // who reads may stop
				case strings.Contains(r.URL.Path, "/blobs/"):
					downloads++
				}
			}))
			defer server.Close()
			repository, err := oci.New(t.TempDir(), &transport.Quiet{}).Open(t.Context(), strings.Replace(server.URL, "http", "oci", 1)+"/repo", oci.Access{Insecure: true})
			if err != nil {
				t.Fatal(err)
			}
			_, err = repository.Pull(t.Context(), "sha256:"+hex.EncodeToString(hash[:]), "", oci.Limits{Bytes: limit, Annotations: annotations})
			if err == nil || !strings.Contains(err.Error(), c.refusal) || downloads > 0 {
				t.Errorf("%d downloads, error %.300v; want none, and %s", downloads, err, c.refusal)
			}
		})
	}
}
