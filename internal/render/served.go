package render

import (
	"fmt"
	"slices"

	"k8s.io/client-go/discovery"
)

// Served is what templates see of a cluster: its version and what it serves.
type Served struct {
	// Version is the API server's, such as v1.36.1; Major and Minor as it names them.
	Version string `json:"version"`
	Major   string `json:"major"`
	Minor   string `json:"minor"`
	// APIVersions are group/version and group/version/Kind of all that is served.
	APIVersions []string `json:"apiVersions"`
}

// Discover asks an API server for its version and all that it serves. A group whose API server does
// not answer is left out, as helm does.
func Discover(client discovery.DiscoveryInterface) (Served, error) {
	version, err := client.ServerVersion()
	if err != nil {
		return Served{}, fmt.Errorf("discover the version of the API server: %w", err)
	}
	groups, lists, err := client.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return Served{}, fmt.Errorf("discover kinds: %w", err)
	}
	var names []string
	for _, g := range groups {
		for _, v := range g.Versions {
			names = append(names, v.GroupVersion)
		}
	}
	for _, list := range lists {
		for _, resource := range list.APIResources {
			names = append(names, list.GroupVersion+"/"+resource.Kind)
		}
	}
	slices.Sort(names)
	return Served{Version: version.GitVersion, Major: version.Major, Minor: version.Minor, APIVersions: slices.Compact(names)}, nil
}
