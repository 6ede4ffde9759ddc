package oci

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// maxTag is the characters that a tag may have (OCI distribution specification).
const maxTag = 128

// Highest returns the tag with the highest version in a range, of those that match the
// filter, a regular expression that may be empty. Helm writes the + of a version as _,
// as a tag cannot have it; plus reads it so.
func Highest(ctx context.Context, tags []string, within, filter string, plus bool) (string, error) {
	constraint, err := semver.NewConstraint(within)
	if err != nil {
		return "", fmt.Errorf("semver '%s' parse error: %w", within, err)
	}
	matches, err := regexp.Compile(filter)
	if err != nil {
		return "", fmt.Errorf("semverFilter '%s' parse error: %w", filter, err)
	}
	var best *semver.Version
	var found string
	for _, tag := range tags {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if len(tag) > maxTag || !matches.MatchString(tag) {
			continue
		}
		text := tag
		if plus {
			text = strings.ReplaceAll(tag, "_", "+")
		}
		version, err := semver.NewVersion(text)
		if err != nil || !constraint.Check(version) {
			continue
		}
		if best == nil || version.GreaterThan(best) || version.Equal(best) && text > best.Original() {
			best, found = version, tag
		}
	}
	if best == nil {
		return "", fmt.Errorf("no match found for semver: %s", within)
	}
	return found, nil
}
