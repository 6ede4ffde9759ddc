// Package source is what a pass and a kind of source know of each other.
//
// A pass is the same for every kind: look upstream, and when the revision moved or
// the spec asks for another artifact, download, pack, store, write the status and
// publish. What differs is in a Kind: which custom resource it is, how its upstream
// is asked for a revision, and what of it becomes the artifact.
package source
