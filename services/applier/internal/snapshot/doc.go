// Package snapshot keeps in the bucket what the live table knows about the objects
// of each Kustomization, sealed, so that after a restart the objects are compared
// with it instead of being asked about one by one. A snapshot is only ever a saving:
// one that is missing, old or damaged costs requests, never correctness.
package snapshot
