package build_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/services/builder/internal/build"
	"github.com/sluice-gitops/sluice/services/builder/internal/helm"
)

// TestValues puts values together in the child: texts that make far more than they are fail their own release, and those
// that cannot be put together fail by the name of the reference.
func TestValues(t *testing.T) {
	b, _, folder := newBuilder(t, 1)
	tree := write(t, folder, "chart", map[string]string{
		"web/Chart.yaml":       "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"web/templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: {{ .Values.a | quote }}, b: {{ .Values.b | quote }}}\n",
	})
	var sets strings.Builder
	sets.WriteString("1")
	for i := range 2000 {
		fmt.Fprintf(&sets, ",b%d[65536]=1", i)
	}
	for _, tt := range []struct{ why, path, text, says string }{
		{"a map, the inline values over it", "", "a: from\nb: from\n", ""},
		{"a value at a path", "b", "from", ""},
		{"aliases", "", "a: &a \"" + strings.Repeat("x", 256<<10) + "\"\nb: [" + strings.Repeat("*a,", 4000) + "]\n", "make the chart or its values smaller"},
		{"lists", "c", sets.String(), "make the chart or its values smaller"},
		{"no map", "", "- a", "could not resolve ConfigMap chart values reference 'ns/from' with key 'values.yaml': it is no YAML map"},
		{"no UTF-8", "", "b: \xff", "could not resolve ConfigMap chart values reference 'ns/from' with key 'values.yaml': it is no YAML map"},
		{"a path that is none", "b[", "from", "could not resolve ConfigMap chart values reference 'ns/from' with key 'values.yaml': it cannot be set at b["},
	} {
		ref := helmv2.ValuesReference{Kind: "ConfigMap", Name: "from", TargetPath: tt.path}
		out, err := b.Release(t.Context(), "tenant", tree, helm.Request{
			Name: "app", Namespace: "target", Origin: helm.Origin{Name: "app", Namespace: "ns"}, Action: render.Install, Revision: 1,
			Cluster: helm.Cluster{Version: "v1.33.0", Major: "1", Minor: "33"},
			Values: helm.Values{
				Inline: []byte(`{"a":"inline"}`), Texts: [][]byte{[]byte("a: unused"), []byte(tt.text)},
				From: []helm.ValuesFrom{{ValuesReference: ref, Text: 1}},
			},
		}, time.Minute)
		var failed *build.InputError
		switch {
		case tt.says == "" && (err != nil || !strings.Contains(string(out.Plain), `"config":{"a":"inline","b":"from"}`)):
			t.Errorf("%s: error %v, render %.2000s", tt.why, err, out.Plain)
		case tt.says != "" && (!errors.As(err, &failed) || !strings.Contains(failed.Message, tt.says)):
			t.Errorf("%s: error %v, want %s", tt.why, err, tt.says)
		case tt.says != "" && strings.Contains(tt.says, "resolve") != (failed.Reason == build.ReasonValues):
			t.Errorf("%s: reason %s", tt.why, failed.Reason)
		}
	}
}
