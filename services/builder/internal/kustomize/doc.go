// Package kustomize builds the objects of a Flux Kustomization with kustomize,
// reading one artifact and nothing else.
//
// The artifact is shown to kustomize as a read-only file system whose top is
// the artifact's root: there is no path that leads out of it, generated files
// exist in memory only, and everything that was looked at is recorded, so that
// a caller can tell whether another artifact would give the same output.
//
// kustomize can neither be cancelled nor kept from the network by its file
// system, so Build must run in a process that is confined and may be killed.
package kustomize
