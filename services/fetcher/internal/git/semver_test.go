package git

import (
	"errors"
	"fmt"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// Tags of one version are told apart by their commits, each of which is a request: a repository may not have any number of them.
func TestTagsOfOneVersionAreBounded(t *testing.T) {
	l := &Listing{refs: packp.NewAdvRefs()}
	for n := range maxSame + 1 {
		l.refs.References[fmt.Sprintf("refs/tags/1.0.0+%d", n)] = plumbing.ComputeHash(plumbing.CommitObject, fmt.Append(nil, n))
	}
	if _, err := l.semver(t.Context(), "1.x"); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v, want that a limit is exceeded", err)
	}
}
