package kube

import (
	"fmt"
	"slices"

	"k8s.io/client-go/discovery"

	"github.com/sluice-gitops/sluice/internal/render"
)

// Served asks an API server for its version and all that it serves. A group whose API server does
// not answer is left out, as helm does.
func Served(client discovery.DiscoveryInterface) (render.Served, error) {
	version, err := client.ServerVersion()
	if err != nil {
		return render.Served{}, fmt.Errorf("discover the version of the API server: %w", err)
	}
	groups, lists, err := client.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return render.Served{}, fmt.Errorf("discover kinds: %w", err)
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
	return render.Served{Version: version.GitVersion, Major: version.Major, Minor: version.Minor, APIVersions: slices.Compact(names)}, nil
}
