package handle

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/applier/internal/status"
)

// What is remembered of a failure, to log it once, is the same at every attempt and never much.
func TestLasting(t *testing.T) {
	for _, tt := range []struct {
		why  string
		f    status.Failure
		want string
	}{
		{"the cause alone", status.Failure{Message: "a\nb configured", Cause: errors.New("a")}, "a"},
		{"not how long it took", status.Failure{Message: "failed after 1m3.2s: x"}, "failed after : x"},
	} {
		if got := lasting(tt.f); got != tt.want {
			t.Errorf("%s: got %q", tt.why, got)
		}
	}
	if got := lasting(status.Failure{Cause: errors.New(strings.Repeat("3m ", 8<<20))}); len(got) > maxFailure {
		t.Errorf("%d bytes are remembered", len(got))
	}
}
