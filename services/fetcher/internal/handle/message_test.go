package handle

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// TestLongMessage cuts what a server says at any length: an event has not room for all of it, and the failure would never be told.
func TestLongMessage(t *testing.T) {
	said := "refused https://user:hunter2@git.example.org/a " + strings.Repeat("and again ", 200_000)
	got := message(&source.Error{Err: errors.New(said)})
	if len(got) > 32<<10 || !strings.HasPrefix(got, "refused ") || strings.Contains(got, "hunter2") {
		t.Errorf("%d bytes: %.80s", len(got), got)
	}
}
