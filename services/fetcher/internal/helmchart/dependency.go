package helmchart

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"helm.sh/helm/v3/pkg/chart"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartfile"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/chartrepo"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/helmrepository"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/oci"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/pack"
	"github.com/sluice-gitops/sluice/services/fetcher/internal/source"
)

// maxDependencies bounds how many dependencies are added to a chart.
const maxDependencies = 100

// vendor adds the dependencies that a chart in a folder does not bring along: charts
// beside it in the source, or of repositories. One that is named again, such as by
// another alias, is the same chart, and there already.
func (a *artifact) vendor(ctx context.Context, c *chartfile.Chart) error {
	missing := c.Missing()
	if len(missing) > maxDependencies {
		return fmt.Errorf("the chart '%s' lacks %d dependencies, and %d at most are added: bring some of them along in its charts folder",
			c.Name(), len(missing), maxDependencies)
	}
	added := map[[3]string]bool{}
	for _, d := range missing {
		same := [...]string{d.Name, d.Version, d.Repository}
		if added[same] {
			continue
		}
		added[same] = true
		var found *chartfile.Chart
		var err error
		if d.Repository == "" || strings.HasPrefix(d.Repository, "file://") {
			if found, err = a.beside(ctx, d); err != nil {
				return fmt.Errorf("failed to add local dependency '%s': %w", d.Name, err)
			}
		} else if found, err = a.remote(ctx, d); err != nil {
			return fmt.Errorf("failed to add remote dependency '%s': %w", d.Name, err)
		}
		if err := c.Vendor(found); err != nil {
			return fmt.Errorf("failed to add dependency '%s': %w", d.Name, err)
		}
	}
	return nil
}

// beside reads a dependency from the source itself; its path is relative to the chart.
func (a *artifact) beside(ctx context.Context, d *chart.Dependency) (*chartfile.Chart, error) {
	u, err := url.Parse(d.Repository)
	if err != nil {
		return nil, errors.New("its repository is no file URL")
	}
	where := path.Join(a.path, u.Host, u.Path)
	if d.Repository == "" {
		where = path.Join(a.path, "charts", d.Name)
	}
	clean, err := pack.Within(where)
	if err != nil {
		return nil, err
	}
	found, err := a.tree.Chart(ctx, clean)
	if err != nil {
		return nil, fmt.Errorf("no chart found at '%s' (reference '%s'): %w", clean, d.Repository, err)
	}
	return found, fits(d, found.Version())
}

func fits(d *chart.Dependency, version string) error {
	if d.Version == "" {
		return nil
	}
	constraint, err := semver.NewConstraint(d.Version)
	if err != nil {
		return fmt.Errorf("invalid version/constraint format '%s': %w", d.Version, err)
	}
	parsed, err := semver.NewVersion(version)
	if err != nil {
		return fmt.Errorf("version '%s': %w", version, err)
	}
	if !constraint.Check(parsed) {
		return fmt.Errorf("can't get a valid version for constraint '%s': there is '%s'", d.Version, version)
	}
	return nil
}

// remote downloads a dependency, with the credentials of the HelmRepository in the
// object's namespace that has its URL, if there is one.
func (a *artifact) remote(ctx context.Context, d *chart.Dependency) (*chartfile.Chart, error) {
	u, err := url.Parse(d.Repository)
	if err != nil {
		return nil, fmt.Errorf("no chart repository for URL '%s'", d.Repository)
	}
	var archive []byte
	switch u.Scheme {
	case "http", "https":
		archive, err = a.fromHTTP(ctx, d)
	case "oci":
		archive, err = a.fromOCI(ctx, d)
	default:
		err = fmt.Errorf("no chart repository for URL '%s': only http, https, oci and file are read", d.Repository)
	}
	if err != nil {
		return nil, err
	}
	return chartfile.Open(archive)
}

func (a *artifact) fromHTTP(ctx context.Context, d *chart.Dependency) ([]byte, error) {
	known, err := a.known(ctx, d.Repository)
	if err != nil {
		return nil, err
	}
	access := chartrepo.Repository{URL: d.Repository, Namespace: a.object.Namespace}
	if known != nil {
		if access, err = helmrepository.Access(ctx, a.kind.live, known); err != nil {
			return nil, err
		}
	}
	table, err := a.kind.repositories.Table(ctx, access)
	if err != nil {
		return nil, fmt.Errorf("failed to load index of '%s': %w", access.URL, err)
	}
	version, err := table.Find(d.Name, d.Version)
	if err != nil {
		return nil, fmt.Errorf("failed to get chart '%s' version '%s' from '%s': %w", d.Name, d.Version, access.URL, err)
	}
	archive, err := a.kind.repositories.Chart(ctx, access, version)
	if err != nil {
		return nil, fmt.Errorf("chart download of version '%s' failed: %w", version.Version, err)
	}
	return archive, nil
}

func (a *artifact) fromOCI(ctx context.Context, d *chart.Dependency) ([]byte, error) {
	known, err := a.known(ctx, d.Repository)
	if err != nil {
		return nil, err
	}
	var access oci.Access
	road := ""
	if known != nil {
		road = helmrepository.RoadOf(known)
		if access, err = helmrepository.RegistryAccess(ctx, a.kind.live, a.kind.config.Identities, known); err != nil {
			return nil, err
		}
	}
	if err := source.Ask(ctx, source.HostOf(d.Repository), road); err != nil {
		return nil, err
	}
	repository, err := a.kind.open(ctx, d.Repository, d.Name, access)
	if err != nil {
		return nil, err
	}
	version, err := newest(ctx, repository, d.Version)
	if err != nil {
		return nil, fmt.Errorf("failed to get chart '%s' version '%s' from '%s': %w", d.Name, d.Version, d.Repository, err)
	}
	digest, err := repository.Digest(ctx, tagOf(version))
	if err != nil {
		return nil, fmt.Errorf("chart download of version '%s' failed: %w", version, err)
	}
	return pull(ctx, repository, digest, a.kind.config.MaxChart)
}

// known returns the HelmRepository in the object's namespace with a URL, nil when there
// is none.
func (a *artifact) known(ctx context.Context, location string) (*sourcev1.HelmRepository, error) {
	var list sourcev1.HelmRepositoryList
	if err := a.kind.live.List(ctx, &list, client.InNamespace(a.object.Namespace)); err != nil {
		return nil, fmt.Errorf("list HelmRepositories: %w", err)
	}
	for n := range list.Items {
		if strings.TrimRight(list.Items[n].Spec.URL, "/") == strings.TrimRight(location, "/") {
			return &list.Items[n], nil
		}
	}
	return nil, nil
}
