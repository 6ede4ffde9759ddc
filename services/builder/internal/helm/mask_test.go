package helm

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"

	"github.com/sluice-gitops/sluice/internal/render"
)

// TestErrorsShowNoSecret renders charts that fail over what they read from Secrets: the errors say where, and not what.
func TestErrorsShowNoSecret(t *testing.T) {
	const secret, second = `hunter2"<word>'`, "a second line of it"
	text := secret + "\n" + second + "\n"
	looked := render.Lookup{APIVersion: "v1", Kind: "Secret", Namespace: "ns", Name: "looked"}
	for _, tt := range []struct{ why, file, body, says string }{
		{"a schema", "values.schema.json", `{"properties": {"password": {"type": "string", "pattern": "^[0-9]+$"}}}`, "at '/password'"},
		{"a schema, a number", "values.schema.json", `{"properties": {"pin": {"type": "string"}}}`, "at '/pin'"},
		{"a schema, a number that is too large", "values.schema.json", `{"properties": {"pin": {"maximum": 3}}}`, "at '/pin'"},
		{"a loop", "templates/a.yaml", `{{ range .Values.password }}{{ end }}`, "web/templates/a.yaml:1:16"},
		{"a loop over a number", "templates/a.yaml", `{{ range mulf .Values.pin 0.5 }}{{ end }}{{ fail (toString .Values.pin) }}`, "web/templates/a.yaml"},
		{"a word of the chart", "templates/a.yaml", `{{ fail (printf "refused: %s" .Values.password) }}`, "refused: ***"},
		{"all values, as JSON", "templates/a.yaml", `{{ fail (toJson .Values) }}`, "inline"},
		{"all values, as YAML", "templates/a.yaml", `{{ fail (toYaml .Values) }}`, "inline"},
		{"encoded", "templates/a.yaml", `{{ fail (b64enc .Values.password) }}`, "web/templates/a.yaml"},
		{"a template", "templates/a.yaml", `{{ tpl (printf "{{ %s }}" .Values.password) . }}`, "cannot parse template"},
		{"a value at a path", "templates/a.yaml", `{{ fail .Values.at }}`, "web/templates/a.yaml"},
		{"a list at a path", "templates/a.yaml", `{{ fail (toString .Values.list) }}`, "web/templates/a.yaml"},
		{"looked up", "templates/a.yaml", `{{ fail (lookup "v1" "Secret" "ns" "looked").data.password }}`, "web/templates/a.yaml"},
		{"looked up and decoded", "templates/a.yaml", `{{ fail ((lookup "v1" "Secret" "ns" "looked").data.password | b64dec) }}`, "web/templates/a.yaml"},
		{"no Secret", "templates/a.yaml", `{{ fail .Values.inline }}`, "inline"},
	} {
		c := load(t, map[string]string{"Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n", tt.file: tt.body})
		from := func(kind, path string, text int) ValuesFrom {
			return ValuesFrom{ValuesReference: helmv2.ValuesReference{Kind: kind, Name: "from", TargetPath: path}, Text: text}
		}
		_, err := Render(c, Request{
			Name: "app", Namespace: "ns", Action: render.Install, Revision: 1, Cluster: aCluster,
			Values: Values{
				Inline: []byte(`{"inline": "inline"}`),
				Texts:  [][]byte{fmt.Appendf(nil, "password: %q\npin: 87654321\nnothing: {}\n", text), []byte("'at-a-path'"), []byte(`{one-of-a-list,another\,one}`)},
				From:   []ValuesFrom{from("Secret", "", 0), from("Secret", "at", 1), from("Secret", "list", 2)},
			},
			Found: []render.Found{{Lookup: looked, Object: fmt.Appendf(nil, `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "looked"}, "data": {"password": %q}}`,
				base64.StdEncoding.EncodeToString([]byte("found-in-the-cluster")))}},
		})
		if err == nil {
			t.Errorf("%s: no error", tt.why)
			continue
		}
		if !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.why, err, tt.says)
		}
		for _, part := range []string{
			"hunter2", "second line", "87654321", "8.7654321", "at-a-path", "one-of-a-list", "another,one", "found-in", "aHVudGVyM", "Zm91bmQtaW4t",
		} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error shows %q: %v", tt.why, part, err)
			}
		}
	}
}

// TestMaskedErrorsStayWhatTheyAre masks errors of which the caller asks what they are.
func TestMaskedErrorsStayWhatTheyAre(t *testing.T) {
	q := Request{Values: Values{
		Texts: [][]byte{[]byte("1.2.3-secret")},
		From:  []ValuesFrom{{ValuesReference: helmv2.ValuesReference{Kind: "Secret", TargetPath: "a"}}},
	}}
	var version *VersionError
	if err := q.masked(&VersionError{errors.New("it is 1.2.3-secret")}); !errors.As(err, &version) || err.Error() != "it is ***" {
		t.Errorf("got %v", err)
	}
	if err := q.masked(fmt.Errorf("%w a", ErrValues)); !errors.Is(err, ErrValues) {
		t.Errorf("got %v", err)
	}
	if err := q.masked(nil); err != nil {
		t.Errorf("got %v", err)
	}
}
