package plan

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gitops/sluice/internal/blob"
)

func TestKeepNewest(t *testing.T) {
	at := func(name string, hour int) blob.Object {
		return blob.Object{Name: name, Modified: time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)}
	}
	renders := []blob.Object{at("a", 1), at("b", 5), at("c", 3), at("d", 4), at("e", 2)}
	tests := []struct {
		reason, current string
		want            []string
	}{
		{"the current one is among the newest", "b", []string{"b", "c", "d"}},
		{"the current one is the oldest", "a", []string{"a", "b", "d"}},
		{"the current one is lost", "x", []string{"b", "d", "x"}},
	}
	for _, tt := range tests {
		var got []string
		for name := range keepNewest(renders, tt.current) {
			got = append(got, name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.reason, diff)
		}
	}
}
