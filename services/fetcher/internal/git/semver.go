package git

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
)

// semver resolves a range to the highest tag in it. Tags of one version, such as
// 1.0.0 and v1.0.0, are told apart by the age of their commits; the newest wins.
func (l *Listing) semver(ctx context.Context, expression string) (Target, error) {
	constraint, err := semver.NewConstraint(expression)
	if err != nil {
		return Target{}, fmt.Errorf("semver parse error: %w", err)
	}
	var best *semver.Version
	var tags []string
	for name := range l.refs.References {
		tag, ok := strings.CutPrefix(name, "refs/tags/")
		if !ok || strings.HasSuffix(tag, "^{}") {
			continue
		}
		v, err := semver.NewVersion(tag)
		if err != nil || !constraint.Check(v) {
			continue
		}
		switch {
		case best == nil || v.GreaterThan(best):
			best, tags = v, []string{tag}
		case v.Equal(best):
			tags = append(tags, tag)
		}
	}
	if best == nil {
		return Target{}, fmt.Errorf("no match found for semver: %s", expression)
	}
	slices.Sort(tags)
	return l.newest(ctx, tags)
}

// maxSame bounds the commits that have tags of one version: each is fetched to see how old it is.
const maxSame = 100

// newest returns the tag whose commit is the youngest.
func (l *Listing) newest(ctx context.Context, tags []string) (Target, error) {
	commits := map[string]bool{}
	for _, tag := range tags {
		if t, err := l.named(tagPrefix+tag, tag); err == nil {
			commits[t.Commit] = true
		}
	}
	if len(commits) > maxSame {
		return Target{}, fmt.Errorf("tags of the version of %q name more than %d commits: name a tag, or give each commit a version of its own: %w", tags[0], maxSame, ErrLimit)
	}
	var newest Target
	var when time.Time
	for _, tag := range tags {
		t, err := l.named("refs/tags/"+tag, tag)
		if err != nil || len(tags) == 1 {
			return t, err
		}
		commit, err := l.fetch(ctx, t)
		if err != nil {
			return Target{}, fmt.Errorf("compare tag %q: %w", tag, err)
		}
		at := commit.When
		commit.Close()
		if newest.Commit == "" || at.After(when) {
			newest, when = t, at
		}
	}
	return newest, nil
}
