package kustomize

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/provider"
)

// values are fields of an object, one reason each.
var values = []struct{ reason, text string }{
	{"text in every style", "a: x\nb: 'x y'\nc: \"x\"\nd: |\n  x\n  y\ne: >-\n  x\n  y\n"},
	{"text that looks like something else", "a: 'yes'\nb: \"1\"\nc: 'null'\nd: '1e3'\ne: '2001-01-01'\nf: ''\ng: 'true'\nh: '~'\ni: '<<'\n"},
	{"words that YAML 1.1 reads as booleans", "a: yes\nb: No\nc: on\nd: y\ne: True\nf: FALSE\n"},
	{"numbers in every form", "a: 1\nb: -1\nc: 0\nd: 010\ne: 0o7\nf: 0x1F\ng: 1_000\nh: +1\ni: -0\nj: 1e3\nk: 1.50\nl: .5\nm: 9223372036854775807\nn: 9223372036854775808\no: 1.0\np: 0b11\nq: 1E400\n"},
	{"not a number", "a: .nan\n"},
	{"nulls", "z: {A}\na:\nb: ~\nc: null\nd: Null\n"},
	{"dates and times", "a: 2001-01-01\nb: 2001-12-14t21:59:43.10-05:00\nc: 12:30\n"},
	{"explicit tags", "a: !!str 1\nb: !!int '3'\nc: !!float 1\nd: !!binary aGk=\ne: !custom x\n"},
	{"empty collections", "a: {}\nb: []\nc: {d: [{}, []]}\n"},
	{"comments everywhere", "# head\na: 1 # line\n# between\nb:\n# in\n- x # e\n# foot\n"},
	{"keys that are no text", "a: {1: x}\nb: {true: y}\n"},
	{"a key twice", "a: {b: 1, b: 2}\n"},
	{"white space that matters", "a: ' x '\nb: \"x \\ny\"\nc: \"\\tx\"\nd: |2\n    x\n   y\ne: \"\\nx\"\nf: |+\n  x\n\n\ng: \"x\\r\\ny\"\n"},
	{"characters that need care", "a: \"\\u0085\"\nb: \"\\u2028\"\nc: \"\\uFEFFx\"\nd: ä€😀\ne: \"\\x07\"\nf: \"\\u00a0\"\n"},
	{"text with signs of YAML", "a: 'x: y'\nb: '# x'\nc: '- x'\nd: '{x}'\ne: '&x'\nf: '*x'\ng: '%x'\nh: '@x'\ni: '? x'\nj: 'x #y'\nk: '!x'\nl: '---'\nm: '|'\nn: \"x\\n---\\ny\"\no: '...'\n"},
	{"anchors", "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n"},
	{"long lines", "a: '" + long + "'\nb: |\n  " + long + "\n  x\nc: >\n  " + long + "\n\n  y\n"},
}

const long = "a word and a word and a word and a word and a word and a word and a word and a word and a word and a word and a word"

func TestConvertIsKustomizesWay(t *testing.T) {
	for _, tt := range values {
		t.Run(tt.reason, func(t *testing.T) { sameConversion(t, tt.text) })
	}
}

func FuzzConvert(f *testing.F) {
	for _, tt := range values {
		f.Add(tt.text)
	}
	f.Fuzz(sameConversion)
}

func sameConversion(t *testing.T, text string) {
	read, err := provider.NewDepProvider().GetResourceFactory().SliceFromBytes([]byte("apiVersion: v1\nkind: X\nmetadata: {name: x}\n" + text))
	if err != nil {
		return // such a text reaches no conversion
	}
	for _, r := range read {
		want, wantErr := convertText(r)
		got, err := convert(r)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if err != nil {
			continue
		}
		if diff := cmp.Diff(want.Object, got.Object); diff != "" {
			t.Error(diff)
		}
		wantBody, _ := json.Marshal(want.Object)
		gotBody, _ := json.Marshal(got.Object)
		if string(wantBody) != string(gotBody) {
			t.Errorf("got %s, want %s", gotBody, wantBody)
		}
	}
}
