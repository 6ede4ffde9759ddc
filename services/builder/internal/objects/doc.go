// Package objects reads what a build depends on in Kubernetes: Kustomizations and HelmReleases,
// their sources, and the ConfigMaps and Secrets their variables, values and keys come from.
// Kustomizations and sources come from the watches' cache where that is new
// enough, the rest from the API server always, so that no Secret is kept.
package objects
