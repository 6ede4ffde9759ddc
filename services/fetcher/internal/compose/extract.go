package compose

import (
	"context"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
)

// extract brings what archives hold into a folder. Of what a pattern matches, only
// archives count.
func (t *Tree) extract(ctx context.Context, chosen []choice, c Copy) error {
	to, err := pack.Within(c.To)
	if err != nil {
		return fmt.Errorf("to: %w", err)
	}
	for _, one := range chosen {
		archive := strings.HasSuffix(one.file.Path, ".tar.gz") || strings.HasSuffix(one.file.Path, ".tgz")
		switch exact := !wild(c.From); {
		case exact && len(chosen) > 1:
			return fmt.Errorf("%q is a folder: name an archive in it, or a pattern", c.From)
		case exact && !archive:
			return fmt.Errorf("%q is no archive: its name must end in .tar.gz or .tgz", c.From)
		case !archive:
			continue
		}
		if err := t.unpack(ctx, one.file, to); err != nil {
			return fmt.Errorf("extract %q: %w", one.file.Path, err)
		}
	}
	return nil
}

func (t *Tree) unpack(ctx context.Context, archive pack.File, to string) error {
	t.times++
	unpacked, err := t.extracted.Unpack(ctx, strconv.Itoa(t.times), func() (io.ReadCloser, error) {
		_, body, err := archive.Open()
		return body, err
	})
	if err != nil {
		return err
	}
	found := make([]choice, 0, len(unpacked.Files))
	for _, f := range unpacked.Files {
		if !f.Dir {
			found = append(found, choice{file: f, to: path.Join(to, f.Path)})
		}
	}
	return t.graft(found)
}
