package render

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

const (
	// maxGroupVersions is how many versions of groups an API server may serve: Kubernetes has forty, and most definitions add none.
	maxGroupVersions = 5000
	// askedAtOnce is how many of them a server is asked about at the same time that does not tell all at once.
	askedAtOnce = 16
)

// Discover asks an API server for its version and all that it serves. A group whose API server does
// not answer is left out, as helm does.
func Discover(client discovery.AggregatedDiscoveryInterface) (Served, error) {
	version, err := client.ServerVersion()
	if err != nil {
		return Served{}, fmt.Errorf("discover the version of the API server: %w", err)
	}
	groups, told, _, err := client.GroupsAndMaybeResources()
	if err != nil {
		return Served{}, fmt.Errorf("discover kinds: %w", err)
	}
	var names []string
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			names = append(names, v.GroupVersion)
		}
	}
	if len(names) > maxGroupVersions {
		return Served{}, fmt.Errorf("discover kinds: the API server has %d versions of groups, more than %d", len(names), maxGroupVersions)
	}
	lists := slices.Collect(maps.Values(told))
	if told == nil {
		if lists, err = ask(client, names); err != nil {
			return Served{}, fmt.Errorf("discover kinds: %w", err)
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

// ask asks an API server about each version of a group. It ends at the first that gets no answer.
func ask(client discovery.DiscoveryInterface, names []string) ([]*metav1.APIResourceList, error) {
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(askedAtOnce)
	lists := make([]*metav1.APIResourceList, len(names))
	for i, name := range names {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err // after the first, which counts
			}
			list, err := client.ServerResourcesForGroupVersion(name)
			var refusal apierrors.APIStatus
			if err != nil && !errors.As(err, &refusal) {
				return err
			}
			lists[i] = list
			return nil
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(lists, func(list *metav1.APIResourceList) bool { return list == nil }), err
}
