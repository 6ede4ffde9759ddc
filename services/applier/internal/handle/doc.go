// Package handle is the work of one check of a Kustomization, in named phases:
//
//	read      the object, its source and its newest build
//	gate      deleted, suspended, not supported, not allowed, waiting for others
//	settle    nothing to do, only the revision moved, drift, waiting for health
//	apply     claim, apply, prune, health, final status
//
// Every phase ends the pass or hands over to the next; none sleeps. What a pass
// waits for comes back as another check.
package handle
