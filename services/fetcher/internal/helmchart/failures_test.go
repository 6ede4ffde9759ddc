package helmchart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"github.com/sluice-gitops/sluice/events"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartindex"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartrepo"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/transport"
)

// A chart that cannot be downloaded because of who asks is told with the reason of that, as in Flux.
func TestReasonOfADownload(t *testing.T) {
	for why, c := range map[string]struct {
		answer http.HandlerFunc
		secure bool
		reason string
	}{
		"the server does not know who asks":  {refuse(http.StatusUnauthorized, ""), false, "AuthenticationFailed"},
		"it does not let them":               {refuse(http.StatusForbidden, ""), false, "ChartPullError"},
		"it says so with another status":     {refuse(http.StatusForbidden, `{"errors":[{"code":"UNAUTHORIZED"}]}`), false, "AuthenticationFailed"},
		"it has no such chart, named 401":    {refuse(http.StatusNotFound, ""), false, "ChartPullError"},
		"its certificate is of no authority": {refuse(http.StatusOK, ""), true, "AuthenticationFailed"},
	} {
		server := httptest.NewUnstartedServer(c.answer)
		scheme := "http"
		if server.Start(); c.secure {
			server.Close()
			server = httptest.NewTLSServer(c.answer)
			scheme = "https"
		}
		host := strings.TrimPrefix(server.URL, scheme+"://")
		for kind, url := range map[string]string{"repository": server.URL, "registry": "oci://" + host} {
			if kind == "repository" && strings.Contains(why, "another status") {
				continue // it has no words for it
			}
			got := reasonOf(t, kind, url, !c.secure)
			if got != c.reason {
				t.Errorf("%s: %s: reason is %q, want %q", kind, why, got, c.reason)
			}
		}
		server.Close()
	}
}

func refuse(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // none is written for HEAD
	}
}

// reasonOf is that of a pass over a chart of a server.
func reasonOf(t *testing.T, kind, url string, insecure bool) string {
	t.Helper()
	spec := sourcev1.HelmRepositorySpec{URL: url, Insecure: insecure}
	if kind == "registry" {
		spec.URL, spec.Type = url+"/charts", sourcev1.HelmRepositoryTypeOCI
	}
	const index = `{"apiVersion":"v1","entries":{"app401":[{"apiVersion":"v2","name":"app401","version":"1.0.0","urls":["app401.tgz"]}]}}`
	live := &cluster{repository: sourcev1.HelmRepository{Spec: spec, Status: sourcev1.HelmRepositoryStatus{Artifact: &meta.Artifact{Revision: "sha256:1", Digest: "sha256:1"}}}}
	quiet, tables := &transport.Quiet{}, chartindex.NewTables(1<<20)
	repositories := chartrepo.New(chartrepo.Config{Scratch: t.TempDir(), MaxIndex: 1 << 20, MaxChart: 1 << 20, Tables: tables, Quiet: quiet})
	k := New(repositories, oci.New(t.TempDir(), quiet), live, nil, Config{MaxChart: 1 << 20, Tables: tables, Artifact: func(context.Context, events.Key, string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(index)), nil
	}})
	chart := &sourcev1.HelmChart{Spec: sourcev1.HelmChartSpec{
		Chart: "app401", Version: "1.0.0", SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: sourcev1.HelmRepositoryKind, Name: "r"},
	}}
	upstream, err := k.Open(t.Context(), events.Key{}, chart)
	if err != nil {
		t.Fatal(err)
	}
	_, err = upstream.Fetch(t.Context())
	var failure *source.Error
	if !errors.As(err, &failure) || failure.Condition != sourcev1.FetchFailedCondition || failure.Stalled {
		t.Fatalf("got %v", err)
	}
	return failure.Reason
}

// A chart whose version cannot be changed, which values files ask for, stalls until it or the object changes.
func TestMetadataThatCannotBePatched(t *testing.T) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for name, text := range map[string]string{
		"app/Chart.yaml":       "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies:\n- {name: a, version: 1.0.0, import-values: [" + strings.Repeat("[", 150) + strings.Repeat("]", 150) + "]}\n",
		"app/values-prod.yaml": "a: 1\n",
	} {
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(archive, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	chart := &sourcev1.HelmChart{Spec: sourcev1.HelmChartSpec{Chart: "app", ValuesFiles: []string{"values-prod.yaml"}}}
	_, err := repackage(chart, found{name: "app", version: "1.0.0+1"}, out.Bytes())
	var failure *source.Error
	if !errors.As(err, &failure) || failure.Condition != sourcev1.BuildFailedCondition || failure.Reason != "MetadataPatchError" || !failure.Stalled ||
		!strings.HasPrefix(err.Error(), "chart metadata patch error: import-values of dependency 'a': ") {
		t.Errorf("got %+v: %v", failure, err)
	}
}
