// Package handle works on one check: it reads the newest state of a
// Kustomization and its source, decides whether the newest build still says the
// truth about it, and otherwise builds, seals, stores and publishes.
//
// It writes nothing to Kubernetes. The order of a success is: render to the
// bucket, event to the log. Old renders are the sweeper's to remove (package plan).
package handle
