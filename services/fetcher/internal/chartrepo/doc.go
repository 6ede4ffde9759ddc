// Package chartrepo reads Helm repositories over HTTP: their index, when it changed,
// and the packages that it names.
package chartrepo
