// Package ignore leaves fields to others: it serves the drift-ignore rules of a
// Kustomization, spec.ignore.
package ignore
