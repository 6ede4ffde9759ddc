// Package fleet is the clusters that Kustomizations and HelmReleases are applied to: the applier's own,
// and one member for each different connection that spec.kubeConfig leads to. Objects
// with equal connections share one: its requests, discovery, watches and live table.
// A member that does not answer is found out in the background; until it answers its
// objects fail at once, and hold up nothing else.
package fleet
