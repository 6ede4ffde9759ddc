package chartindex

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v3/pkg/repo"
)

// Version is what an index says of one version of a chart, as far as it takes to
// choose and to download it.
type Version struct {
	Version string
	// URL of the package, the first that the index has, relative to the repository's or absolute; may be empty.
	URL string
	// Digest of the package in hexadecimal SHA-256; may be empty.
	Digest  string
	Created time.Time
}

// Index knows the charts of a repository. It is not changed once it is made.
type Index struct {
	charts map[string][]Version
}

// Find returns the highest version of a chart that a range allows; "" and "*" allow
// all but prereleases. A version that is written exactly as the range goes first; of
// equal ones the newest.
func (i *Index) Find(name, within string) (Version, error) {
	versions, ok := i.charts[name]
	switch {
	case !ok:
		return Version{}, fmt.Errorf("%w: the repository's index has no chart '%s'", repo.ErrNoChartName, name)
	case len(versions) == 0:
		return Version{}, repo.ErrNoChartVersion
	}
	if within == "" {
		within = "*"
	}
	if n := slices.IndexFunc(versions, func(v Version) bool { return v.Version == within }); n >= 0 {
		return versions[n], nil
	}
	constraint, err := semver.NewConstraint(within)
	if err != nil {
		return Version{}, fmt.Errorf("version '%s': %w", within, err)
	}
	var best *semver.Version
	var found Version
	for _, v := range versions {
		parsed, err := semver.NewVersion(v.Version)
		if err != nil || !constraint.Check(parsed) {
			continue
		}
		if best == nil || parsed.GreaterThan(best) || parsed.Equal(best) && v.Created.After(found.Created) {
			best, found = parsed, v
		}
	}
	if best == nil {
		return Version{}, fmt.Errorf("no '%s' chart with version matching '%s' found", name, within)
	}
	return found, nil
}

// Read reads the table from what Normalise wrote.
func Read(r io.Reader) (*Index, error) {
	decoder := json.NewDecoder(r)
	if err := seek(decoder, "entries"); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	index := &Index{charts: map[string][]Version{}}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, fmt.Errorf("read index: %w", err)
		}
		list, err := readList(decoder)
		if err != nil {
			return nil, fmt.Errorf("read index: chart %q: %w", name, err)
		}
		index.charts[name.(string)] = list
	}
	// What verifies the content does so at its very end.
	_, err := io.Copy(io.Discard, io.MultiReader(decoder.Buffered(), r))
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return index, nil
}

// seek goes into the object under a key of the outermost one.
func seek(decoder *json.Decoder, key string) error {
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		if token == key {
			_, err = decoder.Token()
			return err
		}
		var other json.RawMessage
		if err := decoder.Decode(&other); err != nil {
			return err
		}
	}
	return errors.New("it has no " + key)
}

func readList(decoder *json.Decoder) ([]Version, error) {
	if begin, err := decoder.Token(); err != nil || begin == nil {
		return nil, err
	}
	var list []Version
	for decoder.More() {
		var v struct {
			Version string    `json:"version"`
			URLs    []string  `json:"urls"`
			Digest  string    `json:"digest"`
			Created time.Time `json:"created"`
		}
		if err := decoder.Decode(&v); err != nil {
			return nil, err
		}
		list = append(list, Version{v.Version, first(v.URLs), v.Digest, v.Created})
	}
	_, err := decoder.Token()
	return list, err
}

func first(urls []string) string {
	if len(urls) == 0 {
		return ""
	}
	return urls[0]
}
