// Package plan decides when an applier looks at a Kustomization or a HelmRelease: it turns watches
// of the API server and events of the bus into checks. It does no work itself and
// what it sends is only a hint, so a lost or doubled check does no harm.
//
// A status written by an applier leads to no check of the same object; it wakes
// the objects that depend on it, and only when they could go on because of it.
package plan
