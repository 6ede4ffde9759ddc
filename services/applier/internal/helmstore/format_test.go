package helmstore

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"

	"github.com/sluice-gitops/sluice/internal/render"
)

func packed(t *testing.T, body string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return []byte(base64.StdEncoding.EncodeToString(out.Bytes()))
}

// plain is a packed release as others read it.
func plain(t *testing.T, body []byte) (fields map[string]any) {
	t.Helper()
	zipped, err := base64.StdEncoding.DecodeString(string(body))
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(zipped))
	if err == nil {
		err = json.NewDecoder(r).Decode(&fields)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fields
}

// TestFormat reads what was packed, by us or by others, and refuses what is no release. That the
// helm command reads it is shown in test/helm.
func TestFormat(t *testing.T) {
	want := &Record{ApplyMethod: "ssa", Release: &release.Release{
		Name: "app", Namespace: "ns", Version: 3, Info: &release.Info{Status: release.StatusDeployed, Notes: "n"},
		Chart: &chart.Chart{Metadata: &chart.Metadata{Name: "a", Version: "1.0.0"}}, Config: map[string]any{"a": "b"}, Manifest: "m",
		Hooks: []*release.Hook{{Name: "h", LastRun: release.HookExecution{Phase: release.HookPhaseSucceeded}}},
	}}
	body, err := pack(want)
	if err != nil {
		t.Fatal(err)
	}
	if method := plain(t, body)["apply_method"]; method != "ssa" {
		t.Errorf("what others read as apply_method is %v", method)
	}
	got, _, err := unpack(body, maxUnpacked)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Release, got.Release, cmp.AllowUnexported(chart.Chart{})); diff != "" || got.ApplyMethod != "ssa" {
		t.Errorf("apply method %q (-packed +unpacked):\n%s", got.ApplyMethod, diff)
	}
	const small = `{"name": "app", "version": 1, "info": {"status": "deployed"}}`
	for _, tt := range []struct {
		why  string
		data []byte
		err  string
	}{
		{"one of another Helm, which says nothing of its chart", packed(t, small), ""},
		{"a chart that says nothing of itself, and no hook", packed(t, strings.Replace(small, "{", `{"chart": {}, "hooks": [null], `, 1)), ""},
		{"one of an old Helm, not compressed", []byte(base64.StdEncoding.EncodeToString([]byte(small))), ""},
		{"no base64", []byte("{"), "it holds no release"},
		{"no JSON", packed(t, "text"), "it holds no release"},
		{"cut short", []byte(base64.StdEncoding.EncodeToString(gzipMagic)), "it holds no release"},
		{"nothing in it", packed(t, "{}"), "name, version or info is missing"},
		{"a bomb", packed(t, strings.Repeat(" ", maxUnpacked+1)), "no room"},
		{"a bomb of small values", packed(t, `{"hooks": [`+strings.Repeat("{},", maxUnpacked/render.ValueWeight/2)+`{}]}`), "no room"},
	} {
		r, _, err := unpack(tt.data, maxUnpacked)
		if err == nil && (r.Chart == nil || r.Chart.Metadata == nil || len(r.Hooks) > 0) {
			t.Errorf("%s: chart %+v, hooks %v", tt.why, r.Chart, r.Hooks)
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, want %q", tt.why, err, tt.err)
		}
	}
}
