package serve_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/serve"
)

// What a service waits for is logged once, until it changes, and under the name that its logger has.
func TestWaitingIsToldOnce(t *testing.T) {
	var out bytes.Buffer
	log, err := serve.NewLogger(&out, "info")
	if err != nil {
		t.Fatal(err)
	}
	tell := (&serve.Readiness{}).Waiting("applier", log.With("controller", "applier"))
	for _, why := range []string{"no kind", "no kind", "no cluster"} {
		tell(errors.New(why))
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "no kind") || !strings.Contains(lines[1], "no cluster") {
		t.Fatalf("logged: %s", out.String())
	}
	for _, line := range lines {
		if strings.Count(line, `"controller"`) != 1 {
			t.Errorf("the service is not named once: %s", line)
		}
	}
}
