// Package status computes the status of a Kustomization: conditions, revisions,
// inventory and history as Flux's tools read them. Its functions change a copy
// in memory and send nothing.
//
// Two rules decide how the flux CLI waits. A failure that will be retried keeps
// Reconciling True and leaves observedGeneration behind; a failure that only a
// changed spec can help sets Stalled and moves it.
package status
