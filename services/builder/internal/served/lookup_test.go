package served

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/seal"
)

// heard counts questions, and answers none.
type heard struct{ questions int }

func (h *heard) Ask(context.Context, string, []byte) ([]byte, error) {
	h.questions++
	return nil, errors.New("nobody answers")
}

// TestLookupTooMany asks nothing that no message has room for, and says what helps.
func TestLookupTooMany(t *testing.T) {
	for _, tt := range []struct {
		why       string
		lookups   int
		questions int
		says      string
	}{
		{"as many as charts have", 1000, 1, "nobody answers"},
		{"far more", 20_000, 0, "its templates look up 20000 objects or lists at once, which take"},
	} {
		var lookups []render.Lookup
		for i := range tt.lookups {
			lookups = append(lookups, render.Lookup{APIVersion: "v1", Kind: "ConfigMap", Name: fmt.Sprintf("an-object-%d", i)})
		}
		bus := &heard{}
		_, err := (&Reader{bus: bus}).Lookup(t.Context(), nil, seal.Identity{Kind: "HelmRelease", Namespace: "ns", Name: "app"}, lookups)
		var limit *LimitError
		if err == nil || !strings.Contains(err.Error(), tt.says) || errors.As(err, &limit) != (tt.questions == 0) || bus.questions != tt.questions {
			t.Errorf("%s: %d questions, error %v, want %d and %q", tt.why, bus.questions, err, tt.questions, tt.says)
		}
	}
}
