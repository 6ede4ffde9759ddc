// Package applier makes clusters equal to the newest render of their
// Kustomizations: server-side apply, prune, health, drift. It is the one writer of
// a Kustomization's status.
//
// Its parts, in the order a check passes them: internal/plan decides when to look,
// internal/handle does the work of one look with internal/depend, internal/desired,
// internal/claim and internal/status, internal/target reaches the cluster through
// internal/engine, internal/livestate and internal/health, and internal/report says
// what happened.
package applier
