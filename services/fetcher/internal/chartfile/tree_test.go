package chartfile

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

func text(name, content string) pack.File {
	return pack.File{Path: name, Open: func() (int64, io.ReadCloser, error) {
		return int64(len(content)), io.NopCloser(strings.NewReader(content)), nil
	}}
}

// What compares the files of a chart with the rules of its .helmignore has a bound, and ends with the pass.
func TestHelmignoreIsBounded(t *testing.T) {
	const chart = "apiVersion: v2\nname: app\nversion: 1.0.0\n"
	ended, end := context.WithCancel(t.Context())
	end()
	for why, c := range map[string]struct {
		ctx   context.Context
		rules string
		want  error
	}{
		"as many rules as may be": {t.Context(), strings.Repeat("x\n", maxRules), nil},
		"one more":                {t.Context(), strings.Repeat("x\n", maxRules+1), pack.ErrLimit},
		"the pass is over":        {ended, "x\n", context.Canceled},
	} {
		files := []pack.File{text("app/.helmignore", c.rules), text("app/Chart.yaml", chart)}
		if _, err := NewTree(files, 1<<20, 1<<20).Chart(c.ctx, "app"); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", why, err, c.want)
		}
	}
}
