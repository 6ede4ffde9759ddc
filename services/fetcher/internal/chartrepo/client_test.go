package chartrepo_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartrepo"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// A server that takes a package for a compressed tar, and says so, sends the package nonetheless. Helm takes it as it is.
func TestCompressedPackages(t *testing.T) {
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	_, err := zip.Write([]byte("a tar"))
	if err = errors.Join(err, zip.Close()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(body.Bytes()) // who reads says what came
	}))
	defer server.Close()
	client := chartrepo.New(chartrepo.Config{Scratch: t.TempDir(), MaxIndex: 1 << 20, MaxChart: 1 << 20, Tables: chartindex.NewTables(1 << 20), Quiet: &transport.Quiet{}})
	got, err := client.Chart(t.Context(), chartrepo.Repository{URL: server.URL}, chartindex.Version{Version: "1.0.0", URL: "app-1.0.0.tgz"})
	if err != nil || !bytes.Equal(got, body.Bytes()) {
		t.Errorf("got %q, %v", got, err)
	}
}
