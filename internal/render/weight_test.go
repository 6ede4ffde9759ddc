package render

import "testing"

// TestWeight counts values where they are, and none in texts.
func TestWeight(t *testing.T) {
	for _, tt := range []struct {
		why, body string
		values    int
	}{
		{"nothing", "", 0},
		{"a text with signs", `"{[,\",[{"`, 0},
		{"a text that ends with an escaped backslash", `["\\",1]`, 2},
		{"objects in a list", `[{},{},{}]`, 6},
		{"fields", `{"a":1,"b":{"c":"d,e"}}`, 3},
	} {
		if got, want := Weight([]byte(tt.body)), len(tt.body)+tt.values*ValueWeight; got != want {
			t.Errorf("%s: weight %d, want %d", tt.why, got, want)
		}
	}
}
