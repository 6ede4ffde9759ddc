// Package helm tests HelmReleases end to end: charts in Git, through the pipeline, to a cluster
// with simulated nodes, seen with the eyes of kubectl and of the helm command's own library.
package helm
