// Package decrypt opens what SOPS encrypted with age or PGP keys: files of an
// artifact before kustomize reads them, and built objects. Keys and plain text
// are in memory only; no program, file, environment or network is used.
//
// No text of SOPS itself is passed on in an error: it may quote a value.
package decrypt
